/* Ratios of two results, line by line. */
#include "nlm-bench/compare.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>

#include "base/printable.h"
#include "base/status.h"
#include "common/input.h"
#include "common/json.h"

#define PATH_BYTES 256

typedef struct comparison {
    nlm_json *json; /* NULL: for people */
    size_t count;
} comparison;

static nlm_status read_json(const char *path, cJSON **out, nlm_error *err) {
    nlm_str text = {0};
    nlm_status status = nlm_read_input(path, &text, err);
    *out = status == NLM_OK && text.data ? cJSON_ParseWithLength(text.data, text.length) : NULL;
    if (status == NLM_OK && !*out) status = nlm_fail(err, NLM_BAD_FORMAT, path, "this is not JSON");
    nlm_str_release(&text);
    return status;
}

static void compare_numbers(comparison *c, const char *path, double a, double b) {
    const double ratio = a != 0 ? b / a : NAN;
    c->count++;
    if (!c->json) {
        printf("%-40s %14.6g %14.6g %9.4f\n", path, a, b, ratio);
        return;
    }
    nlm_json_begin_object(c->json, path);
    nlm_json_f64(c->json, "a", a);
    nlm_json_f64(c->json, "b", b);
    nlm_json_f64(c->json, "ratio", ratio);
    nlm_json_end(c->json);
}

/* What is in both, in A's order. cJSON bounds the depth of what it parses. */
static void compare_values(comparison *c, const char *path, const cJSON *a, const cJSON *b) {
    char inner[PATH_BYTES];
    if (cJSON_IsNumber(a) && cJSON_IsNumber(b)) compare_numbers(c, path, a->valuedouble, b->valuedouble);
    if (cJSON_IsObject(a) && cJSON_IsObject(b)) {
        for (const cJSON *item = a->child; item; item = item->next) {
            const cJSON *other = cJSON_GetObjectItemCaseSensitive(b, item->string);
            snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", item->string);
            nlm_make_printable(inner, sizeof inner);
            if (other) compare_values(c, inner, item, other);
        }
    }
    if (!cJSON_IsArray(a) || !cJSON_IsArray(b)) return;
    const cJSON *other = b->child;
    int index = 0;
    for (const cJSON *item = a->child; item && other; item = item->next, other = other->next) {
        snprintf(inner, sizeof inner, "%s[%d]", path, index++);
        compare_values(c, inner, item, other);
    }
}

static nlm_status compare_trees(const cJSON *a, const cJSON *b, const char *name, bool is_json, nlm_error *err) {
    nlm_json json = {0};
    comparison c = {.json = is_json ? &json : NULL};
    if (is_json) nlm_json_begin_object(&json, NULL);
    if (!is_json) printf("%-40s %14s %14s %9s\n", "", "A", "B", "B/A");
    compare_values(&c, "", a, b);
    nlm_status status = NLM_OK;
    if (c.count == 0) status = nlm_fail(err, NLM_BAD_FORMAT, name, "the files have no number in common");
    if (status == NLM_OK && is_json) status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}

nlm_status compare_files(const char *a, const char *b, bool is_json, nlm_error *err) {
    cJSON *tree_a = NULL, *tree_b = NULL;
    nlm_status status = read_json(a, &tree_a, err);
    if (status == NLM_OK) status = read_json(b, &tree_b, err);
    if (status == NLM_OK) status = compare_trees(tree_a, tree_b, b, is_json, err);
    cJSON_Delete(tree_a);
    cJSON_Delete(tree_b);
    return status;
}
