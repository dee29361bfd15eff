/* What most backends write again: reaching into tensors, slicing rows, decoding weights, checking
 * arguments, filling errors, and the tables of a plugin with one sliced device.
 *
 * Optional, source only: everything is static inline, so it adds nothing to link, exports nothing and
 * is no part of the binary contract, which is plugin.h alone. C11 and C++17, GCC or Clang. Nothing here
 * allocates or keeps state; every function may be called from any thread.
 *
 *   nlm_kit_fail nlm_kit_refuse NLM_KIT_TRY      errors, and the noes of query()
 *   nlm_kit_at nlm_kit_slice nlm_kit_cells       rows of tensors, this worker's share of them
 *   nlm_kit_row_f32 (and nlm_decode_row of dtype.h) every weight type to f32
 *   nlm_kit_check nlm_kit_check_matmul           an op's arguments, with the reason if they are wrong
 *   nlm_kit_describe NLM_KIT_PLUGIN              a device's answer and the plugin's descriptor */
#ifndef NLM_PLUGIN_KIT_H
#define NLM_PLUGIN_KIT_H

#include <nlm/op_check.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ------------------------------------------------------------------------------- */

#define NLM_KIT_PRINTF(at, first) __attribute__((format(printf, at, first), cold, unused)) static inline

/* Writes code, where and one formatted sentence into *error (if not NULL and big enough); returns code. */
NLM_KIT_PRINTF(4, 5)
nlm_status nlm_kit_fail(nlm_error *error, nlm_status code, const char *where, const char *format, ...) {
    va_list args;
    if (!error || error->struct_size < sizeof *error) return code;
    error->code = code;
    error->native_code = 0;
    snprintf(error->where, sizeof error->where, "%s", where);
    va_start(args, format);
    vsnprintf(error->msg, sizeof error->msg, format, args);
    va_end(args);
    return code;
}

/* query()'s no: writes the formatted clause into out->reason; returns NLM_UNSUPPORTED. */
NLM_KIT_PRINTF(2, 3) nlm_status nlm_kit_refuse(nlm_caps_v1 *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(out->reason, sizeof out->reason, format, args);
    va_end(args);
    return NLM_UNSUPPORTED;
}

#define NLM_KIT_TRY(expr)                                              \
    do {                                                               \
        const nlm_status nlm_kit_try_status_ = (expr);                 \
        if (nlm_kit_try_status_ != NLM_OK) return nlm_kit_try_status_; \
    } while (0)

/* ---- tensors ------------------------------------------------------------------------------ */

/* Address of row i; of [i, j, ...]; of [i, j, k, ...]. */
static inline void *nlm_kit_at(const nlm_tensor *t, int64_t i) {
    return (char *)t->data + i * t->stride_bytes[0];
}
static inline void *nlm_kit_at2(const nlm_tensor *t, int64_t i, int64_t j) {
    return (char *)t->data + i * t->stride_bytes[0] + j * t->stride_bytes[1];
}
static inline void *nlm_kit_at3(const nlm_tensor *t, int64_t i, int64_t j, int64_t k) {
    return (char *)t->data + i * t->stride_bytes[0] + j * t->stride_bytes[1] + k * t->stride_bytes[2];
}

/* ---- this worker's share ------------------------------------------------------------------ */

typedef struct nlm_kit_range {
    int64_t from, to;
} nlm_kit_range;

/* The part [from, to) of `total` items that is worker ith's: contiguous, in multiples of `step`. The
 * slices of all workers cover every item once. */
static inline nlm_kit_range nlm_kit_slice(const nlm_exec_v1 *x, int64_t total, int64_t step) {
    const int64_t steps = (total + step - 1) / step;
    const int64_t from = steps * (int64_t)x->ith / (int64_t)x->nth * step;
    const int64_t to = steps * ((int64_t)x->ith + 1) / (int64_t)x->nth * step;
    nlm_kit_range range;
    range.from = from < total ? from : total;
    range.to = to < total ? to : total;
    return range;
}

/* A slice of a matrix's elements, for ops that work element by element:
 *   nlm_kit_cells c = nlm_kit_cells_of(x, rows, columns);
 *   while (nlm_kit_cells_next(&c))  ... row c.row, columns [c.from, c.to) */
typedef struct nlm_kit_cells {
    int64_t at, end, columns;
    int64_t row, from, to;
} nlm_kit_cells;

