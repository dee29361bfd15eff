/* Batches of a dataset: what each row holds, and in which order the windows come. */
#include "unit/dataset_fixture.h"

#include "train/shuffle.h"

/* ---- the order ------------------------------------------------------------------------------------------ */

static void shuffles_are_permutations_that_differ_by_pass_and_seed(void) {
    enum { MOST = 5000 };
    static unsigned char seen[MOST];
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 15, 16, 17, 255, 256, 257, 4999, MOST};
    for (size_t i = 0; i < COUNT(counts); i++) {
        const uint64_t n = counts[i];
        uint64_t n_fixed = 0, n_same_pass = 0, n_same_seed = 0, n_new = 0;
        memset(seen, 0, sizeof seen);
        for (uint64_t at = 0; at < n; at++) {
            const uint64_t to = nlm_shuffle(n, 3, 0, at);
            CU_ASSERT_FATAL(to < n);
            n_new += !seen[to];
            seen[to] = 1;
            n_fixed += to == at;
            n_same_pass += to == nlm_shuffle(n, 3, 1, at);
            n_same_seed += to == nlm_shuffle(n, 4, 0, at);
        }
        CU_ASSERT_EQUAL(n_new, n);
        if (n < 200) continue; /* of a random order one place is expected to stay, whatever n */
        CU_ASSERT(n_fixed < 10 && n_same_pass < 10 && n_same_seed < 10);
    }
    const uint64_t large = (UINT64_C(1) << 40) + 7;
    CU_ASSERT(nlm_shuffle(large, 1, 0, large - 1) < large);
}

/* ---- rows ----------------------------------------------------------------------------------------------- */

/* Documents of 1 to 30 bytes, all different: document i is "<i>" and letters. Returns them, as the file has them. */
static nlm_str write_documents(dataset_rig *rig, int count, nlm_str *out_text) {
    nlm_str text = {0}, tokens = {0};
    uint64_t random = 11;
    for (int i = 0; i < count; i++) {
        nlm_str document = {0};
        nlm_str_printf(&document, "<%d>", i);
        for (uint64_t k = next_random(&random) % 24; k > 0; k--) {
            nlm_str_printf(&document, "%c", (int)('a' + next_random(&random) % 26));
        }
        nlm_str_printf(&text, "%s%s", i ? "\n\n" : "", document.data);
        nlm_str_printf(&tokens, "%s\n", document.data); /* a line break stands for EOS */
        nlm_str_release(&document);
    }
    rig_write(rig, "a.txt", text.data, text.length);
    rig->options.separator = "\n\n";
    *out_text = text;
    return tokens;
}

static char letter(int32_t id) {
    return id == BYTE_EOS ? '\n' : (char)id;
}

