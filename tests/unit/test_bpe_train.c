/* Learning vocabularies: the same tokens and merges as the package tokenizers, whatever the threads and the parts. */
#include "text/bpe_train.h"
#include "text/vocab_write.h"
#include "unit/tokenizer_fixture.h"

#define TRAINING  NLM_TEST_DATA "/training/"
#define PROSE     NLM_TEST_DATA "/tokenizer/trained.inp"
#define SEPARATOR "\n__ggml_vocab_test__\n"

static const char *const the_end[] = {"<|endoftext|>"};
static const char *const three[] = {"<|endoftext|>", "<|im_start|>", "the"};
static const char *const start[] = {"<|im_start|>"};

/* As tests/oracle/make_bpe_training.py has them. */
static const struct {
    const char *texts, *learned;
    nlm_bpe_train_options options;
} learned[] = {
    {PROSE,
     TRAINING "learned-byte.gguf",
     {.vocab_size = 700, .min_frequency = 2, .specials = the_end, .special_count = 1}},
    {PROSE, TRAINING "learned-byte-all.gguf", {.vocab_size = 100000, .specials = three, .special_count = 3}},
    {TRAINING "ties.inp",
     TRAINING "learned-byte-ties.gguf",
     {.vocab_size = 100000, .specials = the_end, .special_count = 1}},
    {PROSE,
     TRAINING "learned-spm.gguf",
     {.is_spm = true, .vocab_size = 1100, .min_frequency = 2, .specials = start, .special_count = 1}},
    {PROSE,
     TRAINING "learned-spm-alphabet.gguf",
     {.is_spm = true, .vocab_size = 500, .min_frequency = 2, .alphabet_size = 62}},
    {TRAINING "ties.inp",
     TRAINING "learned-spm-ties.gguf",
     {.is_spm = true, .vocab_size = 100000, .min_frequency = 1}},
};

static void feed(nlm_bpe_trainer *trainer, const char *data, size_t length, bool is_start) {
    const nlm_train_text text = {data, length, is_start};
    CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_feed(trainer, &text, 1, NULL), NLM_OK);
}

/* In parts of about `part` bytes where they can be cut; 0: whole. */
static void feed_parts(nlm_bpe_trainer *trainer, bool is_spm, const char *text, size_t length, size_t part) {
    size_t done = 0;
    while (part > 0 && length - done > part) {
        const size_t cut = nlm_bpe_train_cut(is_spm, text + done, 0, part);
        if (cut == 0) break;
        feed(trainer, text + done, cut, done == 0);
        done += cut;
    }
    feed(trainer, text + done, length - done, done == 0);
}

static nlm_status train(const nlm_bpe_train_options *options, const char *path, size_t part, nlm_bpe_vocab *out) {
    nlm_bpe_trainer *trainer = NULL;
    nlm_str texts = read_file(path);
    CU_ASSERT_FATAL(texts.length > 0);
    CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_create(options, &trainer, NULL), NLM_OK);
    for (const char *text = texts.data, *end; text; text = end ? end + strlen(SEPARATOR) : NULL) {
        end = strstr(text, SEPARATOR);
        const size_t length = end ? (size_t)(end - text) : strlen(text);
        feed_parts(trainer, options->is_spm, text, length, part);
    }
    const nlm_status status = nlm_bpe_trainer_finish(trainer, out, NULL);
    nlm_bpe_trainer_destroy(trainer);
    nlm_str_release(&texts);
    return status;
}

static size_t count_differences(const nlm_gguf *a, const nlm_gguf *b, const char *key) {
    const nlm_gguf_entry *left = nlm_gguf_find(a, key), *right = nlm_gguf_find(b, key);
    CU_ASSERT_FATAL(left && right && left->count == right->count);
    size_t differences = 0;
    for (uint64_t i = 0; i < left->count; i++) {
        const nlm_gguf_string x = left->strings[i], y = right->strings[i];
        differences += x.length != y.length || memcmp(x.data, y.data, (size_t)x.length) != 0;
    }
    return differences;
}

static nlm_gguf *written(const nlm_bpe_vocab *vocab) {
    nlm_gguf_writer *writer = NULL;
    nlm_gguf *gguf = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_create(&writer, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_vocab_write(vocab, writer, NULL), NLM_OK);
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_writer_map(writer, "learned", &gguf, NULL), NLM_OK);
    nlm_gguf_writer_destroy(writer);
    return gguf;
}

