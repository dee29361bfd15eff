/* States that go on from window to window, and those that are warmed: what a trainer makes of them, which batches
 * name them, and what a checkpoint keeps of them. */
#include "unit/training_fixture.h"

#include "train/checkpoint.h"
#include "train/trainer_impl.h"
#include "unit/dataset_fixture.h"
#include "unit/graph64.h"
#include "unit/temporary.h"

#define MODEL "mamba-biases-f32"

enum { LANES = 4 };

static nlm_trainer_options usual(void) {
    return (nlm_trainer_options){
        .shape = {.rows = 2, .length = 16, .max_seqs = 4},
        .parameters = {.dtype = NLM_F32},
        .n_lanes = LANES,
        .optimizer = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f},
        .clip_norm = 1,
        .schedule = {.kind = NLM_SCHEDULE_CONSTANT, .rate = 1e-3, .steps = 40},
    };
}

/* A batch of one or two sequences whose states come from lanes and go to them. */
typedef struct lane_batch {
    training_batch b;
    int32_t from[TRAINING_SEQS], to[TRAINING_SEQS];
} lane_batch;

/* [first, first + count) of the sequence of this seed; its last label is known where it goes on. */
static void add_window(lane_batch *w, uint64_t seed, int32_t first, int32_t count, int32_t whole, int32_t from,
                       int32_t to) {
    training_batch all = {0};
    fixture f = {.random = seed * 0x9e3779b97f4a7c15u + 1};
    training_add(&all, &f, 29, whole);
    nlm_train_batch *batch = &w->b.batch;
    const int32_t n = batch->n_tokens, s = batch->n_seqs;
    memcpy(w->b.ids + n, all.ids + first, (size_t)count * sizeof *all.ids);
    memcpy(w->b.labels + n, all.labels + first, (size_t)count * sizeof *all.ids);
    for (int32_t i = 0; i < count; i++) {
        w->b.pos[n + i] = i;
        batch->n_counted += all.labels[first + i] >= 0;
    }
    w->from[s] = from;
    w->to[s] = to;
    w->b.starts[s + 1] = n + count;
    *batch = (nlm_train_batch){.ids = w->b.ids,
                               .labels = w->b.labels,
                               .pos = w->b.pos,
                               .seq_start = w->b.starts,
                               .from = w->from,
                               .to = w->to,
                               .n_tokens = n + count,
                               .n_seqs = s + 1,
                               .n_counted = batch->n_counted};
}

/* ---- against float64 ------------------------------------------------------------------------------- */

/* The trainer's graph in float64, with its parameters. */
typedef struct exact {
    nlm_graph *graph;
    nlm_batch_program p;
    graph64 g;
} exact;

static void exact_open(exact *e, const training *t) {
    nlm_error err = NLM_ERROR_INIT;
    memset(e, 0, sizeof *e);
    expect_ok(nlm_graph_create(&e->graph, &err), &err);
    expect_ok(nlm_trainer_build(t->trainer, true, e->graph, &e->p, &err), &err);
    graph64_open(&e->g, e->graph);
    for (uint32_t i = 0; i < training_count(t); i++) {
        const nlm_value value = nlm_graph_parameter(e->graph, &training_at(t, i)->parameter);
        float *values = training_values(t, i, NLM_TRAINER_VALUE);
        for (uint64_t j = 0; j < nlm_trained_elements(training_at(t, i)); j++)
            e->g.memory[value][j] = (double)values[j];
        free(values);
    }
}

static void exact_close(exact *e) {
    graph64_close(&e->g);
    nlm_graph_destroy(e->graph);
    nlm_trainer_release(&e->p);
}

static void put_ids(exact *e, nlm_value input, const int32_t *from, int32_t count, int32_t rest) {
    int32_t *to = (int32_t *)(void *)e->g.memory[input];
    const int32_t all = (int32_t)graph64_count(&e->graph->values[input].tensor);
    for (int32_t i = 0; i < all; i++) to[i] = i < count ? from[i] : rest;
}

/* A window of sequence s in slot s, on what the states of the graph hold; the sum of the losses. */
static double exact_run(exact *e, const nlm_train_batch *b) {
    static const int32_t slots[] = {0, 1, 2, 3};
    put_ids(e, e->p.io.ids, b->ids, b->n_tokens, 0);
    put_ids(e, e->p.training.labels, b->labels, b->n_tokens, -1);
    put_ids(e, e->p.io.batch.seq_start, b->seq_start, b->n_seqs + 1, b->n_tokens);
    put_ids(e, e->p.io.batch.slot, slots, 4, 0);
    e->g.live[NLM_ROWS_TOKENS] = b->n_tokens;
    e->g.live[NLM_ROWS_SEQS] = b->n_seqs;
    graph64_run(&e->g, e->graph->n_nodes);
    double sum = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) sum += e->g.memory[e->p.io.logits][i];
    return sum;
}

