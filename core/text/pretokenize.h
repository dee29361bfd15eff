/* Splits text into the words that byte-level BPE merges within, as the pre-tokenizer that a vocabulary
 * was trained with does. */
#ifndef NLM_TEXT_PRETOKENIZE_H
#define NLM_TEXT_PRETOKENIZE_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>

#define NLM_PRE_PATTERNS_MAX 6

/* One way to split. Each pattern in turn splits every piece so far into its matches and what lies
 * between them. */
typedef struct nlm_pre_rule {
    const char *names; /* of tokenizer.ggml.pre, separated by blanks */
    const char *patterns[NLM_PRE_PATTERNS_MAX];
    bool has_nfc;             /* the text is brought to Unicode form C first */
    bool ignores_merges;      /* a word that is a token is that token */
    bool adds_bos;            /* unless the file says otherwise */
    bool splits_number_bytes; /* words part once more, where bytes that stand for numbers meet others */
} nlm_pre_rule;

/* By name; NULL if unknown. */
const nlm_pre_rule *nlm_pre_rule_find(const char *name, size_t length);
/* All names, blank-separated, into out[0..size); returns out. For messages. */
const char *nlm_pre_rule_names(char *out, size_t size);

typedef struct nlm_pre_tokenizer nlm_pre_tokenizer;

/* Compiles a rule's patterns once. Errors OUT_OF_MEMORY, INTERNAL (a pattern that PCRE2 refuses). */
nlm_status nlm_pre_tokenizer_create(const nlm_pre_rule *rule, nlm_pre_tokenizer **out, nlm_error *err);
void nlm_pre_tokenizer_destroy(nlm_pre_tokenizer *pre);

typedef nlm_status (*nlm_pre_word_fn)(void *user, const char *word, size_t length, nlm_error *err);

/* Calls word() for the words of text[0..length), in order, together all of it. Bytes that are no valid
 * UTF-8 are words of their own and end the words beside them. Time linear in length. Thread-safe. */
nlm_status nlm_pre_tokenizer_split(const nlm_pre_tokenizer *pre, const char *text, size_t length,
                                   nlm_pre_word_fn word, void *user, nlm_error *err);

#endif