static void check_learned(size_t index, uint32_t threads, size_t part) {
    nlm_bpe_train_options options = learned[index].options;
    options.threads = threads;
    nlm_bpe_vocab vocab = {0};
    CU_ASSERT_EQUAL_FATAL(train(&options, learned[index].texts, part, &vocab), NLM_OK);
    nlm_gguf *ours = written(&vocab), *theirs = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_gguf_open(learned[index].learned, &theirs, NULL), NLM_OK);
    const size_t tokens = count_differences(ours, theirs, "tokenizer.ggml.tokens");
    const size_t merges = count_differences(ours, theirs, "tokenizer.ggml.merges");
    if (tokens + merges > 0) printf(" [%s: %zu tokens, %zu merges differ] ", learned[index].learned, tokens, merges);
    CU_ASSERT_EQUAL(tokens + merges, 0);
    nlm_gguf_close(ours);
    nlm_gguf_close(theirs);
    nlm_bpe_vocab_release(&vocab);
}

static void what_is_learned_is_what_the_package_tokenizers_learns(void) {
    for (size_t i = 0; i < COUNT(learned); i++) check_learned(i, 1, 0);
}

static void threads_and_parts_change_nothing(void) {
    for (size_t i = 0; i < COUNT(learned); i++) {
        check_learned(i, 3, 0);
        check_learned(i, 2, 7);
        check_learned(i, 2, 40);
    }
}

/* Every cut that is offered, of texts full of all kinds of spaces, against the whole. */
static void cuts_leave_words_whole(void) {
    static const char *const pieces[] = {
        " ", "\n", "\r", "\t", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\x85", "\xC2\x85", "a",  "Z",
        "é", "世", "1",  "'s", ".",        "\x01",         "\xFF",         "\xE2\x80", "  ", "\n\n"};
    uint64_t seed = 5;
    size_t n_cuts = 0;
    for (int round = 0; round < 200; round++) {
        nlm_str text = {0};
        for (int i = 0; i < 12; i++) nlm_str_puts(&text, pieces[next_random(&seed) % COUNT(pieces)]);
        const bool is_spm = round % 2;
        const size_t cut = nlm_bpe_train_cut(is_spm, text.data, 0, text.length);
        n_cuts += cut > 0;
        nlm_bpe_vocab vocabs[2] = {0};
        for (int is_cut = 0; is_cut < 2; is_cut++) {
            const nlm_bpe_train_options options = {.is_spm = is_spm, .vocab_size = 1000, .threads = 1};
            nlm_bpe_trainer *trainer = NULL;
            CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_create(&options, &trainer, NULL), NLM_OK);
            const size_t first = is_cut && cut ? cut : text.length;
            feed(trainer, text.data, first, true);
            if (first < text.length) feed(trainer, text.data + first, text.length - first, false);
            CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_finish(trainer, &vocabs[is_cut], NULL), NLM_OK);
            nlm_bpe_trainer_destroy(trainer);
        }
        const bool is_same =
            vocabs[0].count == vocabs[1].count && vocabs[0].merge_count == vocabs[1].merge_count &&
            (vocabs[0].merge_count == 0 ||
             memcmp(vocabs[0].merges, vocabs[1].merges, vocabs[0].merge_count * sizeof *vocabs[0].merges) == 0);
        if (!is_same) printf(" [round %d] ", round);
        CU_ASSERT_TRUE(is_same);
        nlm_bpe_vocab_release(&vocabs[0]);
        nlm_bpe_vocab_release(&vocabs[1]);
        nlm_str_release(&text);
    }
    CU_ASSERT(n_cuts > 100);
}

