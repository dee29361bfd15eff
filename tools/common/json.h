/* JSON for --json: values are added in order to the innermost open object or array. What goes wrong
 * (memory) is kept and told by nlm_json_print. */
#ifndef NLM_TOOLS_JSON_H
#define NLM_TOOLS_JSON_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NLM_JSON_DEPTH 16

struct cJSON;

typedef struct nlm_json {
    struct cJSON *open[NLM_JSON_DEPTH]; /* the root, and what is open within it */
    size_t depth;
    bool has_failed;
} nlm_json;

/* Zeroed, then begin the root with a NULL key. */
void nlm_json_begin_object(nlm_json *json, const char *key);
void nlm_json_begin_array(nlm_json *json, const char *key);
void nlm_json_end(nlm_json *json); /* of the innermost; the root stays open */

/* `key` is NULL within an array. */
void nlm_json_string(nlm_json *json, const char *key, const char *text);
/* Bytes from anywhere: what is not UTF-8 becomes U+FFFD, as does NUL. */
void nlm_json_text(nlm_json *json, const char *key, const char *data, size_t length);
void nlm_json_u64(nlm_json *json, const char *key, uint64_t value);
void nlm_json_i64(nlm_json *json, const char *key, int64_t value);
void nlm_json_f64(nlm_json *json, const char *key, double value); /* not finite: null */
void nlm_json_bool(nlm_json *json, const char *key, bool value);
/* A value that is JSON already. */
void nlm_json_raw(nlm_json *json, const char *key, const char *text);

/* Writes the root and a newline. Errors OUT_OF_MEMORY; a failed write shows in ferror(file). */
nlm_status nlm_json_print(const nlm_json *json, FILE *file, nlm_error *err);
/* The same to a file, which is replaced as a whole or stays as it is. Errors OUT_OF_MEMORY, and those of
 * nlm_file_write. */
nlm_status nlm_json_write(const nlm_json *json, const char *path, nlm_error *err);
void nlm_json_release(nlm_json *json); /* leaves a zeroed one */

#endif
