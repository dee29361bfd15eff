/* Finds the tokens that are cut out of a text before it is split into words: user-defined tokens
 * always, control tokens where the caller lets text spell them. Leftmost first, the longest of those
 * that start together, as other tokenizers do. */
#ifndef NLM_TEXT_SPECIAL_H
#define NLM_TEXT_SPECIAL_H

#include "text/reverse_trie.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

typedef enum nlm_special_kinds {
    NLM_SPECIAL_USER_DEFINED = 1,
    NLM_SPECIAL_CONTROL = 2 /* and unknown */
} nlm_special_kinds;

typedef struct nlm_specials {
    nlm_reverse_trie user_defined;
    nlm_reverse_trie controls;
} nlm_specials;

/* Looks the tokens up in the vocabulary, whose text it borrows. Errors LIMIT, OUT_OF_MEMORY. */
nlm_status nlm_specials_create(const nlm_vocab *vocab, nlm_specials *out, nlm_error *err);
void nlm_specials_release(nlm_specials *specials);

/* A special token in a text. */
typedef struct nlm_special_match {
    size_t from, to;
    int32_t id;
} nlm_special_match;

/* A walk over a text from left to right: set the first five, then nlm_specials_begin. */
typedef struct nlm_special_scan {
    const nlm_specials *specials;
    const char *text;
    size_t length;
    uint32_t kinds;                   /* to find: nlm_special_kinds */
    const nlm_text_spans *user_spans; /* control tokens do not touch these; or NULL */
    struct nlm_special_mark *marks;   /* the state of reading backwards at the end of each block */
    nlm_special_match *found;         /* the tokens of one block, from its end */
    size_t n_found, next_block;       /* of the block before next_block, those not yet passed */
} nlm_special_scan;

/* Reads the text once, from its end. Errors OUT_OF_MEMORY. End the scan after an error too. */
nlm_status nlm_specials_begin(nlm_special_scan *scan, nlm_error *err);
void nlm_specials_end(nlm_special_scan *scan);

/* The first token at or after `from`, which never goes down from call to call. All calls of a scan together take
 * time linear in the text, whatever the tokens are. */
bool nlm_specials_next(nlm_special_scan *scan, size_t from, nlm_special_match *out);

#endif
