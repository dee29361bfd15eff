/* A byte-pair vocabulary: counts the words of texts, and learns from them. */
#include "text/bpe_train.h"

#include "base/status.h"
#include "base/threads.h"
#include "text/bpe_learn.h"
#include "text/pretokenize.h"
#include "text/utf8.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What one thread counts. */
typedef struct counter {
    nlm_word_counts counts;
    nlm_str word; /* SentencePiece: the word so far */
    nlm_status status;
    nlm_error error;
} counter;

struct nlm_bpe_trainer {
    nlm_bpe_train_options options;
    nlm_pre_tokenizer *pre; /* byte-level */
    nlm_pool *pool;
    counter *counters; /* one for each thread */
    uint32_t counter_count;
};

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "training", "no memory to train a vocabulary with");
}

static nlm_status create(nlm_bpe_trainer *trainer, nlm_error *err) {
    if (!trainer->options.is_spm) {
        const nlm_pre_rule *rule = nlm_pre_rule_find("gpt-2", strlen("gpt-2"));
        NLM_TRY(nlm_pre_tokenizer_create(rule, &trainer->pre, err));
    }
    const nlm_pool_options pool = {.threads = trainer->options.threads};
    NLM_TRY(nlm_pool_create(&pool, &trainer->pool, err));
    trainer->counter_count = nlm_pool_threads(trainer->pool);
    trainer->counters = calloc(trainer->counter_count, sizeof *trainer->counters);
    return trainer->counters ? NLM_OK : out_of_memory(err);
}

nlm_status nlm_bpe_trainer_create(const nlm_bpe_train_options *options, nlm_bpe_trainer **out, nlm_error *err) {
    NLM_TRY(nlm_bpe_learn_check(options, err));
    nlm_bpe_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer) return out_of_memory(err);
    trainer->options = *options;
    const nlm_status status = create(trainer, err);
    if (status != NLM_OK) {
        nlm_bpe_trainer_destroy(trainer);
        return status;
    }
    *out = trainer;
    return NLM_OK;
}

void nlm_bpe_trainer_destroy(nlm_bpe_trainer *trainer) {
    if (!trainer) return;
    for (uint32_t i = 0; trainer->counters && i < trainer->counter_count; i++) {
        nlm_word_counts_release(&trainer->counters[i].counts);
        nlm_str_release(&trainer->counters[i].word);
    }
    free(trainer->counters);
    if (trainer->pool) nlm_pool_destroy(trainer->pool);
    nlm_pre_tokenizer_destroy(trainer->pre);
    free(trainer);
}

static nlm_status count_word(void *user, const char *word, size_t length, nlm_error *err) {
    counter *c = user;
    return nlm_word_counts_add(&c->counts, word, length, 1) ? NLM_OK : out_of_memory(err);
}

static nlm_status end_word(counter *c, nlm_error *err) {
    if (c->word.has_failed) return out_of_memory(err);
    if (c->word.length > 0) NLM_TRY(count_word(c, c->word.data, c->word.length, err));
    c->word.length = 0;
    return NLM_OK;
}

/* The bytes at text[at] that are a space to SentencePiece, 0 for others. */
static size_t space_bytes(const char *text, size_t length, size_t at) {
    if (text[at] == ' ') return 1;
    return length - at >= NLM_SPACE_MARK_LENGTH && memcmp(text + at, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH) == 0
               ? NLM_SPACE_MARK_LENGTH
               : 0;
}

/* Words of valid text: each begins with U+2581, the first one maybe earlier. */
static nlm_status count_marked(counter *c, const char *text, size_t length, nlm_error *err) {
    size_t done = 0;
    for (size_t at = 0; at < length;) {
        const size_t space = space_bytes(text, length, at);
        if (space == 0) {
            at++;
            continue;
        }
        nlm_str_append(&c->word, text + done, at - done);
        NLM_TRY(end_word(c, err));
        nlm_str_puts(&c->word, NLM_SPACE_MARK);
        done = at += space;
    }
    nlm_str_append(&c->word, text + done, length - done);
    return NLM_OK;
}

