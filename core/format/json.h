/* JSON from outside: parsed by cJSON, after the checks that it leaves to others; and strings of JSON to write. */
#ifndef NLM_FORMAT_JSON_H
#define NLM_FORMAT_JSON_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct cJSON;

/* Parses text[0..length), which is one value and nothing else; cJSON_Delete frees it. No string in it holds a NUL,
 * and all are UTF-8; keys may be repeated. It is at most 1000 deep. `name` stands for the file in errors. Errors
 * BAD_FORMAT (what is wrong, and at which byte), OUT_OF_MEMORY. */
nlm_status nlm_json_parse(const char *name, const char *text, size_t length, struct cJSON **out, nlm_error *err);
/* The same of a file. Errors also LIMIT (it is larger than max_bytes), and nlm_file_read's. */
nlm_status nlm_json_read(const char *path, size_t max_bytes, struct cJSON **out, nlm_error *err);

/* cJSON's numbers are doubles, written with 15 digits. Those of a tree that have more, or are beyond doubles, become
 * cJSON_Raw items with their text, which is printed as it was; their valuedouble stays. text[0..length) is what the
 * tree was parsed from. false: no memory. */
bool nlm_json_keep_digits(struct cJSON *root, const char *text, size_t length);
/* A number, kept so or not. */
bool nlm_json_is_number(const struct cJSON *item);

/* Whether `item` is a whole number of 0 to 2^53, beyond which cJSON's doubles do not tell neighbours apart. */
bool nlm_json_is_whole(const struct cJSON *item, uint64_t *out);
/* The member of an object, or NULL; an error for one that is there twice. */
nlm_status nlm_json_member(const char *name, const struct cJSON *object, const char *key, const struct cJSON **out,
                           nlm_error *err);

/* Appends text[0..length) as a string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void nlm_json_quote(nlm_str *out, const char *text, size_t length);

#endif
