/* What the parts that read tokenizer.json share. */
#ifndef NLM_TEXT_TOKENIZER_JSON_INTERNAL_H
#define NLM_TEXT_TOKENIZER_JSON_INTERNAL_H

#include "base/arena.h"
#include "text/piece_map.h"
#include "text/pretokenize.h"
#include "text/vocab.h"

struct cJSON;

/* How text becomes words, out of normalizer and pre_tokenizer. */
typedef struct nlm_json_steps {
    bool is_spm;
    bool has_nfc;
    bool prepends, replaces;    /* the normalizer puts U+2581 in front, and in place of spaces */
    bool has_metaspace, splits; /* pre_tokenizer Metaspace, which cuts words at U+2581 */
    const char *scheme;         /* Metaspace's prepend_scheme */
    const char *pre[16];        /* see pre_json.h */
    size_t pre_count;
} nlm_json_steps;

/* Reads normalizer and pre_tokenizer. Strings lie in `arena`. Errors UNSUPPORTED (which part), BAD_FORMAT. */
nlm_status nlm_json_read_steps(const char *name, const struct cJSON *root, nlm_arena *arena, nlm_json_steps *out,
                               nlm_error *err);

/* The tokens that post_processor puts around a text; NULL: none. */
typedef struct nlm_json_ends {
    const char *first, *last;
} nlm_json_ends;
/* Errors UNSUPPORTED (anything else that it does). Strings are root's. */
nlm_status nlm_json_read_ends(const char *name, const struct cJSON *root, nlm_json_ends *out, nlm_error *err);

/* The text of a member that is a string, or NULL. */
const char *nlm_json_text_of(const struct cJSON *object, const char *key);
/* A member that is there and not null, or NULL. */
const struct cJSON *nlm_json_given(const struct cJSON *object, const char *key);

#endif
