/* What most backends write again: reaching into tensors, slicing rows, decoding weights, checking
 * arguments, filling errors, and the tables of a plugin with one sliced device.
 *
 * Optional, source only: everything is static inline, so it adds nothing to link, exports nothing and
 * is no part of the binary contract, which is plugin.h alone. C11 and C++17, GCC or Clang. Nothing here
 * allocates or keeps state; every function may be called from any thread.
 *
 *   nlm_kit_fail nlm_kit_refuse NLM_KIT_TRY      errors, and the noes of query()
 *   nlm_kit_at nlm_kit_slice nlm_kit_cells       rows of tensors, this worker's share of them
 *   nlm_kit_may_claim nlm_kit_exec               helping slower workers; a call's context to change
 *   nlm_kit_row_f32 (and nlm_decode_row of dtype.h) every weight type to f32
 *   nlm_kit_backend nlm_kit_query                what a backend has, and query() made from it
 *   nlm_kit_describe NLM_KIT_PLUGIN              a device's answer and the plugin's descriptor */
#ifndef NLM_PLUGIN_KIT_H
#define NLM_PLUGIN_KIT_H

#include <nlm/op_check.h>

#include <stdarg.h>
#include <stddef.h>
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

/* The part [from, to) of `total` items that is worker ith's: contiguous, in multiples of `step`. The slices of all
 * workers cover every item once. What is left over goes to the first workers: the very first begins earliest. */
static inline nlm_kit_range nlm_kit_slice(const nlm_exec_v1 *x, int64_t total, int64_t step) {
    const int64_t steps = (total + step - 1) / step;
    const int64_t from = (steps * (int64_t)x->ith + x->nth - 1) / x->nth * step;
    const int64_t to = (steps * ((int64_t)x->ith + 1) + x->nth - 1) / x->nth * step;
    nlm_kit_range range;
    range.from = from < total ? from : total;
    range.to = to < total ? to : total;
    return range;
}

/* Whether x->claim may be called; if not, every worker does its own slice. */
static inline int nlm_kit_may_claim(const nlm_exec_v1 *x) {
    return x->struct_size >= offsetof(nlm_exec_v1, claim) + sizeof x->claim && x->claim;
}

/* A copy of what a slot is called with, to be changed for a part of it: zeros where the host knows less. */
static inline nlm_exec_v1 nlm_kit_exec(const nlm_exec_v1 *x) {
    nlm_exec_v1 copy;
    memset(&copy, 0, sizeof copy);
    memcpy(&copy, x, x->struct_size < sizeof copy ? x->struct_size : sizeof copy);
    return copy;
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

/* ---- what a backend has, and checking arguments ------------------------------------------------ */

/* In nlm_kit_op.layout, beside a packed one: the slot takes weights as they are too, if the host cannot pack them. */
#define NLM_KIT_OR_ROW_MAJOR 0x80000000u

/* An op that a backend has. */
typedef struct nlm_kit_op {
    nlm_op op;
    uint32_t flags;  /* of the op: those the slot knows */
    uint32_t layout; /* wanted for its weights; NLM_LAYOUT_ROW_MAJOR: as they are */
    /* The memory that the slot needs, into out's workspace_bytes and scratch_bytes; NULL: none. Arguments are sound
     * and `dims` their sizes. Pure. */
    void (*needs)(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out);
} nlm_kit_op;

/* What a backend has, listed by itself: what is not in here is a no, whatever a later header adds. */
typedef struct nlm_kit_backend {
    const nlm_kit_op *ops;
    uint32_t n_ops;
    uint32_t layout;           /* a packed layout that weights may have; NLM_LAYOUT_ROW_MAJOR: none */
    uint64_t weight_types;     /* NLM_TYPE_BIT(F32) | ...; all that nlm_decode_row reads: NLM_TYPES_DECODED */
    uint64_t cache_types;      /* of keys and values */
    uint64_t activation_types; /* beside f32 */
} nlm_kit_backend;

#define NLM_KIT_MAX_BYTES (INT64_C(1) << 62)

static inline uint64_t nlm_kit_types_of(const nlm_kit_backend *has, nlm_field_types types) {
    switch (types) {
        case NLM_TYPES_WEIGHT: return has->weight_types;
        case NLM_TYPES_CACHE: return has->cache_types;
        case NLM_TYPES_ACTIVATION: return NLM_TYPE_BIT(F32) | has->activation_types;
        default: return nlm_field_type_bits(types);
    }
}

/* Rows of an output may have gaps between them, but no two elements may share memory. */
static inline nlm_status nlm_kit_check_strides(const nlm_op_field *field, const nlm_tensor *t, nlm_caps_v1 *out) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    const int last = t->rank - 1, is_written = (field->use & (NLM_FIELD_OUT | NLM_FIELD_WRITES)) != 0;
    const int64_t unit = type->block_elements == 1 ? type->block_bytes : 2;
    int64_t extent = t->shape[last] / type->block_elements * type->block_bytes;
    if (!(field->use & NLM_FIELD_ANY_STRIDE) && t->stride_bytes[last] != type->block_bytes && t->shape[last] > 1) {
        return nlm_kit_refuse(out, "%s: the innermost dimension is not contiguous", field->name);
    }
    for (int i = last; i >= 0; i--) {
        const int64_t stride = t->stride_bytes[i];
        const int is_free = (field->use & NLM_FIELD_ANY_STRIDE) && stride != 0;
        const int is_dense = (field->use & NLM_FIELD_DENSE) && (i > 0 || (field->use & NLM_FIELD_STATE));
        int64_t reach;
        if (t->shape[i] <= 1) continue;
        if (stride % unit != 0 || __builtin_mul_overflow(stride, t->shape[i], &reach) || reach > NLM_KIT_MAX_BYTES ||
            reach < -NLM_KIT_MAX_BYTES) {
            return nlm_kit_refuse(out, "%s: stride %d is %lld bytes", field->name, i, (long long)stride);
        }
        if (i == last) continue;
        if (is_written && stride < extent && !is_free) {
            return nlm_kit_refuse(out, "%s: is written, but dimension %d overlaps itself", field->name, i);
        }
        if (is_dense && stride != extent) return nlm_kit_refuse(out, "%s: is not contiguous", field->name);
        extent = reach;
    }
    return NLM_OK;
}