/* What is behind the sequences becomes what they begin with, and no more than a number. */
static void exact_carry(exact *e, const training *t) {
    const nlm_cache *cache = t->trainer->cache;
    for (uint32_t i = 0; i < nlm_trainer_states(t->trainer); i++) {
        nlm_state *state = nlm_cache_state(cache, (int32_t)i / cache->n_layer, (int32_t)i % cache->n_layer);
        const nlm_value value = nlm_graph_state(e->graph, state);
        memcpy(e->g.memory[value], e->g.memory[e->p.after[i]], state->bytes / sizeof(float) * sizeof(double));
    }
}

static void expect_gradients(const training *t, exact *e, double bound) {
    double worst = 0;
    for (uint32_t i = 0; i < training_count(t); i++) {
        const uint64_t count = nlm_trained_elements(training_at(t, i));
        const nlm_value value = nlm_graph_parameter(e->graph, &training_at(t, i)->parameter);
        const double *expected = e->g.memory[nlm_graph_gradient(e->graph, value)];
        float *found = training_gradient(t, i);
        double error = 0, size = 0;
        for (uint64_t j = 0; j < count; j++) {
            const double off = (double)found[j] - expected[j];
            error += off * off;
            size += expected[j] * expected[j];
        }
        if (!(size > 0 && error <= bound * bound * size))
            printf("\n%s: off by %g of %g\n", training_at(t, i)->name, sqrt(error), sqrt(size));
        CU_ASSERT_TRUE(size > 0 && error <= bound * bound * size);
        worst = fmax(worst, sqrt(error / size));
        free(found);
    }
    printf("\n    the worst is off by %.2g of its norm ", worst);
}

/* Two sequences in three windows, the second of which ends with the second window. */
static void windows_are_those_of_float64(void) {
    const nlm_trainer_options options = usual();
    static const int32_t counts[3][2] = {{12, 3}, {7, 9}, {13, 0}};
    training t;
    exact e;
    nlm_error err = NLM_ERROR_INIT;
    training_open(&t, MODEL, &options, 2);
    exact_open(&e, &t);
    int32_t done[2] = {0, 0};
    for (int window = 0; window < 3; window++) {
        lane_batch w = {0};
        for (int s = 0; s < 2 && counts[window][s] > 0; s++) {
            add_window(&w, (uint64_t)s + 3, done[s], counts[window][s], s ? 12 : 32, done[s] ? 2 * s + 1 : -1,
                       2 * s + 1);
            done[s] += counts[window][s];
        }
        double loss = 0;
        expect_ok(nlm_trainer_accumulate(t.trainer, &w.b.batch, &loss, &err), &err);
        const double expected = exact_run(&e, &w.b.batch);
        CU_ASSERT_DOUBLE_EQUAL(loss, expected, 1e-5 * expected);
        exact_carry(&e, &t);
    }
    expect_gradients(&t, &e, 1e-4);
    exact_close(&e);
    training_close(&t);
}

/* ---- against one window of all --------------------------------------------------------------------- */

static void losses_of_windows_add_up_to_those_of_the_whole(void) {
    const nlm_trainer_options options = usual();
    training t;
    nlm_error err = NLM_ERROR_INIT;
    lane_batch whole = {0};
    double expected, sum = 0;
    training_open(&t, MODEL, &options, 2);
    add_window(&whole, 3, 0, 32, 32, -1, -1);
    expect_ok(nlm_trainer_evaluate(t.trainer, &whole.b.batch, &expected, &err), &err);
    for (int32_t first = 0; first < 32; first += 8) {
        lane_batch w = {0};
        double loss;
        add_window(&w, 3, first, 8, 32, first ? 2 : -1, 2);
        expect_ok(nlm_trainer_evaluate(t.trainer, &w.b.batch, &loss, &err), &err);
        sum += loss;
    }
    CU_ASSERT_DOUBLE_EQUAL(sum, expected, 1e-6 * expected);
    training_close(&t);
}