/* Checks what is true of any batch, and counts how often each token of the stream is in it. */
static void check_batch(const nlm_str *stream, const nlm_batch_shape *shape, const nlm_train_batch *batch,
                        unsigned char *seen) {
    int64_t n_counted = 0;
    int n_wrong = 0;
    CU_ASSERT_EQUAL(batch->seq_start[0], 0);
    CU_ASSERT_EQUAL(batch->seq_start[batch->n_seqs], batch->n_tokens);
    CU_ASSERT_FATAL(batch->n_seqs <= shape->max_seqs && batch->n_tokens <= shape->rows * shape->length);
    for (int32_t s = 0; s < batch->n_seqs; s++) {
        nlm_str sequence = {0};
        const int32_t from = batch->seq_start[s], to = batch->seq_start[s + 1];
        CU_ASSERT_FATAL(from < to);
        for (int32_t t = from; t < to; t++) {
            const char c = letter(batch->ids[t]);
            nlm_str_append(&sequence, &c, 1);
            n_wrong += batch->pos[t] != t - from;
            n_wrong += c == '\n' && t != to - 1;            /* a document ends where a sequence does */
            n_wrong += c == '\n' && batch->labels[t] != -1; /* and nothing is learnt of the next */
            n_wrong += t + 1 < to && batch->labels[t] != batch->ids[t + 1];
            n_counted += batch->labels[t] >= 0;
        }
        if (sequence.data[sequence.length - 1] != '\n') { /* the document goes on in another row */
            const char next = letter(batch->labels[to - 1]);
            nlm_str_append(&sequence, &next, 1);
        }
        const char *found = memmem(stream->data, stream->length, sequence.data, sequence.length);
        CU_ASSERT_PTR_NOT_NULL_FATAL(found);
        const bool is_only =
            !memmem(found + 1, stream->length - (size_t)(found + 1 - stream->data), sequence.data, sequence.length);
        for (int32_t t = from; seen && is_only && t < to; t++) seen[found - stream->data + t - from]++;
        nlm_str_release(&sequence);
    }
    for (int32_t t = batch->n_tokens; t < shape->rows * shape->length; t++) {
        n_wrong += batch->ids[t] != 0 || batch->labels[t] != -1 || batch->pos[t] != 0;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    CU_ASSERT_EQUAL(n_counted, batch->n_counted);
}

static const nlm_batch_shape shapes[] = {{.rows = 1, .length = 64, .max_seqs = 64},
                                         {.rows = 4, .length = 32, .max_seqs = 200},
                                         {.rows = 3, .length = 100, .max_seqs = 300},
                                         {.rows = 7, .length = 61, .max_seqs = 500},
                                         {.rows = 1, .length = 100000, .max_seqs = 400}};

/* A pass is as many rows as there are windows; its rows hold the text's bytes, each once. */
static void every_token_comes_once_a_pass(void) {
    dataset_rig rig;
    nlm_str text;
    rig_make(&rig, byte_tokenizer(false, true));
    nlm_str stream = write_documents(&rig, 300, &text);
    nlm_dataset *dataset = rig_open(&rig);
    CU_ASSERT_EQUAL(nlm_dataset_tokens(dataset, NLM_SPLIT_TRAIN), stream.length);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        nlm_batch_shape row = shapes[i]; /* a row a batch, so that passes end with batches */
        row.max_seqs = row.rows * row.length < 400 ? row.length : 400;
        row.rows = 1;
        const uint64_t n_batches = nlm_dataset_batches(dataset, NLM_SPLIT_TRAIN, &row);
        CU_ASSERT_EQUAL(n_batches, (stream.length + (size_t)row.length - 1) / (size_t)row.length);
        nlm_train_batch batch;
        batch_make(&batch, &row);
        nlm_str order[2] = {{0}, {0}};
        for (uint64_t pass = 0; pass < 2; pass++) {
            size_t histogram[2][BYTE_VOCAB] = {{0}};
            unsigned char *seen = calloc(stream.length, 1);
            uint64_t n_tokens = 0;
            for (uint64_t b = 0; b < n_batches; b++) {
                nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &row, pass * n_batches + b, &batch);
                check_batch(&stream, &row, &batch, seen);
                n_tokens += (uint64_t)batch.n_tokens;
                for (int32_t t = 0; t < batch.n_tokens; t++) histogram[0][batch.ids[t]]++;
                for (int32_t t = 0; t < 4; t++) nlm_str_printf(&order[pass], "%d ", batch.ids[t % batch.n_tokens]);
            }
            for (size_t t = 0; t < stream.length; t++) {
                histogram[1][stream.data[t] == '\n' ? BYTE_EOS : (unsigned char)stream.data[t]]++;
                CU_ASSERT(seen[t] <= 1);
            }
            CU_ASSERT_EQUAL(n_tokens, stream.length);
            CU_ASSERT_EQUAL(memcmp(histogram[0], histogram[1], sizeof histogram[0]), 0);
            free(seen);
        }
        if (n_batches > 10) CU_ASSERT_STRING_NOT_EQUAL(order[0].data, order[1].data);
        nlm_str_release(&order[0]);
        nlm_str_release(&order[1]);
        batch_release(&batch);
    }
    nlm_dataset_close(dataset);
    nlm_str_release(&stream);
    nlm_str_release(&text);
    rig_remove(&rig);
}

