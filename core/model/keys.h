/* Reading hyper-parameters from GGUF metadata by table. Keys are written without their prefix, the
 * architecture: "embedding_length" stands for "llama.embedding_length". */
#ifndef NLM_MODEL_KEYS_H
#define NLM_MODEL_KEYS_H

#include <math.h>
#include "base/arena.h"
#include "format/gguf.h"
#include "model/hparams.h"

/* The architecture, and how messages and lookups spell its keys. */
typedef struct nlm_keys {
    const nlm_gguf *gguf;
    nlm_arena *arena; /* of what nlm_hparams points at */
    char architecture[64];
} nlm_keys;

/* Errors NOT_FOUND of general.architecture are BAD_FORMAT; so is a name that is no short word. */
nlm_status nlm_keys_init(nlm_keys *keys, const nlm_gguf *gguf, nlm_arena *arena, nlm_error *err);

enum { NLM_KEY_I32, NLM_KEY_BY_LAYER, NLM_KEY_F32, NLM_KEY_BOOL };

/* One hyper-parameter and where it stands: a line of a family's table. */
typedef struct nlm_key {
    const char *name;    /* NULL ends a table */
    const char *hf_name; /* in config.json; NULL: it is not there, or not as one number */
    int32_t type;        /* NLM_KEY_* */
    size_t offset;       /* of the field in nlm_hparams */
    double min, max;     /* an f32 is greater than min; a bool has no range */
    double fallback;     /* when the key is absent; NAN: that is an error */
} nlm_key;

#define NLM_REQUIRED NAN
#define NLM_INT(name, hf_name, field, min, max, fallback) \
    { name, hf_name, NLM_KEY_I32, offsetof(nlm_hparams, field), min, max, fallback }
/* One value for all layers, or an array of one for each. */
#define NLM_INT_BY_LAYER(name, hf_name, field, min, max, fallback) \
    { name, hf_name, NLM_KEY_BY_LAYER, offsetof(nlm_hparams, field.most), min, max, fallback }
#define NLM_FLOAT(name, hf_name, field, min, max, fallback) \
    { name, hf_name, NLM_KEY_F32, offsetof(nlm_hparams, field), min, max, fallback }
#define NLM_BOOL(name, hf_name, field, fallback) \
    { name, hf_name, NLM_KEY_BOOL, offsetof(nlm_hparams, field), 0, 1, fallback }

/* Reads a table in its order; block_count stands before what has an array by layer. BAD_FORMAT for a key
 * that is missing, of another type, out of range, or an array that has not one value for each layer;
 * UNSUPPORTED for an array of different values where all layers must be alike. */
nlm_status nlm_keys_read(const nlm_keys *keys, const nlm_key *table, nlm_hparams *out, nlm_error *err);

/* An absent string is {NULL, 0}. */
nlm_status nlm_keys_read_string(const nlm_keys *keys, const char *name, nlm_gguf_string *out, nlm_error *err);
/* An array of n bools, from the arena; *out is NULL if the key is absent or no array. */
nlm_status nlm_keys_read_bools(const nlm_keys *keys, const char *name, int32_t n, const int32_t **out,
                               nlm_error *err);
bool nlm_keys_has(const nlm_keys *keys, const char *name);

/* A key that changes what a model computes in a way that is not implemented, unless it has one value. */
typedef struct nlm_key_refused {
    const char *name; /* NULL ends a table */
    double harmless;  /* the value (of a number or bool) with which the key changes nothing */
    const char *what;
} nlm_key_refused;
/* UNSUPPORTED, naming the key and its meaning, if one of them is there and not harmless. */
nlm_status nlm_keys_refuse(const nlm_keys *keys, const nlm_key_refused *table, nlm_error *err);

/* Fails about a key: "'llama.head_count' MESSAGE". */
nlm_status nlm_keys_fail(const nlm_keys *keys, nlm_error *err, nlm_status code, const char *name, const char *format,
                         ...) __attribute__((format(printf, 5, 6), cold));

#endif