/* The same window behind a history that was evaluated, and behind one that it brings along: bit for bit. */
static void a_history_warms_as_windows_before_do(void) {
    const nlm_trainer_options options = usual();
    training carried, warmed, cold;
    nlm_error err = NLM_ERROR_INIT;
    lane_batch before[2] = {{.from = {0}}}, after = {0}, alone = {0};
    double loss, losses[3];
    training_open(&carried, MODEL, &options, 2);
    training_open(&warmed, MODEL, &options, 2);
    training_open(&cold, MODEL, &options, 2);
    add_window(&before[0], 3, 0, 16, 40, -1, 1);
    add_window(&before[1], 3, 16, 4, 40, 1, 1);
    add_window(&after, 3, 20, 20, 40, 1, 1);
    add_window(&alone, 3, 20, 20, 40, -1, -1);
    for (int i = 0; i < 2; i++)
        expect_ok(nlm_trainer_evaluate(carried.trainer, &before[i].b.batch, &loss, &err), &err);
    expect_ok(nlm_trainer_accumulate(carried.trainer, &after.b.batch, &losses[0], &err), &err);
    nlm_train_batch history[2] = {before[0].b.batch, before[1].b.batch};
    after.b.batch.history = history;
    after.b.batch.n_history = 2;
    expect_ok(nlm_trainer_accumulate(warmed.trainer, &after.b.batch, &losses[1], &err), &err);
    expect_ok(nlm_trainer_accumulate(cold.trainer, &alone.b.batch, &losses[2], &err), &err);
    CU_ASSERT_EQUAL(losses[0], losses[1]);
    CU_ASSERT_NOT_EQUAL(losses[0], losses[2]);
    for (uint32_t i = 0; i < training_count(&warmed); i++) {
        float *x = training_gradient(&carried, i), *y = training_gradient(&warmed, i);
        CU_ASSERT_EQUAL(memcmp(x, y, nlm_trained_elements(training_at(&warmed, i)) * sizeof *x), 0);
        free(x);
        free(y);
    }
    training_close(&cold);
    training_close(&warmed);
    training_close(&carried);
}

/* ---- lanes of batches --------------------------------------------------------------------------------- */

/* Documents of 1 to 90 letters. */
static nlm_dataset *open_documents(dataset_rig *rig, bool is_split) {
    nlm_str text = {0};
    rig_make(rig, byte_tokenizer(true, true));
    for (int i = 0; i < 40; i++) {
        for (int j = 0; j < 1 + i * i * 7 % 90; j++) nlm_str_printf(&text, "%c", 'a' + (i + j) % 26);
        nlm_str_puts(&text, "\n\n");
    }
    rig_puts(rig, "a.txt", text.data);
    nlm_str_release(&text);
    rig->options.separator = "\n\n";
    rig->options.validation = is_split ? 0.3 : 0;
    return rig_open(rig);
}

/* What a lane has read: where the last sequence that went to it ended, as the text of it so far. */
typedef struct lane_text {
    char text[512];
    size_t length;
} lane_text;

static void read_sequences(const nlm_train_batch *b, lane_text *lanes, char *whole, size_t *n_whole, bool counts) {
    for (int32_t s = 0; s < b->n_seqs; s++) {
        lane_text now = {.length = 0};
        if (b->from[s] >= 0) now = lanes[b->from[s]];
        for (int32_t i = b->seq_start[s]; i < b->seq_start[s + 1]; i++) {
            now.text[now.length++] = b->ids[i] == BYTE_BOS ? '<' : b->ids[i] == BYTE_EOS ? '>' : (char)b->ids[i];
            if (counts) whole[(*n_whole)++] = now.text[now.length - 1];
        }
        /* Whatever a sequence has behind it begins with its document. */
        if (b->from[s] >= 0 && counts) CU_ASSERT_EQUAL(now.text[0], '<');
        if (b->to[s] >= 0) lanes[b->to[s]] = now;
    }
}

/* The sequences of a batch behind what their lanes have read: letters of a document follow each other. Returns how
 * many tokens there were. */
static size_t follow_letters(const nlm_train_batch *b, lane_text *lanes) {
    size_t n_tokens = 0;
    for (int32_t s = 0; s < b->n_seqs; s++) {
        lane_text now = {.length = 0};
        if (b->from[s] >= 0) now = lanes[b->from[s]];
        for (int32_t k = b->seq_start[s]; k < b->seq_start[s + 1]; k++) now.text[now.length++] = (char)b->ids[k];
        n_tokens += (size_t)(b->seq_start[s + 1] - b->seq_start[s]);
        for (size_t k = 1; b->from[s] >= 0 && k < now.length; k++) {
            if (now.text[k - 1] < 'a' || now.text[k] < 'a') continue;
            CU_ASSERT_EQUAL(now.text[k], 'a' + (now.text[k - 1] - 'a' + 1) % 26);
        }
        if (b->to[s] >= 0) lanes[b->to[s]] = now;
    }
    return n_tokens;
}

