/* Metadata put in place of the file's. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/status.h"
#include "format/gguf_internal.h"

#define WHERE "override"

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the metadata");
}

static nlm_status wrong(const char *text, const char *expected, nlm_error *err) {
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "'%s': expected %s", text, expected);
}

/* A copy that lives as long as the file is open. */
static nlm_status keep(nlm_gguf *gguf, const void *data, size_t bytes, const void **out, nlm_error *err) {
    char *copy = nlm_arena_alloc(&gguf->overrides, bytes + 1);
    if (!copy) return no_memory(err);
    if (bytes > 0) memcpy(copy, data, bytes);
    *out = copy;
    return NLM_OK;
}

static nlm_status set_value(nlm_gguf *gguf, nlm_gguf_entry *entry, nlm_gguf_type type, const void *data, size_t bytes,
                            nlm_error *err) {
    NLM_TRY(keep(gguf, data, bytes, &entry->data, err));
    entry->type = entry->element_type = type;
    entry->count = 1;
    entry->bytes = bytes;
    entry->strings = NULL;
    return NLM_OK;
}

/* "int:5" as the entry's value; `text` is all that was given. */
static nlm_status read_value(nlm_gguf *gguf, const char *typed, const char *text, nlm_gguf_entry *entry,
                             nlm_error *err) {
    char *end;
    errno = 0;
    if (strncmp(typed, "str:", 4) == 0) {
        return set_value(gguf, entry, NLM_GGUF_STRING, typed + 4, strlen(typed + 4), err);
    }
    if (strcmp(typed, "bool:true") == 0 || strcmp(typed, "bool:false") == 0) {
        const unsigned char value = typed[5] == 't';
        return set_value(gguf, entry, NLM_GGUF_BOOL, &value, sizeof value, err);
    }
    if (strncmp(typed, "int:", 4) == 0) {
        const int64_t value = strtoll(typed + 4, &end, 10);
        if (errno || end == typed + 4 || *end) return wrong(text, "a whole number after 'int:'", err);
        return set_value(gguf, entry, NLM_GGUF_I64, &value, sizeof value, err);
    }
    if (strncmp(typed, "float:", 6) == 0) {
        const double value = strtod(typed + 6, &end);
        if (end == typed + 6 || *end || !isfinite(value)) return wrong(text, "a number after 'float:'", err);
        return set_value(gguf, entry, NLM_GGUF_F64, &value, sizeof value, err);
    }
    return wrong(text, "KEY=int:N, KEY=float:X, KEY=bool:true, KEY=bool:false or KEY=str:TEXT", err);
}

static int compare_keys(const void *a, const void *b) {
    return nlm_gguf_string_compare(*(const nlm_gguf_string *const *)a, *(const nlm_gguf_string *const *)b);
}

/* Adds an entry, which moves them all: the index is made anew. */
static nlm_status add_entry(nlm_gguf *gguf, const nlm_gguf_entry *entry, nlm_error *err) {
    const size_t count = gguf->entry_count + 1;
    const nlm_gguf_string **index = calloc(count, sizeof *index);
    nlm_gguf_entry *entries = index ? realloc(gguf->entries, count * sizeof *entries) : NULL;
    if (!entries) {
        free(index);
        return no_memory(err);
    }
    entries[count - 1] = *entry;
    for (size_t i = 0; i < count; i++) index[i] = &entries[i].key;
    qsort(index, count, sizeof *index, compare_keys);
    free(gguf->entry_index);
    gguf->entry_index = index;
    gguf->entries = entries;
    gguf->entry_count = count;
    return NLM_OK;
}

nlm_status nlm_gguf_override(nlm_gguf *gguf, const char *text, nlm_error *err) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) return wrong(text, "KEY=TYPE:VALUE", err);
    nlm_gguf_entry entry = {.key = {NULL, (uint64_t)(equals - text)}};
    NLM_TRY(read_value(gguf, equals + 1, text, &entry, err));
    const void *key = NULL;
    NLM_TRY(keep(gguf, text, (size_t)(equals - text), &key, err));
    entry.key.data = key;
    gguf->overrides_sum = gguf->overrides_sum * 31 + nlm_checksum_of(text, strlen(text));
    for (size_t i = 0; i < gguf->entry_count; i++) {
        if (nlm_gguf_string_compare(&gguf->entries[i].key, &entry.key) != 0) continue;
        entry.key = gguf->entries[i].key; /* the index points there */
        gguf->entries[i] = entry;
        return NLM_OK;
    }
    return add_entry(gguf, &entry, err);
}

uint64_t nlm_gguf_overrides_sum(const nlm_gguf *gguf) {
    return gguf->overrides_sum;
}
