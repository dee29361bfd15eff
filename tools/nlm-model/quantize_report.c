/* What became of each tensor: a table for people, and the same as JSON. */
#include "quantize.h"
#include "show.h"

#include <stdio.h>
#include <string.h>

enum { NAME_COLUMNS = 48 };

typedef struct totals {
    uint64_t bytes_before, bytes_after, elements;
    size_t n_made;
} totals;

static totals add_up(const quantize_plan *plan) {
    totals t = {0};
    for (size_t i = 0; i < plan->count; i++) {
        const quantized *q = &plan->tensors[i];
        t.bytes_before += q->from->bytes;
        t.bytes_after += q->bytes;
        t.elements += (uint64_t)q->rows * (uint64_t)q->cols;
        t.n_made += q->is_made;
    }
    return t;
}

static double bits_per_weight(uint64_t bytes, const totals *t) {
    return t->elements ? 8 * (double)bytes / (double)t->elements : 0;
}

/* ---- for people --------------------------------------------------------------------------- */

static size_t name_columns(const quantize_plan *plan) {
    size_t columns = strlen("tensor");
    for (size_t i = 0; i < plan->count; i++) {
        const size_t length = strlen(plan->tensors[i].name);
        if (plan->tensors[i].is_made && length > columns) columns = length;
    }
    return columns < NAME_COLUMNS ? columns : NAME_COLUMNS;
}

/* Appends the text, then blanks up to `columns`. */
static void cell(nlm_str *out, const char *text, size_t columns) {
    const size_t start = out->length;
    show_text(out, text, strlen(text), columns);
    while (!out->has_failed && out->length < start + columns) nlm_str_puts(out, " ");
    nlm_str_puts(out, "  ");
}

static void size_cell(nlm_str *out, uint64_t bytes) {
    nlm_str text = {0};
    show_bytes(&text, bytes);
    nlm_str_printf(out, "%10s  ", text.data ? text.data : "");
    out->has_failed = out->has_failed || text.has_failed;
    nlm_str_release(&text);
}

static void row(nlm_str *out, const quantized *q, size_t columns) {
    char types[40];
    snprintf(types, sizeof types, "%s -> %s", nlm_dtype_name(q->from->tensor.dtype), nlm_dtype_name(q->to));
    cell(out, q->name, columns);
    cell(out, types, 16);
    size_cell(out, q->from->bytes);
    size_cell(out, q->bytes);
    nlm_str_printf(out, "%9.6f  %9.6f at ", q->error.whole, q->error.worst_row);
    if (q->note[0])
        nlm_str_printf(out, "%-7lld  %s\n", (long long)q->error.row, q->note);
    else
        nlm_str_printf(out, "%lld\n", (long long)q->error.row);
}

void quantize_report(nlm_str *out, const quantize_plan *plan, const char *path, const quantize_perplexity *text) {
    const totals t = add_up(plan);
    const size_t columns = name_columns(plan);
    cell(out, "tensor", columns);
    cell(out, "type", 16);
    nlm_str_puts(out, "    before       after       error  worst row\n");
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->tensors[i].is_made) row(out, &plan->tensors[i], columns);
    }
    show_text(out, path, strlen(path), 200);
    nlm_str_printf(out, ": %zu tensors made, %zu as they were; ", t.n_made, plan->count - t.n_made);
    show_bytes(out, t.bytes_before);
    nlm_str_puts(out, " to ");
    show_bytes(out, t.bytes_after);
    nlm_str_printf(out, ", %.3f to %.3f bits a weight\n", bits_per_weight(t.bytes_before, &t),
                   bits_per_weight(t.bytes_after, &t));
    if (text->tokens == 0) return;
    nlm_str_printf(out, "perplexity %.4f +- %.4f before, %.4f +- %.4f after (%zu tokens)\n", text->before,
                   text->before_error, text->after, text->after_error, text->tokens);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void tensor_json(nlm_json *json, const quantized *q) {
    nlm_json_begin_object(json, NULL);
    nlm_json_text(json, "name", q->name, strlen(q->name));
    nlm_json_string(json, "type_before", nlm_dtype_name(q->from->tensor.dtype));
    nlm_json_string(json, "type", nlm_dtype_name(q->to));
    nlm_json_bool(json, "is_made", q->is_made);
    nlm_json_u64(json, "bytes_before", q->from->bytes);
    nlm_json_u64(json, "bytes", q->bytes);
    nlm_json_f64(json, "relative_rms_error", q->error.whole);
    nlm_json_f64(json, "worst_row_error", q->error.worst_row);
    nlm_json_i64(json, "worst_row", q->error.row);
    nlm_json_bool(json, "is_weighted", q->weights != NULL);
    nlm_json_string(json, "note", q->note);
    nlm_json_end(json);
}

void quantize_report_json(nlm_json *json, const quantize_plan *plan, const char *path,
                          const quantize_perplexity *text) {
    const totals t = add_up(plan);
    nlm_json_begin_object(json, NULL);
    nlm_json_text(json, "file", path, strlen(path));
    nlm_json_string(json, "type", nlm_dtype_name(plan->types.type));
    nlm_json_u64(json, "bytes_before", t.bytes_before);
    nlm_json_u64(json, "bytes", t.bytes_after);
    nlm_json_f64(json, "bits_per_weight_before", bits_per_weight(t.bytes_before, &t));
    nlm_json_f64(json, "bits_per_weight", bits_per_weight(t.bytes_after, &t));
    if (text->tokens > 0) {
        nlm_json_f64(json, "perplexity_before", text->before);
        nlm_json_f64(json, "perplexity_before_error", text->before_error);
        nlm_json_f64(json, "perplexity", text->after);
        nlm_json_f64(json, "perplexity_error", text->after_error);
        nlm_json_u64(json, "perplexity_tokens", text->tokens);
    }
    nlm_json_begin_array(json, "tensors");
    for (size_t i = 0; i < plan->count; i++) tensor_json(json, &plan->tensors[i]);
    nlm_json_end(json);
}