/* Batches of several rows hold the same rows, in the same order; whoever asks, and whenever. */
static void batches_follow_from_seed_and_index(void) {
    dataset_rig rig;
    nlm_str text;
    rig_make(&rig, byte_tokenizer(false, true));
    nlm_str stream = write_documents(&rig, 300, &text);
    nlm_dataset *first = rig_open(&rig), *again = rig_open(&rig);
    rig.options.seed = 2;
    nlm_dataset *other = rig_open(&rig);
    const nlm_batch_shape shape = {.rows = 4, .length = 32, .max_seqs = 128},
                          row = {.rows = 1, .length = 32, .max_seqs = 32};
    const size_t bytes = (size_t)shape.rows * (size_t)shape.length * sizeof(int32_t);
    nlm_train_batch a, b, one;
    batch_make(&a, &shape);
    batch_make(&b, &shape);
    batch_make(&one, &row);
    int n_same_as_other = 0;
    for (uint64_t i = 0; i < 200; i++) {
        const uint64_t index = i * 37 % 200; /* in no order: as when a run is resumed */
        nlm_dataset_batch(first, NLM_SPLIT_TRAIN, &shape, index, &a);
        nlm_dataset_batch(again, NLM_SPLIT_TRAIN, &shape, index, &b);
        check_batch(&stream, &shape, &a, NULL);
        CU_ASSERT(memcmp(a.ids, b.ids, bytes) == 0 && memcmp(a.labels, b.labels, bytes) == 0);
        CU_ASSERT(a.n_tokens == b.n_tokens && a.n_seqs == b.n_seqs && a.n_counted == b.n_counted);
        int32_t at = 0;
        for (uint64_t r = 0; r < 4; r++) {
            nlm_dataset_batch(first, NLM_SPLIT_TRAIN, &row, 4 * index + r, &one);
            CU_ASSERT_FATAL(at + one.n_tokens <= a.n_tokens);
            CU_ASSERT_EQUAL(memcmp(a.ids + at, one.ids, (size_t)one.n_tokens * sizeof(int32_t)), 0);
            at += one.n_tokens;
        }
        CU_ASSERT_EQUAL(at, a.n_tokens);
        nlm_dataset_batch(other, NLM_SPLIT_TRAIN, &shape, index, &b);
        n_same_as_other += memcmp(a.ids, b.ids, bytes) == 0;
    }
    CU_ASSERT_EQUAL(n_same_as_other, 0);
    batch_release(&a);
    batch_release(&b);
    batch_release(&one);
    nlm_dataset_close(first);
    nlm_dataset_close(again);
    nlm_dataset_close(other);
    nlm_str_release(&stream);
    nlm_str_release(&text);
    rig_remove(&rig);
}

/* A row of too many documents ends with the last that fits; every row has one. */
static void rows_of_too_many_documents_end_early(void) {
    static const struct {
        int32_t rows, max_seqs;
        int32_t of_row[3]; /* documents */
    } cases[] = {{1, 1, {1}}, {1, 3, {3}}, {1, 99, {10}}, {3, 3, {1, 1, 1}}, {3, 5, {3, 1, 1}}, {3, 14, {10, 3, 1}}};
    dataset_rig rig;
    nlm_str text = {0};
    rig_make(&rig, byte_tokenizer(false, true));
    for (int i = 0; i < 40; i++) nlm_str_printf(&text, "%c\n\n", 'a' + i % 26); /* 2 tokens each */
    rig_puts(&rig, "a", text.data);
    rig.options.separator = "\n\n";
    nlm_dataset *dataset = rig_open(&rig);
    for (size_t i = 0; i < COUNT(cases); i++) {
        const nlm_batch_shape shape = {.rows = cases[i].rows, .length = 20, .max_seqs = cases[i].max_seqs};
        nlm_train_batch batch;
        batch_make(&batch, &shape);
        nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, 0, &batch);
        int32_t seq = 0;
        for (int32_t row = 0; row < shape.rows; row++) {
            const int32_t before = batch.ids[batch.seq_start[seq]];
            CU_ASSERT_PTR_NOT_NULL(strchr("akue", before)); /* documents 0, 10, 20 and 30: it begins a window */
            for (int32_t k = 0; k < cases[i].of_row[row]; k++, seq++) {
                CU_ASSERT_FATAL(seq < batch.n_seqs);
                const int32_t *ids = batch.ids + batch.seq_start[seq];
                CU_ASSERT_EQUAL(batch.seq_start[seq + 1] - batch.seq_start[seq], 2);
                CU_ASSERT_EQUAL(ids[0], 'a' + (before - 'a' + k) % 26);
                CU_ASSERT_EQUAL(batch.labels[batch.seq_start[seq]], BYTE_EOS);
                CU_ASSERT_EQUAL(batch.labels[batch.seq_start[seq] + 1], -1);
            }
        }
        CU_ASSERT_EQUAL(seq, batch.n_seqs);
        CU_ASSERT_EQUAL(batch.n_tokens, 2 * seq);
        CU_ASSERT_EQUAL(batch.n_counted, seq);
        batch_release(&batch);
    }
    nlm_dataset_close(dataset);
    nlm_str_release(&text);
    rig_remove(&rig);
}

/* ---- splits --------------------------------------------------------------------------------------------- */

