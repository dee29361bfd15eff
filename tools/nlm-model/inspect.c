/* A model file for people to read. */
#include "inspect.h"

#include "base/checked.h"
#include "base/printable.h"
#include "base/status.h"
#include "commands.h"
#include "show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_COLUMNS 16
#define KEY_COLUMNS   40

static void label(nlm_str *out, const char *name) {
    nlm_str_printf(out, "  %-*s", LABEL_COLUMNS, name);
}

static void line_text(nlm_str *out, const char *name, nlm_gguf_string text) {
    if (text.length == 0) return;
    label(out, name);
    show_text(out, text.data, text.length, 80);
    nlm_str_puts(out, "\n");
}

static void line_count(nlm_str *out, const char *name, uint64_t count, const char *unit) {
    if (count == 0) return;
    label(out, name);
    show_count(out, count);
    nlm_str_printf(out, "%s\n", unit);
}

static void print_file(nlm_str *out, const nlm_gguf *gguf) {
    nlm_str_printable(out, nlm_gguf_path(gguf), strlen(nlm_gguf_path(gguf)));
    nlm_str_printf(out, "\n  GGUF v%" PRIu32 ", ", nlm_gguf_version(gguf));
    show_bytes(out, nlm_gguf_file_bytes(gguf));
    nlm_str_puts(out, " (");
    show_count(out, nlm_gguf_file_bytes(gguf));
    nlm_str_puts(out, " bytes), tensors aligned to ");
    show_count(out, nlm_gguf_alignment(gguf));
    nlm_str_puts(out, " bytes\n");
}

static void print_weights(nlm_str *out, const model_summary *s) {
    if (s->parameters == 0) return;
    line_count(out, "parameters", s->parameters, "");
    label(out, "weights");
    show_bytes(out, s->weight_bytes);
    if (s->sized_parameters > 0) {
        nlm_str_printf(out, ", %.2f bits a parameter", 8 * (double)s->weight_bytes / (double)s->sized_parameters);
    }
    nlm_str_puts(out, "\n");
}

static void print_model(nlm_str *out, const model_summary *s) {
    nlm_str_puts(out, "\nModel\n");
    line_text(out, "architecture", s->architecture);
    line_text(out, "name", s->name);
    print_weights(out, s);
    line_count(out, "context", s->context_length, " tokens");
    line_count(out, "vocabulary", s->vocabulary, " tokens");
    line_text(out, "tokenizer", s->tokenizer);
    line_count(out, "layers", s->layers, "");
    line_count(out, "embedding", s->embedding, "");
    if (s->heads > 0) {
        label(out, "attention");
        nlm_str_printf(out, "%" PRIu64 " heads, %" PRIu64 " for keys and values, of %" PRIu64 "\n", s->heads,
                       s->heads_kv, s->head_dim);
    }
    if (s->d_inner > 0) {
        label(out, "state space");
        nlm_str_printf(out, "%" PRIu64 " channels with %" PRIu64 " states, convolution over %" PRIu64 "\n",
                       s->d_inner, s->d_state, s->d_conv);
    }
}

static void print_types(nlm_str *out, const model_summary *s) {
    if (s->type_count == 0) return;
    nlm_str_printf(out, "\nTypes\n  %-10s%10s%20s%12s%9s\n", "type", "tensors", "parameters", "size", "share");
    for (size_t i = 0; i < s->type_count; i++) {
        const type_use *use = &s->types[i];
        nlm_str name = {0}, parameters = {0}, size = {0};
        show_tensor_type(&name, use->type);
        show_count(&parameters, use->parameters);
        show_bytes(&size, use->bytes);
        nlm_str_printf(out, "  %-10s%10" PRIu64 "%20s", name.data ? name.data : "", use->tensors,
                       parameters.data ? parameters.data : "");
        if (use->bytes > 0 || use->is_supported) {
            const double share = 100 * (double)use->bytes / (double)(s->weight_bytes ? s->weight_bytes : 1);
            nlm_str_printf(out, "%12s%8.1f%%", size.data ? size.data : "", share);
        }
        nlm_str_puts(out, use->is_supported ? "\n" : "  not supported\n");
        nlm_str_release(&name);
        nlm_str_release(&parameters);
        nlm_str_release(&size);
    }
}