static void what_was_learned_encodes_and_decodes(void) {
    for (int is_spm = 0; is_spm < 2; is_spm++) {
        const nlm_bpe_train_options options = {.is_spm = is_spm, .vocab_size = 1500, .threads = 2};
        nlm_bpe_vocab vocab = {0};
        nlm_tokenizer *tokenizer = NULL;
        CU_ASSERT_EQUAL_FATAL(train(&options, PROSE, 0, &vocab), NLM_OK);
        nlm_gguf *gguf = written(&vocab);
        CU_ASSERT_EQUAL_FATAL(nlm_tokenizer_create(gguf, &tokenizer, NULL), NLM_OK);
        CU_ASSERT_EQUAL(nlm_tokenizer_count(tokenizer), 1500);
        nlm_gguf_close(gguf);
        static const char text[] = "Return the \xE4\xB8\x96 object's name.\n\n  \xFFZ\x01";
        nlm_str back = round_trip(tokenizer, text, sizeof text - 1);
        CU_ASSERT(back.length == sizeof text - 1 && memcmp(back.data, text, back.length) == 0);
        nlm_ids ids = {0};
        CU_ASSERT_EQUAL(nlm_tokenizer_encode(tokenizer, text, sizeof text - 1, 0, &ids, NULL), NLM_OK);
        CU_ASSERT(ids.count < 30);
        nlm_ids_release(&ids);
        nlm_str_release(&back);
        nlm_tokenizer_destroy(tokenizer);
        nlm_bpe_vocab_release(&vocab);
    }
}

static bool stop(void *user, size_t tokens) {
    (void)tokens;
    return ++*(int *)user < 2;
}

static void what_cannot_be_learned_is_an_error(void) {
    static const char *const twice[] = {"<a>", "<a>"}, *const named[] = {"<s>"}, *const empty[] = {""},
                             *const broken[] = {"\xFF"};
    static const struct {
        nlm_bpe_train_options options;
        const char *told;
    } cases[] = {
        {{.vocab_size = 256, .specials = the_end, .special_count = 1}, "expected 257"},
        {{.is_spm = true, .vocab_size = 259}, "expected 260"},
        {{.vocab_size = SIZE_MAX}, "a vocabulary of"},
        {{.vocab_size = 1000, .specials = twice, .special_count = 2}, "'<a>' comes twice"},
        {{.is_spm = true, .vocab_size = 1000, .specials = named, .special_count = 1}, "'<s>' comes twice"},
        {{.vocab_size = 1000, .specials = empty, .special_count = 1}, "empty"},
        {{.vocab_size = 1000, .specials = broken, .special_count = 1}, "not UTF-8"},
    };
    nlm_bpe_trainer *trainer = NULL;
    for (size_t i = 0; i < COUNT(cases); i++) {
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_bpe_trainer_create(&cases[i].options, &trainer, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].told));
    }
    nlm_error err = NLM_ERROR_INIT;
    nlm_bpe_vocab vocab = {0};
    const nlm_bpe_train_options nothing = {.vocab_size = 1000};
    CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_create(&nothing, &trainer, NULL), NLM_OK);
    feed(trainer, "", 0, true);
    CU_ASSERT_EQUAL(nlm_bpe_trainer_finish(trainer, &vocab, &err), NLM_NOT_FOUND);
    nlm_bpe_trainer_destroy(trainer);

    const nlm_bpe_train_options small = {.is_spm = true, .vocab_size = 300};
    CU_ASSERT_EQUAL_FATAL(nlm_bpe_trainer_create(&small, &trainer, NULL), NLM_OK);
    nlm_str texts = read_file(PROSE);
    feed(trainer, texts.data, texts.length, true);
    CU_ASSERT_EQUAL(nlm_bpe_trainer_finish(trainer, &vocab, &err), NLM_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "does not hold the text's"));
    nlm_bpe_trainer_destroy(trainer);
    nlm_bpe_vocab_release(&vocab);
    nlm_str_release(&texts);

    int calls = 0;
    const nlm_bpe_train_options stopped = {.vocab_size = 2000, .on_progress = stop, .user = &calls};
    CU_ASSERT_EQUAL(train(&stopped, PROSE, 0, &vocab), NLM_CANCELLED);
    CU_ASSERT_EQUAL(calls, 2);
    nlm_bpe_vocab_release(&vocab);
}

static const check_case cases[] = {
    CHECK_CASE(what_is_learned_is_what_the_package_tokenizers_learns),
    CHECK_CASE(threads_and_parts_change_nothing),
    CHECK_CASE(cuts_leave_words_whole),
    CHECK_CASE(what_was_learned_encodes_and_decodes),
    CHECK_CASE(what_cannot_be_learned_is_an_error),
};

CHECK_MAIN("bpe_train", cases)