static inline nlm_kit_cells nlm_kit_cells_of(const nlm_exec_v1 *x, int64_t rows, int64_t columns) {
    const nlm_kit_range range = nlm_kit_slice(x, rows * columns, 16);
    nlm_kit_cells cells;
    cells.at = range.from;
    cells.end = range.to;
    cells.columns = columns;
    cells.row = cells.from = cells.to = 0;
    return cells;
}

/* 1 while there is a piece; then 0. */
static inline int nlm_kit_cells_next(nlm_kit_cells *cells) {
    if (cells->at >= cells->end) return 0;
    cells->row = cells->at / cells->columns;
    cells->from = cells->at % cells->columns;
    const int64_t left = cells->end - cells->at;
    cells->to = cells->columns - cells->from < left ? cells->columns : cells->from + left;
    cells->at += cells->to - cells->from;
    return 1;
}

/* ---- weights to f32 ----------------------------------------------------------------------- */

/* Row n of a matrix as f32: where it is, or decoded into `room` (shape[1] floats). */
static inline const float *nlm_kit_row_f32(const nlm_tensor *t, int64_t n, float *room) {
    if (t->dtype == NLM_F32) return (const float *)nlm_kit_at(t, n);
    nlm_decode_row(t->dtype, nlm_kit_at(t, n), room, t->shape[1]);
    return room;
}

/* ---- checking arguments ------------------------------------------------------------------- */

#define NLM_KIT_BIT(NAME) NLM_TYPE_BIT(NAME)
#define NLM_KIT_WEIGHT    NLM_TYPES_DECODED

enum {
    NLM_KIT_OPTIONAL = 1,   /* may be NULL */
    NLM_KIT_OUTPUT = 2,     /* written: its elements must not overlap */
    NLM_KIT_ANY_STRIDE = 4, /* the innermost dimension need not be contiguous */
    NLM_KIT_STATE = 8,      /* an output that stands still in memory: contiguous */
    NLM_KIT_PACKED = 16     /* may have a layout other than row-major: which, is the caller's to check */
};

/* One tensor of an args struct. `shape` has a letter for each dimension: the first tensor that uses a
 * letter sets its size, the others must agree; "S+" is one more than S, "K-" one less, a digit itself,
 * "|" separates shapes of different rank. "*" is any shape. */
typedef struct nlm_kit_arg {
    const char *name;
    uint32_t offset; /* of the nlm_tensor pointer in the struct */
    uint32_t traits;
    uint64_t dtypes; /* a bit per type: NLM_KIT_BIT(F32) */
    const char *shape;
} nlm_kit_arg;

