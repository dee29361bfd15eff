/* Finds the tokens that are cut out of a text before it is split into words: user-defined tokens
 * always, control tokens where the caller lets text spell them. Leftmost first, the longest of those
 * that start together, as other tokenizers do. */
#ifndef NLM_TEXT_SPECIAL_H
#define NLM_TEXT_SPECIAL_H

#include "text/tokenizer.h"
#include "text/vocab.h"

typedef enum nlm_special_kinds {
    NLM_SPECIAL_USER_DEFINED = 1,
    NLM_SPECIAL_CONTROL = 2 /* and unknown */
} nlm_special_kinds;

typedef struct nlm_special_token {
    nlm_bytes text;
    int32_t id;
    uint32_t kind; /* one of nlm_special_kinds */
} nlm_special_token;

typedef struct nlm_specials {
    nlm_special_token *tokens; /* sorted by bytes, a prefix before what it begins */
    size_t count;
    uint32_t first[257];         /* tokens[first[b] .. first[b+1]) begin with byte b */
    uint8_t kinds_of_first[256]; /* of those that begin with a byte: nlm_special_kinds */
} nlm_specials;

/* Looks the tokens up in the vocabulary, whose text it borrows. */
nlm_status nlm_specials_create(const nlm_vocab *vocab, nlm_specials *out, nlm_error *err);
void nlm_specials_release(nlm_specials *specials);

/* A walk over a text from left to right. */
typedef struct nlm_special_scan {
    const nlm_specials *specials;
    const char *text;
    size_t length;
    uint32_t kinds;                   /* to find: nlm_special_kinds */
    const nlm_text_spans *user_spans; /* control tokens do not touch these; or NULL */
    size_t next_span;                 /* of user_spans: those before have been passed */
} nlm_special_scan;

typedef struct nlm_special_match {
    size_t from, to;
    int32_t id;
} nlm_special_match;

/* The first token at or after `from`, which never goes down from call to call. Time: the bytes passed
 * times, at worst, the length of the longest token. */
bool nlm_specials_next(nlm_special_scan *scan, size_t from, nlm_special_match *out);

#endif
