/* Numbers and truth values of the metadata as text. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

static void spell_f32(nlm_str *out, float value) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    nlm_str_puts(out, text);
}

static void spell_f64(nlm_str *out, double value) {
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    nlm_str_puts(out, text);
}

void nlm_gguf_spell(nlm_str *out, const nlm_gguf_entry *entry, uint64_t index) {
    uint64_t u64;
    switch (entry->element_type) {
        case NLM_GGUF_BOOL: nlm_str_puts(out, nlm_gguf_array_i64(entry, index) ? "true" : "false"); return;
        case NLM_GGUF_F32: spell_f32(out, (float)nlm_gguf_array_f64(entry, index)); return;
        case NLM_GGUF_F64: spell_f64(out, nlm_gguf_array_f64(entry, index)); return;
        case NLM_GGUF_U64:
            memcpy(&u64, (const char *)entry->data + 8 * index, sizeof u64);
            nlm_str_printf(out, "%" PRIu64, u64);
            return;
        default: nlm_str_printf(out, "%" PRId64, nlm_gguf_array_i64(entry, index)); return;
    }
}