/* A line of a table of nlm_kit_arg: NLM_KIT_ARG(matmul, x, 0, NLM_KIT_BIT(F32), "MK"). */
#define NLM_KIT_ARG(op, field, traits, dtypes, shape) \
    { #field, (uint32_t)offsetof(nlm_##op##_args, field), (traits), (dtypes), (shape) }

/* The sizes that the letters stand for. */
typedef struct nlm_kit_dims {
    int64_t of[26];
} nlm_kit_dims;

static inline int64_t nlm_kit_dim(const nlm_kit_dims *dims, char letter) {
    return dims->of[letter - 'A'];
}

#define NLM_KIT_MAX_BYTES (INT64_C(1) << 62)

static inline int nlm_kit_rank_of(const char *shape) {
    int rank = 0;
    for (; *shape && *shape != '|'; shape++) rank += *shape != '+' && *shape != '-';
    return rank;
}

static inline nlm_status nlm_kit_check_shape(const nlm_kit_arg *arg, const nlm_tensor *t, nlm_kit_dims *dims,
                                             nlm_caps_v1 *out) {
    const char *shape = arg->shape;
    if (*shape == '*') return NLM_OK;
    while (nlm_kit_rank_of(shape) != t->rank) {
        while (*shape && *shape != '|') shape++;
        if (!*shape) return nlm_kit_refuse(out, "%s: rank %d, expected [%s]", arg->name, t->rank, arg->shape);
        shape++;
    }
    for (int i = 0; i < t->rank; i++) {
        const char symbol = *shape++;
        const int is_digit = symbol >= '0' && symbol <= '9';
        int64_t expected = is_digit ? symbol - '0' : dims->of[symbol - 'A'];
        const int is_known = expected >= 0;
        if (*shape == '+' || *shape == '-') expected += *shape++ == '+' ? 1 : -1;
        if (!is_known) {
            dims->of[symbol - 'A'] = t->shape[i];
        } else if (t->shape[i] != expected) {
            return nlm_kit_refuse(out, "%s: dimension %d is %lld, expected %lld of [%s]", arg->name, i,
                                  (long long)t->shape[i], (long long)expected, arg->shape);
        }
    }
    return NLM_OK;
}

/* Rows of an output may have gaps between them, but no two elements may share memory. */
static inline nlm_status nlm_kit_check_strides(const nlm_kit_arg *arg, const nlm_tensor *t,
                                               const nlm_dtype_info *type, nlm_caps_v1 *out) {
    const int last = t->rank - 1;
    const int64_t unit = type->block_elements == 1 ? type->block_bytes : 2;
    int64_t extent = t->shape[last] / type->block_elements * type->block_bytes;
    if (!(arg->traits & NLM_KIT_ANY_STRIDE) && t->stride_bytes[last] != type->block_bytes && t->shape[last] > 1) {
        return nlm_kit_refuse(out, "%s: the innermost dimension is not contiguous", arg->name);
    }
    for (int i = last; i >= 0; i--) {
        const int64_t stride = t->stride_bytes[i];
        int64_t reach;
        if (t->shape[i] <= 1) continue;
        if (stride % unit != 0 || __builtin_mul_overflow(stride, t->shape[i], &reach) || reach > NLM_KIT_MAX_BYTES ||
            reach < -NLM_KIT_MAX_BYTES) {
            return nlm_kit_refuse(out, "%s: stride %d is %lld bytes", arg->name, i, (long long)stride);
        }
        if (i == last) continue;
        const int is_free = (arg->traits & NLM_KIT_ANY_STRIDE) && stride != 0;
        if ((arg->traits & NLM_KIT_OUTPUT) && stride < extent && !is_free) {
            return nlm_kit_refuse(out, "%s: is written, but dimension %d overlaps itself", arg->name, i);
        }
        if ((arg->traits & NLM_KIT_STATE) && stride != extent) {
            return nlm_kit_refuse(out, "%s: is not contiguous", arg->name);
        }
        extent = reach;
    }
    return NLM_OK;
}

/* One tensor: type, rank, layout, shape and strides, none of which can overflow. */
static inline nlm_status nlm_kit_check_tensor(const nlm_kit_arg *arg, const nlm_tensor *t, nlm_kit_dims *dims,
                                              nlm_caps_v1 *out) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    int64_t elements = 1;
    if (!type) return nlm_kit_refuse(out, "%s: unknown type %d", arg->name, t->dtype);
    if (!(arg->dtypes >> t->dtype & 1)) return nlm_kit_refuse(out, "%s: cannot be %s", arg->name, type->name);
    if (t->rank < 1 || t->rank > NLM_MAX_RANK) return nlm_kit_refuse(out, "%s: rank %d", arg->name, t->rank);
    if (t->layout != NLM_LAYOUT_ROW_MAJOR && !(arg->traits & NLM_KIT_PACKED)) {
        return nlm_kit_refuse(out, "%s: layout %u is not row-major", arg->name, t->layout);
    }
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || __builtin_mul_overflow(elements, t->shape[i], &elements) ||
            elements > NLM_KIT_MAX_BYTES / 4) {
            return nlm_kit_refuse(out, "%s: dimension %d is %lld", arg->name, i, (long long)t->shape[i]);
        }
    }
    if (t->shape[t->rank - 1] % type->block_elements != 0) {
        return nlm_kit_refuse(out, "%s: %s rows must be a multiple of %lld, got %lld", arg->name, type->name,
                              (long long)type->block_elements, (long long)t->shape[t->rank - 1]);
    }
    NLM_KIT_TRY(nlm_kit_check_shape(arg, t, dims, out));
    if (t->layout != NLM_LAYOUT_ROW_MAJOR) return NLM_OK; /* strides have no meaning */
    return nlm_kit_check_strides(arg, t, type, out);
}

/* What query() asks first: struct_size (at least args_bytes), flags (none but known_flags), and the
 * `count` tensors of `table`. NLM_OK with *out_dims filled, or NLM_UNSUPPORTED with out->reason. Pure. */
