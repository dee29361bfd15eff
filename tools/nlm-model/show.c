/* Numbers, sizes and names made safe and readable. */
#include "show.h"

#include "base/printable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRING_COLUMNS 72u
#define ITEM_COLUMNS   16u
#define ITEMS_SHOWN    6u

/* The text of one character within quotes. */
static size_t escape(char out[NLM_PRINTABLE_BYTES], const char *text, size_t length, size_t *out_bytes) {
    if (*text != '\\' && *text != '"') return nlm_printable_next(out, text, length, out_bytes);
    *out_bytes = 1;
    return (size_t)snprintf(out, NLM_PRINTABLE_BYTES, "\\%c", *text);
}

void show_text(nlm_str *out, const char *text, uint64_t length, size_t max_columns) {
    size_t columns = 0, bytes;
    for (uint64_t at = 0; at < length; at += bytes) {
        char shown[NLM_PRINTABLE_BYTES];
        const size_t size = escape(shown, text + at, (size_t)(length - at), &bytes);
        columns += size == bytes ? 1 : size;
        if (columns > max_columns) {
            nlm_str_puts(out, "...");
            return;
        }
        nlm_str_append(out, shown, size);
    }
}

void show_count(nlm_str *out, uint64_t value) {
    char digits[24];
    const int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) nlm_str_puts(out, ",");
        nlm_str_append(out, digits + i, 1);
    }
}

void show_bytes(nlm_str *out, uint64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    nlm_str_printf(out, "%.*f %s", decimals, value, units[unit]);
}

static void show_item(nlm_str *out, const nlm_gguf_entry *entry, uint64_t index, size_t max_columns) {
    if (entry->element_type != NLM_GGUF_STRING) {
        nlm_gguf_spell(out, entry, index);
        return;
    }
    const nlm_gguf_string text = nlm_gguf_string_at(entry, index);
    nlm_str_puts(out, "\"");
    show_text(out, text.data, text.length, max_columns);
    nlm_str_puts(out, "\"");
}

void show_entry(nlm_str *out, const nlm_gguf_entry *entry) {
    if (entry->type != NLM_GGUF_ARRAY) {
        show_item(out, entry, 0, STRING_COLUMNS);
        return;
    }
    nlm_str_puts(out, "[");
    for (uint64_t i = 0; i < entry->count && i < ITEMS_SHOWN; i++) {
        if (i > 0) nlm_str_puts(out, ", ");
        show_item(out, entry, i, ITEM_COLUMNS);
    }
    nlm_str_puts(out, entry->count > ITEMS_SHOWN ? ", ...]" : "]");
}

void show_shape(nlm_str *out, const nlm_gguf_tensor *tensor) {
    for (uint32_t d = tensor->n_dims; d > 0; d--) {
        nlm_str_printf(out, "%s%" PRIu64, d == tensor->n_dims ? "[" : ", ", tensor->dims[d - 1]);
    }
    nlm_str_puts(out, "]");
}

void show_tensor_type(nlm_str *out, uint32_t type) {
    const char *name = nlm_gguf_tensor_type_name(type);
    if (name) {
        nlm_str_puts(out, name);
    } else {
        nlm_str_printf(out, "type %" PRIu32, type);
    }
}
