#include "cpu/check.h"

#include "cpu/check_table.h"
#include "cpu/decode.h"
#include "cpu/fail.h"

#define MAX_BYTES (INT64_C(1) << 62)

/* The size one item of a shape text asks for, or -1 if it names a size not known yet. Moves *text on. */
static int64_t expected_size(const char **text, const nlm_cpu_dims *dims, int *out_letter) {
    const char symbol = *(*text)++;
    *out_letter = -1;
    if (symbol >= '0' && symbol <= '9') return symbol - '0';
    int64_t size = dims->of[symbol - 'A'];
    *out_letter = symbol - 'A';
    if (**text == '+' || **text == '-') {
        const int64_t delta = *(*text)++ == '+' ? 1 : -1;
        if (size >= 0) size += delta;
    }
    return size;
}

static int rank_of(const char *shape) {
    int rank = 0;
    for (; *shape && *shape != '|'; shape++) rank += *shape != '+' && *shape != '-';
    return rank;
}

static nlm_status check_shape(const nlm_cpu_arg *arg, const nlm_tensor *t, nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const char *shape = arg->shape;
    if (*shape == '*') return NLM_OK;
    while (rank_of(shape) != t->rank) {
        while (*shape && *shape != '|') shape++;
        if (!*shape) return nlm_cpu_refuse(out, "%s: rank %d, expected [%s]", arg->name, t->rank, arg->shape);
        shape++;
    }
    for (int i = 0; i < t->rank; i++) {
        int letter;
        const int64_t expected = expected_size(&shape, dims, &letter);
        if (expected < 0) {
            dims->of[letter] = t->shape[i];
        } else if (t->shape[i] != expected) {
            return nlm_cpu_refuse(out, "%s: dimension %d is %lld, expected %lld of [%s]", arg->name, i,
                                  (long long)t->shape[i], (long long)expected, arg->shape);
        }
    }
    return NLM_OK;
}

/* Rows of an output may have gaps between them, but no two elements may share memory. */
static nlm_status check_strides(const nlm_cpu_arg *arg, const nlm_tensor *t, const nlm_cpu_dtype *type,
                                nlm_caps_v1 *out) {
    const int last = t->rank - 1;
    const int64_t unit = type->block_elements == 1 ? type->block_bytes : 2;
    int64_t extent = t->shape[last] / type->block_elements * type->block_bytes;
    if (!(arg->traits & NLM_CPU_ANY_STRIDE) && t->stride_bytes[last] != type->block_bytes && t->shape[last] > 1) {
        return nlm_cpu_refuse(out, "%s: the innermost dimension is not contiguous", arg->name);
    }
    for (int i = last; i >= 0; i--) {
        const int64_t stride = t->stride_bytes[i];
        int64_t reach;
        if (t->shape[i] <= 1) continue;
        if (stride % unit != 0 || __builtin_mul_overflow(stride, t->shape[i], &reach) || reach > MAX_BYTES ||
            reach < -MAX_BYTES) {
            return nlm_cpu_refuse(out, "%s: stride %d is %lld bytes", arg->name, i, (long long)stride);
        }
        if (i == last) continue;
        const int is_nested = stride >= extent;
        const int is_free = (arg->traits & NLM_CPU_ANY_STRIDE) && stride != 0;
        if ((arg->traits & NLM_CPU_OUTPUT) && !is_nested && !is_free) {
            return nlm_cpu_refuse(out, "%s: is written, but dimension %d overlaps itself", arg->name, i);
        }
        if ((arg->traits & NLM_CPU_STATE) && stride != extent) {
            return nlm_cpu_refuse(out, "%s: is not contiguous", arg->name);
        }
        extent = reach;
    }
    return NLM_OK;
}

/* Weights are the arguments that may be quantised and are not a cache, and those that say so. */
static int is_weight(const nlm_cpu_arg *arg) {
    return (arg->dtypes >> NLM_Q4_0 & 1) != 0 || (arg->traits & NLM_CPU_PACKED) != 0;
}

static nlm_status check_tensor(const nlm_cpu_arg *arg, const nlm_tensor *t, uint32_t packed_layout,
                               nlm_cpu_dims *dims, nlm_caps_v1 *out) {
    const int is_packed = t->layout != NLM_LAYOUT_ROW_MAJOR;
    const nlm_cpu_dtype *type = nlm_cpu_dtype_find(t->dtype);
    if (!type) return nlm_cpu_refuse(out, "%s: unknown type %d", arg->name, t->dtype);
    if (!(arg->dtypes >> t->dtype & 1)) return nlm_cpu_refuse(out, "%s: cannot be %s", arg->name, type->name);
    if (t->rank < 1 || t->rank > NLM_MAX_RANK) return nlm_cpu_refuse(out, "%s: rank %d", arg->name, t->rank);
    if (is_packed && (t->layout != packed_layout || !is_weight(arg))) {
        return nlm_cpu_refuse(out, "%s: layout %u is not row-major", arg->name, t->layout);
    }
    int64_t elements = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || __builtin_mul_overflow(elements, t->shape[i], &elements) || elements > MAX_BYTES / 4) {
            return nlm_cpu_refuse(out, "%s: dimension %d is %lld", arg->name, i, (long long)t->shape[i]);
        }
    }
    if (t->shape[t->rank - 1] % type->block_elements != 0) {
        return nlm_cpu_refuse(out, "%s: %s rows must be a multiple of %lld, got %lld", arg->name, type->name,
                              (long long)type->block_elements, (long long)t->shape[t->rank - 1]);
    }
    NLM_CPU_TRY(check_shape(arg, t, dims, out));
    return is_packed ? NLM_OK : check_strides(arg, t, type, out);
}

nlm_status nlm_cpu_check(nlm_op op, const void *args, uint32_t packed_layout, nlm_cpu_dims *out_dims,
                         nlm_caps_v1 *out) {
    for (int i = 0; i < 26; i++) out_dims->of[i] = -1;
    const nlm_cpu_rule *rule = nlm_cpu_rule_of(op);
    if (!rule) return nlm_cpu_refuse(out, "op %u is not known", op);
    uint32_t head[2]; /* struct_size, flags */
    memcpy(head, args, sizeof head);
    if (head[0] < rule->args_bytes) {
        return nlm_cpu_refuse(out, "struct_size is %u, expected at least %u", head[0], rule->args_bytes);
    }
    if (head[1] & ~rule->known_flags)
        return nlm_cpu_refuse(out, "flags 0x%x are not known", head[1] & ~rule->known_flags);
    for (uint32_t i = 0; i < rule->n_args; i++) {
        const nlm_cpu_arg *arg = &rule->args[i];
        const nlm_tensor *tensor;
        memcpy(&tensor, (const char *)args + arg->offset, sizeof tensor);
        if (tensor) {
            NLM_CPU_TRY(check_tensor(arg, tensor, packed_layout, out_dims, out));
        } else if (!(arg->traits & NLM_CPU_OPTIONAL)) {
            return nlm_cpu_refuse(out, "%s: is missing", arg->name);
        }
    }
    return rule->check ? rule->check(args, out_dims, out) : NLM_OK;
}
