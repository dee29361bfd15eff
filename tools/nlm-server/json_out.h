/* JSON written straight to a string, compact, in the order of the calls. */
#ifndef NLM_SERVER_JSON_OUT_H
#define NLM_SERVER_JSON_OUT_H

#include <stdint.h>
#include "base/str.h"

typedef struct json_out {
    nlm_str *text;     /* what is written, appended to; its has_failed tells of missing memory */
    uint64_t has_item; /* a bit a level: a comma is due */
    uint32_t depth;    /* at most 63 */
} json_out;

json_out json_begin(nlm_str *text);

/* `key` is NULL in an array and for the root. */
void json_object(json_out *j, const char *key);
void json_array(json_out *j, const char *key);
void json_end_object(json_out *j);
void json_end_array(json_out *j);
void json_string(json_out *j, const char *key, const char *text);
/* Bytes from anywhere: what is not UTF-8 becomes U+FFFD. */
void json_bytes(json_out *j, const char *key, const char *text, size_t length);
void json_u64(json_out *j, const char *key, uint64_t value);
void json_i64(json_out *j, const char *key, int64_t value);
void json_f64(json_out *j, const char *key, double value); /* not finite: null */
void json_bool(json_out *j, const char *key, bool value);
void json_null(json_out *j, const char *key);
/* A value that is JSON already. */
void json_raw(json_out *j, const char *key, const char *text);

#endif
