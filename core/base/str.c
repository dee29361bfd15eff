/* Growing strings, and the nearest of some names to a misspelt one. */
#include "base/str.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(nlm_str *str, size_t extra) {
    if (str->has_failed || extra > SIZE_MAX / 2 - str->length - 1) {
        str->has_failed = true;
        return false;
    }
    const size_t needed = str->length + extra + 1;
    if (needed <= str->capacity) return true;
    size_t capacity = str->capacity ? str->capacity : 64;
    while (capacity < needed) capacity *= 2;
    char *data = realloc(str->data, capacity);
    if (!data) {
        str->has_failed = true;
        return false;
    }
    str->data = data;
    str->capacity = capacity;
    return true;
}

void nlm_str_append(nlm_str *str, const char *text, size_t length) {
    if (!reserve(str, length)) return;
    if (length) memcpy(str->data + str->length, text, length);
    str->length += length;
    str->data[str->length] = '\0';
}

void nlm_str_puts(nlm_str *str, const char *text) {
    nlm_str_append(str, text, strlen(text));
}

void nlm_str_printf(nlm_str *str, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !reserve(str, (size_t)length)) {
        str->has_failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf(str->data + str->length, (size_t)length + 1, format, args);
    va_end(args);
    str->length += (size_t)length;
}

void nlm_str_release(nlm_str *str) {
    free(str->data);
    *str = (nlm_str){0};
}

#define NEAREST_MAX 64

/* Levenshtein distance over one row; words longer than NEAREST_MAX are compared by their heads. */
static size_t edit_distance(const char *a, const char *b) {
    const size_t a_length = strnlen(a, NEAREST_MAX), b_length = strnlen(b, NEAREST_MAX);
    size_t row[NEAREST_MAX + 1];
    for (size_t j = 0; j <= b_length; j++) row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            const size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (change < best) best = change;
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *nlm_nearest(const char *word, const char *const *candidates, size_t count) {
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        const size_t distance = edit_distance(word, candidates[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

size_t nlm_utf8_complete(const char *text, size_t length) {
    const size_t reach = length < 3 ? length : 3;
    for (size_t back = 1; back <= reach; back++) {
        const unsigned char byte = (unsigned char)text[length - back];
        if ((byte & 0xC0) == 0x80) continue;
        const size_t need = byte >= 0xF0 && byte <= 0xF4 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;
        return need > back && byte <= 0xF4 ? length - back : length;
    }
    return length;
}
