/* Which type each tensor of a model is quantised to. */
#include "base/status.h"
#include "quantize.h"

#include <string.h>

#define HEAD      "output.weight"
#define EMBEDDING "token_embd.weight"

/* Types that a matrix can have: what llama.cpp calls a file of it (of its k types the plain, "S", form), what a row
 * that is no whole blocks gets instead, and the order of their width. */
typedef struct target {
    nlm_dtype dtype, fallback;
    uint32_t file_type;
    bool is_below_q6_k;
} target;

static const target targets[] = {
    {NLM_Q4_0, NLM_F16, 2, true},   {NLM_Q4_1, NLM_F16, 3, true},    {NLM_Q5_0, NLM_F16, 8, true},
    {NLM_Q5_1, NLM_F16, 9, true},   {NLM_Q8_0, NLM_F16, 7, false},   {NLM_Q4_K, NLM_Q8_0, 14, true},
    {NLM_Q5_K, NLM_Q8_0, 16, true}, {NLM_Q6_K, NLM_Q8_0, 18, false}, {NLM_IQ4_NL, NLM_F16, 25, true},
    {NLM_F16, NLM_F16, 1, false},   {NLM_BF16, NLM_BF16, 32, false},
};

enum { N_TARGETS = sizeof targets / sizeof *targets };

static const target *find(nlm_dtype dtype) {
    for (size_t i = 0; i < N_TARGETS; i++) {
        if (targets[i].dtype == dtype) return &targets[i];
    }
    return NULL;
}

const nlm_dtype_info *quantize_type(const char *name) {
    const nlm_dtype_info *info = nlm_dtype_from_name(name);
    return info && find(info->dtype) ? info : NULL;
}

void quantize_type_list(nlm_str *out) {
    for (size_t i = 0; i < N_TARGETS; i++) {
        nlm_str_printf(out, "%s%s",
                       i == 0              ? ""
                       : i + 1 < N_TARGETS ? ", "
                                           : " or ",
                       nlm_dtype_name(targets[i].dtype));
    }
}

uint32_t quantize_file_type(nlm_dtype dtype) {
    return find(dtype)->file_type;
}

quantize_types quantize_choose(const nlm_gguf *gguf, const char *type, const char *embedding, const char *head) {
    quantize_types types = {.type = quantize_type(type)->dtype};
    types.head = head ? quantize_type(head)->dtype : find(types.type)->is_below_q6_k ? NLM_Q6_K : types.type;
    types.embedding = embedding                          ? quantize_type(embedding)->dtype
                      : nlm_gguf_find_tensor(gguf, HEAD) ? types.type
                                                         : types.head;
    return types;
}

/* ---- one tensor --------------------------------------------------------------------------- */

static bool is_named(const char *name, const char *other) {
    return strcmp(name, other) == 0;
}

/* A matrix that is multiplied or looked up in. Mamba's convolution and A have two dimensions and are neither. */
static bool is_matrix(const nlm_gguf_tensor *tensor, const char *name) {
    static const char suffix[] = ".weight";
    const size_t length = strlen(name), end = sizeof suffix - 1;
    if (tensor->n_dims != 2 || tensor->dims[1] < 2) return false;
    return length > end && is_named(name + length - end, suffix) && !strstr(name, "ssm_conv1d.");
}

static nlm_dtype wanted_type(const quantize_types *types, const char *name) {
    return is_named(name, HEAD) ? types->head : is_named(name, EMBEDDING) ? types->embedding : types->type;
}

/* The type, or those that stand in for it, that rows of `cols` can have. */
static nlm_dtype fitting_type(nlm_dtype wanted, int64_t cols) {
    nlm_dtype dtype = wanted;
    while (cols % nlm_dtype_find(dtype)->block_elements != 0) dtype = find(dtype)->fallback;
    return dtype;
}

static const char *why(quantize_plan *plan, const quantized *q, nlm_dtype wanted) {
    if (q->to != wanted) {
        return nlm_arena_printf(&plan->arena, "rows of %lld are no multiple of %u: not %s", (long long)q->cols,
                                nlm_dtype_find(wanted)->block_elements, nlm_dtype_name(wanted));
    }
    if (q->to == plan->types.type) return "";
    if (is_named(q->name, HEAD)) return "the head";
    return nlm_gguf_find_tensor(plan->gguf, HEAD) ? "the embedding" : "the embedding, which is the head too";
}

static nlm_status plan_tensor(quantize_plan *plan, const nlm_gguf_tensor *from, quantized *q, nlm_error *err) {
    *q = (quantized){.from = from, .note = "", .bytes = from->bytes};
    q->name = nlm_arena_strndup(&plan->arena, from->name.data, (size_t)from->name.length);
    if (!q->name) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    if (!from->is_supported) {
        const char *type = nlm_gguf_tensor_type_name(from->type);
        return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(plan->gguf), "tensor '%s' is %s, which is not supported",
                        q->name, type ? type : "of an unknown type");
    }
    q->to = from->tensor.dtype;
    q->cols = (int64_t)from->dims[0];
    q->rows = 1;
    for (uint32_t d = 1; d < from->n_dims; d++) q->rows *= (int64_t)from->dims[d];
    if (q->to == NLM_I32 || !is_matrix(from, q->name)) return NLM_OK;
    const nlm_dtype wanted = wanted_type(&plan->types, q->name);
    q->to = fitting_type(wanted, q->cols);
    q->is_made = q->to != from->tensor.dtype;
    q->bytes = nlm_dtype_row_bytes(q->to, (uint64_t)q->cols) * (uint64_t)q->rows;
    q->note = why(plan, q, wanted);
    if (!q->note) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    plan->n_lossy += q->is_made && nlm_dtype_find(from->tensor.dtype)->block_elements > 1;
    return NLM_OK;
}

nlm_status quantize_plan_make(const nlm_gguf *gguf, const quantize_types *types, quantize_plan *out, nlm_error *err) {
    *out = (quantize_plan){.gguf = gguf, .types = *types, .count = nlm_gguf_tensor_count(gguf)};
    out->tensors = nlm_arena_array(&out->arena, out->count + 1, sizeof *out->tensors);
    if (!out->tensors) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "out of memory");
    for (size_t i = 0; i < out->count; i++) {
        NLM_TRY(plan_tensor(out, nlm_gguf_tensor_at(gguf, i), &out->tensors[i], err));
    }
    return NLM_OK;
}

void quantize_plan_release(quantize_plan *plan) {
    nlm_arena_release(&plan->arena);
}
