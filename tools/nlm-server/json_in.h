/* JSON of a request: parsed strictly, read field by field, and what is wrong said of which field. */
#ifndef NLM_SERVER_JSON_IN_H
#define NLM_SERVER_JSON_IN_H

#include <cJSON.h>
#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An object from text[0..length). Errors BAD_FORMAT (not UTF-8, not JSON: at which byte; a NUL, or "\u0000", which a
 * string of C would end at; a key given twice; not an object), OUT_OF_MEMORY. To be freed with cJSON_Delete. Numbers
 * that a double does not hold are as nlm_json_keep_digits leaves them. */
nlm_status json_parse(const char *text, size_t length, cJSON **out, nlm_error *err);

/* A field that is missing or null leaves *out alone. Errors INVALID_ARGUMENT, with `where` the field's name, of a
 * value of another type or out of its range. */
nlm_status json_get_number(const cJSON *object, const char *key, double min, double max, double *out, nlm_error *err);
nlm_status json_get_int(const cJSON *object, const char *key, int64_t min, int64_t max, int64_t *out, nlm_error *err);
nlm_status json_get_bool(const cJSON *object, const char *key, bool *out, nlm_error *err);
nlm_status json_get_string(const cJSON *object, const char *key, const char **out, nlm_error *err);
/* The value, NULL if missing or null; it has to be of a cJSON type in the mask `types`, called `expected`. */
nlm_status json_get(const cJSON *object, const char *key, int types, const char *expected, const cJSON **out,
                    nlm_error *err);

#endif