static inline nlm_status nlm_kit_check(const void *args, size_t args_bytes, uint32_t known_flags,
                                       const nlm_kit_arg *table, size_t count, nlm_kit_dims *out_dims,
                                       nlm_caps_v1 *out) {
    uint32_t head[2]; /* struct_size, flags */
    for (int i = 0; i < 26; i++) out_dims->of[i] = -1;
    memcpy(head, args, sizeof head);
    if (head[0] < args_bytes) {
        return nlm_kit_refuse(out, "struct_size is %u, expected at least %zu", head[0], args_bytes);
    }
    if (head[1] & ~known_flags) return nlm_kit_refuse(out, "flags 0x%x are not known", head[1] & ~known_flags);
    for (size_t i = 0; i < count; i++) {
        const nlm_tensor *tensor;
        memcpy(&tensor, (const char *)args + table[i].offset, sizeof tensor);
        if (tensor) {
            NLM_KIT_TRY(nlm_kit_check_tensor(&table[i], tensor, out_dims, out));
        } else if (!(table[i].traits & NLM_KIT_OPTIONAL)) {
            return nlm_kit_refuse(out, "%s: is missing", table[i].name);
        }
    }
    return NLM_OK;
}

/* The arguments of matmul, the one op of the smallest backend: letters M, N and K as in op_args.h. */
static inline nlm_status nlm_kit_check_matmul(const void *args, nlm_kit_dims *out_dims, nlm_caps_v1 *out) {
    static const nlm_kit_arg table[] = {
        NLM_KIT_ARG(matmul, x, 0, NLM_KIT_BIT(F32), "MK"),
        NLM_KIT_ARG(matmul, w, 0, NLM_KIT_WEIGHT, "NK"),
        NLM_KIT_ARG(matmul, bias, NLM_KIT_OPTIONAL, NLM_KIT_BIT(F32), "N"),
        NLM_KIT_ARG(matmul, residual, NLM_KIT_OPTIONAL, NLM_KIT_BIT(F32), "MN"),
        NLM_KIT_ARG(matmul, y, NLM_KIT_OUTPUT, NLM_KIT_BIT(F32), "MN"),
    };
    return nlm_kit_check(args, sizeof(nlm_matmul_args), 0, table, sizeof table / sizeof *table, out_dims, out);
}

/* ---- a plugin with one sliced device ------------------------------------------------------ */

/* nlm_device_v1.describe for a device whose `self` is its nlm_device_info_v1: copies what out's
 * struct_size covers. */
static inline nlm_status nlm_kit_describe(void *self, nlm_device_info_v1 *out, nlm_error *error) {
    const uint32_t size = out->struct_size;
    (void)error;
    memcpy(out, self, size < sizeof *out ? size : sizeof *out);
    out->struct_size = size;
    return NLM_OK;
}

/* nlm_plugin_v1.probe: there is one device, always. */
static inline nlm_status nlm_kit_probe_one(const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_error *error) {
    (void)host;
    (void)error;
    out->device_count = 1;
    out->score = 1;
    return NLM_OK;
}

static inline nlm_status nlm_kit_open_one(const nlm_device_v1 *device, uint32_t ordinal,
                                          const nlm_device_v1 **out_device, nlm_error *error) {
    if (ordinal != 0) {
        return nlm_kit_fail(error, NLM_INVALID_ARGUMENT, "open", "device %u, but there is only device 0", ordinal);
    }
    *out_device = device;
    return NLM_OK;
}
static inline void nlm_kit_close_nothing(const nlm_device_v1 *device) {
    (void)device;
}
static inline const void *nlm_kit_no_extension(const char *name, uint32_t version) {
    (void)name;
    (void)version;
    return NULL;
}

/* The rest of a plugin whose one device is the constant `device`: its descriptor and the exported
 * function. abi_minor is the literal you coded to, 0 for ABI 1.0. Once, at file scope, no semicolon. */
#define NLM_KIT_PLUGIN(name, version, description, abi_minor, device)                                           \
    static nlm_status nlm_kit_plugin_open(const nlm_host_v1 *host, uint32_t ordinal, const nlm_device_v1 **out, \
                                          nlm_error *error) {                                                   \
        (void)host;                                                                                             \
        return nlm_kit_open_one(&(device), ordinal, out, error);                                                \
    }                                                                                                           \
    static const nlm_plugin_v1 nlm_kit_plugin = {(uint32_t)sizeof(nlm_plugin_v1),                               \
                                                 (abi_minor),                                                   \
                                                 0,                                                             \
                                                 NLM_SANITIZER_BUILD,                                           \
                                                 (name),                                                        \
                                                 (version),                                                     \
                                                 (description),                                                 \
                                                 nlm_kit_probe_one,                                             \
                                                 nlm_kit_plugin_open,                                           \
                                                 nlm_kit_close_nothing,                                         \
                                                 nlm_kit_no_extension};                                         \
    const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {                                             \
        (void)host_minor;                                                                                       \
        return &nlm_kit_plugin;                                                                                 \
    }

#ifdef __cplusplus
}
#endif
#endif