static void print_kv_cache(nlm_str *out, const model_summary *s) {
    uint64_t some, full;
    if (s->kv_bytes_per_token == 0 || !nlm_mul_u64(s->kv_bytes_per_token, MEMORY_TOKENS, &some)) return;
    label(out, "KV cache");
    show_bytes(out, some);
    nlm_str_printf(out, " per %u tokens in f16", MEMORY_TOKENS);
    if (s->context_length > 0 && nlm_mul_u64(s->kv_bytes_per_token, s->context_length, &full)) {
        nlm_str_puts(out, ", ");
        show_bytes(out, full);
        nlm_str_puts(out, " for the whole context of ");
        show_count(out, s->context_length);
    }
    nlm_str_puts(out, "\n");
}

static void print_memory(nlm_str *out, const model_summary *s) {
    if (s->weight_bytes == 0) return;
    nlm_str_puts(out, "\nMemory to run it\n");
    label(out, "weights");
    show_bytes(out, s->weight_bytes);
    nlm_str_puts(out, "\n");
    print_kv_cache(out, s);
    if (s->state_bytes_per_sequence > 0) {
        label(out, "state");
        show_bytes(out, s->state_bytes_per_sequence);
        nlm_str_puts(out, " per sequence of any length\n");
    }
}

static void print_metadata(nlm_str *out, const nlm_gguf *gguf) {
    nlm_str_printf(out, "\nMetadata (%zu)\n", nlm_gguf_entry_count(gguf));
    for (size_t i = 0; i < nlm_gguf_entry_count(gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(gguf, i);
        nlm_str key = {0}, type = {0};
        show_text(&key, entry->key.data, entry->key.length, 100);
        nlm_str_puts(&type, nlm_gguf_type_name(entry->element_type));
        if (entry->type == NLM_GGUF_ARRAY) nlm_str_printf(&type, "[%" PRIu64 "]", entry->count);
        nlm_str_printf(out, "  %-*s %-14s ", KEY_COLUMNS, key.data ? key.data : "", type.data ? type.data : "");
        show_entry(out, entry);
        nlm_str_puts(out, "\n");
        nlm_str_release(&key);
        nlm_str_release(&type);
    }
}

static void print_tensors(nlm_str *out, const nlm_gguf *gguf) {
    for (size_t i = 0; i < nlm_gguf_tensor_count(gguf); i++) {
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        nlm_str name = {0}, type = {0}, shape = {0};
        show_text(&name, tensor->name.data, tensor->name.length, 100);
        show_tensor_type(&type, tensor->type);
        show_shape(&shape, tensor);
        nlm_str_printf(out, "  %-*s %-8s %-22s", KEY_COLUMNS, name.data ? name.data : "", type.data ? type.data : "",
                       shape.data ? shape.data : "");
        nlm_str_printf(out, " at %-14" PRIu64, tensor->offset);
        if (tensor->bytes > 0 || tensor->is_supported) show_bytes(out, tensor->bytes);
        nlm_str_puts(out, tensor->is_supported ? "\n" : "  not supported\n");
        nlm_str_release(&name);
        nlm_str_release(&type);
        nlm_str_release(&shape);
    }
}

void inspect_as_text(nlm_str *out, const nlm_gguf *gguf, const model_summary *summary, bool with_tensors) {
    print_file(out, gguf);
    print_model(out, summary);
    print_types(out, summary);
    print_memory(out, summary);
    print_metadata(out, gguf);
    const size_t count = nlm_gguf_tensor_count(gguf);
    nlm_str_printf(out, "\nTensors (%zu)%s\n", count, count > 0 && !with_tensors ? ": --tensors lists them" : "");
    if (with_tensors) print_tensors(out, gguf);
}

int inspect_model(const nlm_command *command, const nlm_gguf *gguf, const inspect_options *options) {
    model_summary summary;
    summarize(gguf, &summary);
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = NLM_OK;
    if (options->json) {
        nlm_json json = {0};
        inspect_as_json(&json, gguf, &summary, options->tensors);
        status = nlm_json_print(&json, stdout, &err);
        nlm_json_release(&json);
    } else {
        nlm_str text = {0};
        inspect_as_text(&text, gguf, &summary, options->tensors);
        if (text.has_failed)
            status = nlm_fail(&err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "out of memory");
        else
            fwrite(text.data, 1, text.length, stdout);
        nlm_str_release(&text);
    }
    if (status != NLM_OK) nlm_tell(command, &err);
    return nlm_stdout_finish(command) && status == NLM_OK ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