/* One tensor but for its shape's letters: type, rank, layout and strides, none of which can overflow. */
static inline nlm_status nlm_kit_check_tensor(const nlm_kit_backend *has, const nlm_op_field *field,
                                              const nlm_tensor *t, nlm_caps_v1 *out) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    const int is_packed = t->layout != NLM_LAYOUT_ROW_MAJOR;
    int64_t elements = 1;
    if (!type) return nlm_kit_refuse(out, "%s: unknown type %d", field->name, t->dtype);
    if (!(nlm_kit_types_of(has, field->types) >> t->dtype & 1)) {
        return nlm_kit_refuse(out, "%s: cannot be %s", field->name, type->name);
    }
    if (t->rank < 1 || t->rank > NLM_MAX_RANK) return nlm_kit_refuse(out, "%s: rank %d", field->name, t->rank);
    if (is_packed && (t->layout != has->layout || !field->role)) {
        return nlm_kit_refuse(out, "%s: layout %u is not known here", field->name, t->layout);
    }
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || __builtin_mul_overflow(elements, t->shape[i], &elements) ||
            elements > NLM_KIT_MAX_BYTES / 4) {
            return nlm_kit_refuse(out, "%s: dimension %d is %lld", field->name, i, (long long)t->shape[i]);
        }
    }
    if (t->shape[t->rank - 1] % type->block_elements != 0) {
        return nlm_kit_refuse(out, "%s: %s rows must be a multiple of %u, got %lld", field->name, type->name,
                              type->block_elements, (long long)t->shape[t->rank - 1]);
    }
    return is_packed ? NLM_OK : nlm_kit_check_strides(field, t, out);
}

/* The arguments' tensors by field, NULL: absent; each sound in itself. */
static inline nlm_status nlm_kit_check_tensors(const nlm_kit_backend *has, const nlm_op_spec *spec, const void *args,
                                               const nlm_tensor **tensors, nlm_caps_v1 *out) {
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const nlm_op_field *field = &spec->fields[i];
        tensors[i] = NULL;
        if (!nlm_counts(field->flag, nlm_args_flags(args))) continue;
        memcpy(&tensors[i], (const char *)args + field->offset, sizeof tensors[i]);
        if (tensors[i])
            NLM_KIT_TRY(nlm_kit_check_tensor(has, field, tensors[i], out));
        else if (!(field->use & NLM_FIELD_OPTIONAL))
            return nlm_kit_refuse(out, "%s: is missing", field->name);
    }
    return NLM_OK;
}

/* What query() asks: whether the backend has the op, and whether these arguments are sound. NLM_OK with *out_dims
 * and out->weight_layout filled, or NLM_UNSUPPORTED with out->reason. Pure. */
static inline nlm_status nlm_kit_check(const nlm_kit_backend *has, const nlm_kit_op *op, const void *args,
                                       nlm_dims *out_dims, nlm_caps_v1 *out) {
    const nlm_op_spec *spec = nlm_op_spec_of(op->op);
    const nlm_tensor *tensors[NLM_OP_MAX_FIELDS];
    const nlm_op_call call = {spec, args, tensors, out_dims};
    nlm_reason reason = {out->reason, sizeof out->reason, 0};
    const int is_as_held = (op->layout & NLM_KIT_OR_ROW_MAJOR) && (out->flags & NLM_CAPS_AS_HELD);
    const uint32_t wanted = is_as_held ? NLM_LAYOUT_ROW_MAJOR : op->layout & ~NLM_KIT_OR_ROW_MAJOR;
    uint32_t size, n_weights = 0;
    memcpy(&size, args, sizeof size);
    if (size < sizeof(uint32_t[2]) || size < nlm_args_bytes(spec, nlm_args_flags(args))) {
        return nlm_kit_refuse(out, "struct_size is %u, expected at least %u", size, nlm_args_bytes(spec, 0));
    }
    if (nlm_args_flags(args) & ~op->flags) {
        return nlm_kit_refuse(out, "flags 0x%x are not known", nlm_args_flags(args) & ~op->flags);
    }
    NLM_KIT_TRY(nlm_kit_check_tensors(has, spec, args, tensors, out));
    if (!nlm_check_call(&call, &reason)) return NLM_UNSUPPORTED;
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        if (!spec->fields[i].role || n_weights == NLM_CAPS_WEIGHTS) continue;
        out->weight_layout[n_weights++] = wanted ? wanted : tensors[i] ? tensors[i]->layout : 0;
    }
    return NLM_OK;
}

/* query() of a backend: nlm_kit_check of the op's line in the list, then its needs. */
static inline nlm_status nlm_kit_query(const nlm_kit_backend *has, void *self, nlm_op op, const void *args,
                                       uint32_t nth, nlm_caps_v1 *out) {
    nlm_dims dims;
    for (uint32_t i = 0; i < has->n_ops; i++) {
        if (has->ops[i].op != op) continue;
        NLM_KIT_TRY(nlm_kit_check(has, &has->ops[i], args, &dims, out));
        if (has->ops[i].needs) has->ops[i].needs(self, &dims, nth, out);
        return NLM_OK;
    }
    return nlm_kit_refuse(out, "this backend does not have op %u", op);
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