/* The numbers of the documents of a split, from the text "<12>..." that each begins with. */
static void mark_documents(const nlm_dataset *dataset, int split, unsigned char *seen) {
    const nlm_batch_shape shape = {.rows = 2, .length = 50, .max_seqs = 100};
    const uint64_t n_batches = nlm_dataset_batches(dataset, split, &shape);
    nlm_train_batch batch;
    nlm_str all = {0};
    batch_make(&batch, &shape);
    for (uint64_t b = 0; b < n_batches; b++) {
        nlm_dataset_batch(dataset, split, &shape, b, &batch);
        for (int32_t t = 0; t < batch.n_tokens; t++) nlm_str_printf(&all, "%c", letter(batch.ids[t]));
    }
    nlm_str first = {0}; /* of the batch that comes next: the same as at the beginning */
    nlm_dataset_batch(dataset, split, &shape, n_batches, &batch);
    for (int32_t t = 0; t < batch.n_tokens; t++) nlm_str_printf(&first, "%c", letter(batch.ids[t]));
    CU_ASSERT_EQUAL(strncmp(all.data, first.data, first.length), 0);
    CU_ASSERT_EQUAL(all.length, nlm_dataset_tokens(dataset, split));
    int before = -1;
    uint64_t count = 0;
    for (char *line = all.data, *end; line && (end = strchr(line, '\n')); line = end + 1, count++) {
        const int number = atoi(line + 1);
        CU_ASSERT(number > before); /* in order */
        seen[number]++;
        before = number;
    }
    CU_ASSERT_EQUAL(count, nlm_dataset_documents(dataset, split));
    nlm_str_release(&all);
    nlm_str_release(&first);
    batch_release(&batch);
}

static void validation_is_whole_documents_that_the_seed_draws(void) {
    enum { N = 400 };
    static const double shares[] = {0, 0.1, 0.5};
    dataset_rig rig;
    nlm_str text;
    rig_make(&rig, byte_tokenizer(false, true));
    nlm_str stream = write_documents(&rig, N, &text);
    for (size_t i = 0; i < COUNT(shares); i++) {
        unsigned char seen[2][N] = {{0}};
        uint64_t counts[2];
        for (uint64_t seed = 0; seed < 2; seed++) {
            rig.options.validation = shares[i];
            rig.options.seed = seed;
            nlm_dataset *dataset = rig_open(&rig);
            counts[seed] = nlm_dataset_documents(dataset, NLM_SPLIT_VALIDATION);
            if (counts[seed]) mark_documents(dataset, NLM_SPLIT_VALIDATION, seen[seed]);
            CU_ASSERT_EQUAL(nlm_dataset_documents(dataset, NLM_SPLIT_TRAIN), N - counts[seed]);
            CU_ASSERT_EQUAL(
                nlm_dataset_tokens(dataset, NLM_SPLIT_TRAIN) + nlm_dataset_tokens(dataset, NLM_SPLIT_VALIDATION),
                stream.length);
            /* five standard deviations of N draws */
            const double expected = N * shares[i], spread = 5 * 10; /* sqrt(400 * 0.5 * 0.5) = 10 */
            CU_ASSERT((double)counts[seed] >= expected - spread && (double)counts[seed] <= expected + spread);
            CU_ASSERT_EQUAL(seen[seed][0], 0);
            for (int k = 0; k < N; k++) CU_ASSERT(seen[seed][k] <= 1);
            nlm_dataset_close(dataset);
        }
        if (shares[i] > 0) CU_ASSERT_NOT_EQUAL(memcmp(seen[0], seen[1], N), 0);
    }
    nlm_str_release(&stream);
    nlm_str_release(&text);
    rig_remove(&rig);
}

static void an_empty_split_has_empty_batches(void) {
    const nlm_batch_shape shape = {.rows = 2, .length = 8, .max_seqs = 4};
    dataset_rig rig;
    nlm_train_batch batch;
    rig_make(&rig, byte_tokenizer(false, true));
    rig_puts(&rig, "a", "one document");
    rig.options.validation = 0.5;
    nlm_dataset *dataset = rig_open(&rig);
    batch_make(&batch, &shape);
    CU_ASSERT_EQUAL(nlm_dataset_batches(dataset, NLM_SPLIT_VALIDATION, &shape), 0);
    nlm_dataset_batch(dataset, NLM_SPLIT_VALIDATION, &shape, 3, &batch);
    CU_ASSERT(batch.n_tokens == 0 && batch.n_seqs == 0 && batch.n_counted == 0);
    batch_release(&batch);
    nlm_dataset_close(dataset);
    rig_remove(&rig);
}

static const check_case cases[] = {
    CHECK_CASE(shuffles_are_permutations_that_differ_by_pass_and_seed),
    CHECK_CASE(every_token_comes_once_a_pass),
    CHECK_CASE(batches_follow_from_seed_and_index),
    CHECK_CASE(rows_of_too_many_documents_end_early),
    CHECK_CASE(validation_is_whole_documents_that_the_seed_draws),
    CHECK_CASE(an_empty_split_has_empty_batches),
};

CHECK_MAIN("batches", cases)
