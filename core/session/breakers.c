/* The tokens that may spell a part of a breaker, and the search backwards through them. */
#include "session/breakers.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

typedef struct part {
    int32_t id;
    size_t offset, length; /* of its text in `pool` */
} part;

struct nlm_breakers {
    char **texts;
    size_t n_texts;
    part *parts; /* by id */
    size_t n_parts, capacity;
    nlm_str pool;
};

nlm_breakers *nlm_breakers_create(const char *const *texts, size_t n) {
    nlm_breakers *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->texts = calloc(n + 1, sizeof *b->texts);
    while (b->texts && b->n_texts < n && (b->texts[b->n_texts] = strdup(texts[b->n_texts]))) b->n_texts++;
    if (b->n_texts == n && b->texts) return b;
    nlm_breakers_destroy(b);
    return NULL;
}

void nlm_breakers_destroy(nlm_breakers *b) {
    if (!b) return;
    for (size_t i = 0; i < b->n_texts; i++) free(b->texts[i]);
    free(b->texts);
    free(b->parts);
    nlm_str_release(&b->pool);
    free(b);
}

/* Does the token end with the beginning of the breaker, begin with its end, or stand within it? */
static bool overlaps(const char *token, size_t length, const char *breaker) {
    const size_t n = strlen(breaker);
    for (size_t k = 1; k < n && k <= length; k++) {
        if (memcmp(token + length - k, breaker, k) == 0 || memcmp(token, breaker + n - k, k) == 0) return true;
    }
    return memmem(breaker, n, token, length) != NULL;
}

static bool keep(nlm_breakers *b, int32_t id, const char *text, size_t length) {
    if (b->n_parts == b->capacity) {
        const size_t capacity = b->capacity ? 2 * b->capacity : 64;
        part *parts = realloc(b->parts, capacity * sizeof *parts);
        if (!parts) return false;
        b->parts = parts;
        b->capacity = capacity;
    }
    b->parts[b->n_parts++] = (part){id, b->pool.length, length};
    nlm_str_append(&b->pool, text, length);
    return !b->pool.has_failed;
}

bool nlm_breakers_add(nlm_breakers *b, int32_t id, const char *text, size_t length, bool *out_is_whole) {
    bool is_part = false;
    *out_is_whole = false;
    for (size_t i = 0; i < b->n_texts && length > 0; i++) {
        *out_is_whole |= memmem(text, length, b->texts[i], strlen(b->texts[i])) != NULL;
        is_part = is_part || overlaps(text, length, b->texts[i]);
    }
    return !is_part || keep(b, id, text, length);
}

static const part *find(const nlm_breakers *b, int32_t id) {
    size_t from = 0, to = b->n_parts;
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (b->parts[middle].id == id) return &b->parts[middle];
        if (b->parts[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* Do the texts of the tokens end with text[0..length)? */
static bool end_with(const nlm_breakers *b, const int32_t *ids, size_t count, const char *text, size_t length) {
    while (length > 0) {
        const part *last = count > 0 ? find(b, ids[count - 1]) : NULL;
        if (!last) return false;
        const char *own = b->pool.data + last->offset;
        if (last->length >= length) return memcmp(own + last->length - length, text, length) == 0;
        length -= last->length;
        if (memcmp(own, text + length, last->length) != 0) return false;
        count--;
    }
    return true;
}

bool nlm_breakers_end(const nlm_breakers *b, const int32_t *ids, size_t count) {
    const part *last = count > 1 ? find(b, ids[count - 1]) : NULL;
    if (!last) return false;
    const char *own = b->pool.data + last->offset;
    for (size_t i = 0; i < b->n_texts; i++) {
        const char *text = b->texts[i];
        const size_t n = strlen(text);
        for (size_t k = 1; k < n && k <= last->length; k++) { /* bytes of it that the last token has */
            if (memcmp(own, text + n - k, k) == 0 && end_with(b, ids, count - 1, text, n - k)) return true;
        }
    }
    return false;
}