static void rows_that_carry_go_on_with_their_documents(void) {
    const nlm_batch_shape shape = {.rows = 3, .length = 24, .max_seqs = 24, .carries = true};
    for (int split = 0; split < 2; split++) {
        dataset_rig rig;
        nlm_dataset *dataset = open_documents(&rig, true);
        nlm_train_batch *b = NULL;
        nlm_error err = NLM_ERROR_INIT;
        expect_ok(nlm_train_batch_create(&shape, &b, &err), &err);
        const uint64_t n = nlm_dataset_batches(dataset, split, &shape);
        lane_text lanes[6] = {{.length = 0}};
        uint64_t n_on = 0;
        CU_ASSERT_TRUE_FATAL(n > 4);
        for (uint64_t pass = 0; pass < 2; pass++) {
            size_t n_whole = 0;
            for (uint64_t i = 0; i < n; i++) {
                nlm_dataset_batch(dataset, split, &shape, pass * n + i, b);
                CU_ASSERT_EQUAL(b->n_history, 0);
                for (int32_t s = 0; s < b->n_seqs; s++) {
                    CU_ASSERT_FALSE(i == 0 && b->from[s] >= 0);
                    CU_ASSERT_TRUE(b->from[s] < 0 || b->from[s] / 3 == split);
                    n_on += b->from[s] >= 0;
                }
                n_whole += follow_letters(b, lanes);
            }
            CU_ASSERT_EQUAL(n_whole, nlm_dataset_tokens(dataset, split)); /* every token once */
        }
        CU_ASSERT_TRUE(n_on > n);
        nlm_train_batch_destroy(b);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
}

/* All that a document has before a window, however many parts that takes. */
static void burn_in_is_what_the_document_has_before(void) {
    static const int32_t burn_ins[] = {5, 24, 500};
    for (int c = 0; c < 3; c++) {
        const nlm_batch_shape shape = {.rows = 3, .length = 24, .max_seqs = 24, .burn_in = burn_ins[c]};
        dataset_rig rig;
        nlm_dataset *dataset = open_documents(&rig, false);
        nlm_train_batch *b = NULL;
        nlm_error err = NLM_ERROR_INIT;
        char whole[4096];
        size_t n_whole = 0;
        int32_t most = 0;
        expect_ok(nlm_train_batch_create(&shape, &b, &err), &err);
        for (uint64_t i = 0; i < nlm_dataset_batches(dataset, NLM_SPLIT_TRAIN, &shape); i++) {
            lane_text lanes[6] = {{.length = 0}};
            nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, i, b);
            CU_ASSERT_TRUE(b->n_history <= (burn_ins[c] + 23) / 24);
            if (b->n_history > most) most = b->n_history;
            for (int32_t h = 0; h < b->n_history; h++) {
                CU_ASSERT_EQUAL(b->history[h].n_counted, 0);
                read_sequences(&b->history[h], lanes, NULL, NULL, false);
            }
            for (int l = 0; l < 6; l++) CU_ASSERT_TRUE(lanes[l].length <= (size_t)burn_ins[c]);
            if (burn_ins[c] == 500) read_sequences(b, lanes, whole, &n_whole, true);
        }
        CU_ASSERT_EQUAL(most, burn_ins[c] > 90 ? 4 : 1);
        nlm_train_batch_destroy(b);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
}

/* ---- checkpoints, and what goes wrong ------------------------------------------------------------------ */

/* Steps that all carry, two sequences each. */
static double carry_steps(training *t, int32_t first, int32_t count) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_trainer_metrics metrics = {0};
    for (int32_t i = first; i < first + count; i++) {
        lane_batch w = {0};
        for (int32_t s = 0; s < 2; s++) add_window(&w, (uint64_t)s + 7, 6 * i, 6, 48, i ? s : -1, s);
        expect_ok(nlm_trainer_step(t->trainer, &w.b.batch, 1, &metrics, &err), &err);
    }
    return metrics.loss;
}

