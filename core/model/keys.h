/* Reading hyper-parameters from GGUF metadata by table. Keys are written without their prefix, the
 * architecture: "embedding_length" stands for "llama.embedding_length". */
#ifndef NLM_MODEL_KEYS_H
#define NLM_MODEL_KEYS_H

#include "format/gguf.h"
#include "model/hparams.h"

/* The architecture, and how messages and lookups spell its keys. */
typedef struct nlm_keys {
    const nlm_gguf *gguf;
    char architecture[64];
} nlm_keys;

/* Errors NOT_FOUND of general.architecture are BAD_FORMAT; so is a name that is no short word. */
nlm_status nlm_keys_init(nlm_keys *keys, const nlm_gguf *gguf, nlm_error *err);

/* One integer of nlm_hparams and where it stands. */
typedef struct nlm_key_i32 {
    const char *name;
    size_t offset; /* of the int32_t in nlm_hparams */
    int32_t min, max;
    int32_t fallback; /* when the key is absent; NLM_KEY_REQUIRED: that is an error */
} nlm_key_i32;
#define NLM_KEY_REQUIRED (-1)

/* Reads `count` of them. BAD_FORMAT for a key that is missing, of another type or out of range;
 * UNSUPPORTED for one that differs by layer (an array). */
nlm_status nlm_keys_read_i32(const nlm_keys *keys, const nlm_key_i32 *table, size_t count, nlm_hparams *out,
                             nlm_error *err);

/* A finite float in (min, max], or the fallback when the key is absent (NAN: required). */
nlm_status nlm_keys_read_f32(const nlm_keys *keys, const char *name, float min, float max, float fallback, float *out,
                             nlm_error *err);
nlm_status nlm_keys_read_bool(const nlm_keys *keys, const char *name, bool fallback, bool *out, nlm_error *err);
/* An absent string is {NULL, 0}. */
nlm_status nlm_keys_read_string(const nlm_keys *keys, const char *name, nlm_gguf_string *out, nlm_error *err);
bool nlm_keys_has(const nlm_keys *keys, const char *name);

/* A key that changes what a model computes in a way that is not implemented, unless it has one value. */
typedef struct nlm_key_refused {
    const char *name;
    double harmless; /* the value (of a number or bool) with which the key changes nothing */
    const char *what;
} nlm_key_refused;
/* UNSUPPORTED, naming the key and its meaning, if one of them is there and not harmless. */
nlm_status nlm_keys_refuse(const nlm_keys *keys, const nlm_key_refused *table, size_t count, nlm_error *err);

/* Fails about a key: "'llama.head_count' MESSAGE". */
nlm_status nlm_keys_fail(const nlm_keys *keys, nlm_error *err, nlm_status code, const char *name, const char *format,
                         ...) __attribute__((format(printf, 5, 6), cold));

#endif
