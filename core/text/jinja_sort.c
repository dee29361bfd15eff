/* Sorting values of chat templates. */
#include <string.h>

#include "text/jinja_run.h"

nlm_jinja_value nlm_jinja_ignore_case(nlm_jinja_run *run, nlm_jinja_value value) {
    return value.type == NLM_JINJA_STRING ? nlm_jinja_recase(run, value.string, NLM_JINJA_LOWER) : value;
}

/* Merges from[begin..middle) and from[middle..end) into to. */
static void merge(nlm_jinja_run *run, const nlm_jinja_value *keys, bool is_reversed, const size_t *from, size_t *to,
                  const size_t ends[3]) {
    size_t left = ends[0], right = ends[1];
    for (size_t at = ends[0]; at < ends[2]; at++) {
        bool takes_right = left == ends[1];
        if (!takes_right && right < ends[2] && !nlm_jinja_has_failed(run)) {
            const nlm_jinja_value a = keys[from[left]], b = keys[from[right]];
            takes_right = (is_reversed ? nlm_jinja_compare(run, a, b, "<") : nlm_jinja_compare(run, b, a, "<")) < 0;
        }
        to[at] = takes_right ? from[right++] : from[left++];
    }
}

const size_t *nlm_jinja_order(nlm_jinja_run *run, const nlm_jinja_value *keys, size_t count, bool is_reversed) {
    size_t *order = nlm_jinja_alloc(run, count, sizeof *order), *other = nlm_jinja_alloc(run, count, sizeof *other);
    if (!order || !other) return NULL;
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            const size_t middle = begin + width < count ? begin + width : count;
            const size_t end = middle + width < count ? middle + width : count;
            merge(run, keys, is_reversed, order, other, (const size_t[]){begin, middle, end});
        }
        size_t *swapped = order;
        order = other;
        other = swapped;
    }
    return nlm_jinja_has_failed(run) ? NULL : order;
}

const nlm_jinja_pair *nlm_jinja_sort_pairs(nlm_jinja_run *run, const nlm_jinja_dict *dict, bool by_value,
                                           bool has_case, bool is_reversed) {
    nlm_jinja_value *keys = nlm_jinja_alloc(run, dict->count, sizeof *keys);
    nlm_jinja_pair *pairs = nlm_jinja_alloc(run, dict->count, sizeof *pairs);
    if (!keys || !pairs) return NULL;
    for (size_t i = 0; i < dict->count; i++) {
        keys[i] = by_value ? dict->pairs[i].value : dict->pairs[i].key;
        if (!has_case) keys[i] = nlm_jinja_ignore_case(run, keys[i]);
    }
    const size_t *order = nlm_jinja_order(run, keys, dict->count, is_reversed);
    for (size_t i = 0; order && i < dict->count; i++) pairs[i] = dict->pairs[order[i]];
    return order ? pairs : NULL;
}