static void a_run_that_carries_goes_on_bit_for_bit(void) {
    nlm_trainer_options options = usual();
    temporary folder;
    training whole, first, second;
    nlm_error err = NLM_ERROR_INIT;
    bool is_found = false;
    CU_ASSERT_FATAL(temporary_make(&folder));
    training_open(&whole, MODEL, &options, 2);
    training_open(&first, MODEL, &options, 2);
    const double loss = carry_steps(&whole, 0, 8);
    carry_steps(&first, 0, 5);
    expect_ok(nlm_checkpoint_save(first.trainer, folder.folder, "run", 0, &err), &err);
    training_close(&first);
    training_open(&second, MODEL, &options, 1);
    expect_ok(nlm_checkpoint_restore(second.trainer, folder.folder, "run", &is_found, &err), &err);
    CU_ASSERT_TRUE(is_found);
    CU_ASSERT_EQUAL(carry_steps(&second, 5, 3), loss);
    CU_ASSERT_TRUE(training_is_same(&whole, &second));
    training_close(&second);
    options.n_lanes = LANES + 1;
    training_open(&second, MODEL, &options, 1);
    CU_ASSERT_EQUAL(nlm_checkpoint_restore(second.trainer, folder.folder, "run", &is_found, &err),
                    NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "'carried.blk.0.conv_state' is missing or has another shape");
    training_close(&second);
    training_close(&whole);
    temporary_remove(&folder);
}

/* A step that fails leaves the lanes as they were: the one after it is as if there had been none. */
static void a_step_that_fails_changes_no_lane(void) {
    nlm_trainer_options options = usual();
    training t, same;
    nlm_error err = NLM_ERROR_INIT;
    nlm_trainer_metrics metrics;
    training_open(&t, MODEL, &options, 2);
    training_open(&same, MODEL, &options, 2);
    carry_steps(&t, 0, 2);
    carry_steps(&same, 0, 2);
    const uint64_t count = nlm_trained_elements(training_at(&t, 0));
    float *kept = training_values(&t, 0, NLM_TRAINER_VALUE), *wrong = malloc(count * sizeof *wrong);
    memcpy(wrong, kept, count * sizeof *wrong);
    for (uint64_t i = 0; i < count; i++) wrong[i] *= 1e30f;
    expect_ok(nlm_trainer_write(t.trainer, 0, NLM_TRAINER_VALUE, wrong, &err), &err);
    lane_batch w = {0};
    add_window(&w, 7, 12, 6, 48, 0, 0);
    CU_ASSERT_EQUAL(nlm_trainer_step(t.trainer, &w.b.batch, 1, &metrics, &err), NLM_NUMERIC);
    expect_ok(nlm_trainer_write(t.trainer, 0, NLM_TRAINER_VALUE, kept, &err), &err);
    CU_ASSERT_EQUAL(carry_steps(&t, 2, 2), carry_steps(&same, 2, 2));
    CU_ASSERT_TRUE(training_is_same(&t, &same));
    free(kept);
    free(wrong);
    training_close(&same);
    training_close(&t);
}

static void lanes_that_are_none_are_refused(void) {
    const nlm_trainer_options options = usual();
    static const int32_t pairs[][2] = {{LANES, 0}, {1, 1}};
    training t;
    nlm_error err = NLM_ERROR_INIT;
    double loss;
    training_open(&t, MODEL, &options, 2);
    for (int c = 0; c < 2; c++) {
        for (int side = 0; side < 2; side++) {
            lane_batch w = {0};
            for (int s = 0; s < 2; s++) add_window(&w, 3, 0, 6, 12, side ? -1 : pairs[c][s], side ? pairs[c][s] : -1);
            CU_ASSERT_EQUAL(nlm_trainer_evaluate(t.trainer, &w.b.batch, &loss, &err), NLM_INVALID_ARGUMENT);
            expect_contains(err.msg, "which another one has or which is none of 4");
        }
    }
    nlm_model *llama = NULL;
    nlm_trainer *trainer = NULL;
    char path[512];
    expect_ok(nlm_model_open(model_path("llama-gqa-f32", path, sizeof path), &llama, &err), &err);
    CU_ASSERT_EQUAL(nlm_trainer_create(&t.env, llama, &options, &trainer, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "'llama' has no state that could be carried");
    nlm_model_close(llama);
    training_close(&t);
}

static const check_case cases[] = {
    CHECK_CASE(windows_are_those_of_float64),
    CHECK_CASE(losses_of_windows_add_up_to_those_of_the_whole),
    CHECK_CASE(a_history_warms_as_windows_before_do),
    CHECK_CASE(rows_that_carry_go_on_with_their_documents),
    CHECK_CASE(burn_in_is_what_the_document_has_before),
    CHECK_CASE(a_run_that_carries_goes_on_bit_for_bit),
    CHECK_CASE(a_step_that_fails_changes_no_lane),
    CHECK_CASE(lanes_that_are_none_are_refused),
};
CHECK_MAIN("carried", cases)
