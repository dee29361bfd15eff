/* Every value of every tensor, finite or not. */
#include "base/printable.h"
#include "base/status.h"
#include "commands.h"
#include "show.h"
#include "tensor/dtype.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_ELEMENTS = 1 << 16 }; /* a multiple of every block */

/* What one tensor's values are like. */
typedef struct tensor_check {
    uint64_t bad_count;
    uint64_t first_bad; /* element, row-major */
    float bad_value;
    bool has_nonzero;
} tensor_check;

static void check_values(const float *values, uint64_t count, uint64_t first, tensor_check *check) {
    for (uint64_t i = 0; i < count; i++) {
        if (values[i] != 0) check->has_nonzero = true;
        if (isfinite(values[i])) continue;
        if (check->bad_count++ > 0) continue;
        check->first_bad = first + i;
        check->bad_value = values[i];
    }
}

/* A scale that is not finite makes every value of its block so: decoding finds both. */
static tensor_check check_tensor(const nlm_gguf_tensor *tensor, float *chunk) {
    tensor_check check = {0};
    const nlm_dtype_info *info = nlm_dtype_find(tensor->tensor.dtype);
    if (info->dtype == NLM_I32) return (tensor_check){.has_nonzero = true};
    const uint64_t elements = tensor->bytes / info->block_bytes * info->block_elements;
    const uint8_t *data = tensor->tensor.data;
    for (uint64_t at = 0; at < elements; at += CHUNK_ELEMENTS) {
        const uint64_t count = elements - at < CHUNK_ELEMENTS ? elements - at : CHUNK_ELEMENTS;
        nlm_decode_row(info->dtype, data + at / info->block_elements * info->block_bytes, chunk, (int64_t)count);
        check_values(chunk, count, at, &check);
    }
    return check;
}

/* Element `index` as coordinates, outermost first: "[3, 17]". */
static void show_index(nlm_str *out, const nlm_gguf_tensor *tensor, uint64_t index) {
    uint64_t coordinates[4] = {0};
    for (uint32_t d = 0; d < tensor->n_dims; d++) {
        coordinates[d] = index % tensor->dims[d];
        index /= tensor->dims[d];
    }
    for (uint32_t d = tensor->n_dims; d > 0; d--) {
        nlm_str_printf(out, "%s%" PRIu64, d == tensor->n_dims ? "[" : ", ", coordinates[d - 1]);
    }
    nlm_str_puts(out, "]");
}

/* One line about a tensor that is not as it should be; nothing about one that is. */
static void report(nlm_str *out, const nlm_gguf_tensor *tensor, const tensor_check *check) {
    if (tensor->is_supported && check->bad_count == 0 && check->has_nonzero) return;
    show_text(out, tensor->name.data, tensor->name.length, 100);
    nlm_str_puts(out, ": ");
    if (!tensor->is_supported) {
        nlm_str_puts(out, "not checked, its type is not supported: ");
        show_tensor_type(out, tensor->type);
    } else if (check->bad_count > 0) {
        nlm_str_printf(out, "%" PRIu64 " of its values are not finite, first %g at ", check->bad_count,
                       (double)check->bad_value);
        show_index(out, tensor, check->first_bad);
    } else {
        nlm_str_puts(out, "note: all zeros");
    }
    nlm_str_puts(out, "\n");
}

static void show_progress(const nlm_gguf *gguf, uint64_t done) {
    const uint64_t total = nlm_gguf_file_bytes(gguf);
    fprintf(stderr, "\r%3.0f%% of %.2f GB ", 100 * (double)done / (double)total, (double)total / 1e9);
}

int verify_model(const nlm_command *command, const nlm_gguf *gguf) {
    const bool has_progress = isatty(STDERR_FILENO) && nlm_gguf_file_bytes(gguf) > (UINT64_C(1) << 28);
    float *chunk = malloc(CHUNK_ELEMENTS * sizeof *chunk);
    nlm_str out = {0};
    uint64_t bytes = 0;
    size_t faults = 0;
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = NLM_OK;
    const size_t count = nlm_gguf_tensor_count(gguf);
    for (size_t i = 0; chunk && i < count; i++) {
        status = nlm_gguf_check_file(gguf, &err);
        if (status != NLM_OK) break;
        const nlm_gguf_tensor *tensor = nlm_gguf_tensor_at(gguf, i);
        tensor_check check = {0};
        if (tensor->is_supported) check = check_tensor(tensor, chunk);
        report(&out, tensor, &check);
        faults += !tensor->is_supported || check.bad_count > 0;
        bytes += tensor->bytes;
        nlm_gguf_drop_pages(gguf, tensor->tensor.data, tensor->bytes);
        if (has_progress) show_progress(gguf, bytes);
    }
    if (status == NLM_OK) status = nlm_gguf_check_file(gguf, &err); /* since the last of them */
    if (has_progress) fputs("\r                          \r", stderr);
    nlm_str_printable(&out, nlm_gguf_path(gguf), strlen(nlm_gguf_path(gguf)));
    nlm_str_printf(&out, ": %zu of %zu tensors are sound, ", count - faults, count);
    show_bytes(&out, bytes);
    nlm_str_puts(&out, " read\n");
    if (!chunk || out.has_failed) status = nlm_fail(&err, NLM_OUT_OF_MEMORY, nlm_gguf_path(gguf), "out of memory");
    if (status != NLM_OK) {
        nlm_tell(command, &err);
    } else {
        fwrite(out.data, 1, out.length, stdout);
    }
    free(chunk);
    nlm_str_release(&out);
    return nlm_stdout_finish(command) && status == NLM_OK && faults == 0 ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