static nlm_status count_spm(counter *c, const nlm_train_text *text, nlm_error *err) {
    const char *data = text->data;
    size_t length = text->length;
    c->word.length = 0;
    if (text->is_start && length > 0) nlm_str_puts(&c->word, NLM_SPACE_MARK);
    while (length > 0) {
        const size_t valid = nlm_utf8_valid_prefix(data, length);
        NLM_TRY(count_marked(c, data, valid, err));
        NLM_TRY(end_word(c, err));
        const size_t skip = valid + nlm_utf8_invalid_prefix(data + valid, length - valid);
        data += skip;
        length -= skip;
    }
    return NLM_OK;
}

/* Texts that threads take one by one. */
typedef struct feed {
    nlm_bpe_trainer *trainer;
    const nlm_train_text *texts;
    size_t count;
    atomic_size_t next;
} feed;

static void count_texts(void *user, uint32_t ith, uint32_t nth) {
    (void)nth;
    feed *f = user;
    nlm_bpe_trainer *trainer = f->trainer;
    counter *c = &trainer->counters[ith];
    for (size_t i; c->status == NLM_OK && (i = atomic_fetch_add(&f->next, 1)) < f->count;) {
        const nlm_train_text *text = &f->texts[i];
        c->status = trainer->options.is_spm
                        ? count_spm(c, text, &c->error)
                        : nlm_pre_tokenizer_split(trainer->pre, text->data, text->length, count_word, c, &c->error);
    }
}

nlm_status nlm_bpe_trainer_feed(nlm_bpe_trainer *trainer, const nlm_train_text *texts, size_t count, nlm_error *err) {
    feed f = {.trainer = trainer, .texts = texts, .count = count};
    atomic_init(&f.next, 0);
    for (uint32_t i = 0; i < trainer->counter_count; i++) trainer->counters[i].error = (nlm_error)NLM_ERROR_INIT;
    nlm_pool_run(trainer->pool, count_texts, &f);
    for (uint32_t i = 0; i < trainer->counter_count; i++) {
        const counter *c = &trainer->counters[i];
        if (c->status != NLM_OK) return nlm_fail(err, c->status, c->error.where, "%s", c->error.msg);
    }
    return NLM_OK;
}

/* Whether the character that ends before text[at] is one of Unicode's White_Space, or none at all. */
static bool ends_in_space(const char *text, size_t at) {
    size_t lead = at - 1, bytes;
    while (lead > 0 && at - lead < 4 && ((unsigned char)text[lead] & 0xC0) == 0x80) lead--;
    const uint32_t code = nlm_utf8_next(text + lead, at - lead, &bytes);
    if (code < 0x80) return code <= ' ';
    return code >= NLM_UTF8_INVALID || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
           code == 0x205F || code == 0x3000;
}

size_t nlm_bpe_train_cut(bool is_spm, const char *text, size_t from, size_t length) {
    for (size_t at = length; at-- > (from > 1 ? from : 1);) {
        const char byte = text[at];
        if (is_spm && byte == ' ') return at;
        /* GPT-2's words hold spaces only in front, and a run of them is cut by what comes after it alone. */
        const bool is_space = byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
        if (!is_spm && is_space && !ends_in_space(text, at)) return at;
    }
    return 0;
}

nlm_status nlm_bpe_trainer_finish(nlm_bpe_trainer *trainer, nlm_bpe_vocab *out, nlm_error *err) {
    nlm_word_counts *all = &trainer->counters[0].counts;
    for (uint32_t i = 1; i < trainer->counter_count; i++) {
        if (!nlm_word_counts_take(all, &trainer->counters[i].counts)) return out_of_memory(err);
    }
    if (all->count == 0) return nlm_fail(err, NLM_NOT_FOUND, "training", "there is no text to learn from");
    return nlm_bpe_learn(&trainer->options, all, out, err);
}

void nlm_bpe_vocab_release(nlm_bpe_vocab *vocab) {
    free(vocab->merges);
    nlm_arena_release(&vocab->arena);
    *vocab = (nlm_bpe_vocab){0};
}
