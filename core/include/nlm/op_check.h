/* Arguments of an op matched against op_table.h: the one reader of its texts. Header-only; C11 and C++17,
 * GCC or Clang. Used by the host when a graph is built and by plugin_kit.h in query(). */
#ifndef NLM_OP_CHECK_H
#define NLM_OP_CHECK_H

#include <nlm/dtype.h>
#include <nlm/op_table.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sizes that the letters of an op stand for. */
typedef struct nlm_dims {
    int64_t of[26];        /* by letter; -1: none of these arguments has it */
    const char *from[26];  /* the field that gave it */
    const nlm_tensor *any; /* of the shape "*"; NULL: not met yet */
    nlm_dtype activation;  /* of the activations; -1: not met yet */
} nlm_dims;

static inline int64_t nlm_dim(const nlm_dims *dims, char letter) {
    return dims->of[letter - 'A'];
}

static inline void nlm_dims_clear(nlm_dims *dims) {
    for (int i = 0; i < 26; i++) {
        dims->of[i] = -1;
        dims->from[i] = "";
    }
    dims->any = NULL;
    dims->activation = -1;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* One dimension of a shape text: "T", "S+1", "C/16" or "16". */
typedef struct nlm_shape_term {
    char letter;   /* 0: a number */
    char relation; /* '+', '-', '/' or 0 */
    int64_t number;
} nlm_shape_term;

static inline int nlm_shape_ends(const char *shape) {
    return *shape == '\0' || *shape == '|';
}

/* Reads the next dimension of a text that has not ended; returns where the text goes on. */
static inline const char *nlm_shape_next(const char *shape, nlm_shape_term *out) {
    out->letter = out->relation = 0;
    out->number = 0;
    if (*shape >= 'A' && *shape <= 'Z') {
        out->letter = *shape++;
        if (*shape == '+' || *shape == '-' || *shape == '/') out->relation = *shape++;
    }
    while (*shape >= '0' && *shape <= '9') out->number = out->number * 10 + (*shape++ - '0');
    while (*shape == ' ') shape++;
    return shape;
}

/* -1: its letter is not known. */
static inline int64_t nlm_shape_size(const nlm_shape_term *term, const nlm_dims *dims) {
    if (!term->letter) return term->number;
    const int64_t size = nlm_dim(dims, term->letter);
    if (size < 0) return -1;
    switch (term->relation) {
        case '+': return size + term->number;
        case '-': return size - term->number;
        case '/': return size / term->number + (size % term->number != 0);
        default: return size;
    }
}

/* The alternative of that rank, or the first. */
static inline const char *nlm_shape_of_rank(const char *shape, int rank) {
    for (const char *alternative = shape;;) {
        int terms = 0;
        const char *text = alternative;
        for (nlm_shape_term term; !nlm_shape_ends(text); terms++) text = nlm_shape_next(text, &term);
        if (terms == rank) return alternative;
        if (!*text) return shape;
        alternative = text + 1;
    }
}

/* A letter not met yet gets its size from the tensor; what a "/" rounded up cannot be undone. */
static inline int nlm_shape_learn(const nlm_shape_term *term, int64_t size, const char *field, nlm_dims *dims) {
    if (term->relation == '/' || !term->letter) return 0;
    if (term->relation == '+') size -= term->number;
    if (term->relation == '-') size += term->number;
    if (size < 0) return 0;
    dims->of[term->letter - 'A'] = size;
    dims->from[term->letter - 'A'] = field;
    return 1;
}

/* 1 if the tensor has the field's shape; its letters are then in *dims. */
static inline int nlm_shape_match(const nlm_op_field *field, const nlm_tensor *t, nlm_dims *dims) {
    if (*field->shape == '*') {
        if (!dims->any) dims->any = t;
        return t->rank == dims->any->rank && memcmp(t->shape, dims->any->shape, sizeof t->shape) == 0;
    }
    const char *text = nlm_shape_of_rank(field->shape, t->rank);
    nlm_dims known = *dims;
    int rank = 0;
    for (; !nlm_shape_ends(text); rank++) {
        nlm_shape_term term;
        text = nlm_shape_next(text, &term);
        if (rank >= t->rank) return 0;
        const int64_t expected = nlm_shape_size(&term, &known);
        if (expected >= 0 ? expected != t->shape[rank] : !nlm_shape_learn(&term, t->shape[rank], field->name, &known))
            return 0;
    }
    if (rank != t->rank) return 0;
    *dims = known;
    return 1;
}

/* One alternative's shape from what is known. Returns the rank; 0 if a letter of it is not known. */
static inline int nlm_shape_infer_one(const char *text, const nlm_dims *dims, int64_t out[NLM_MAX_RANK]) {
    int rank = 0;
    for (; !nlm_shape_ends(text) && rank < NLM_MAX_RANK; rank++) {
        nlm_shape_term term;
        text = nlm_shape_next(text, &term);
        out[rank] = nlm_shape_size(&term, dims);
        if (out[rank] < 0) return 0;
    }
    return rank;
}

/* The field's shape, the longest of its alternatives that is known, of "*" that of the other fields. Returns
 * the rank; 0 if none is known. */
static inline int nlm_shape_infer(const nlm_op_field *field, const nlm_dims *dims, int64_t out[NLM_MAX_RANK]) {
    int rank = 0;
    if (*field->shape == '*') {
        if (!dims->any) return 0;
        memcpy(out, dims->any->shape, sizeof dims->any->shape);
        return dims->any->rank;
    }
    for (const char *text = field->shape; text; text = strchr(text, '|') ? strchr(text, '|') + 1 : NULL) {
        int64_t shape[NLM_MAX_RANK];
        const int found = nlm_shape_infer_one(text, dims, shape);
        if (found <= rank) continue;
        rank = found;
        memcpy(out, shape, sizeof shape);
    }
    return rank;
}

/* ---- types ----------------------------------------------------------------------------------- */

static inline uint64_t nlm_field_type_bits(nlm_field_types types) {
    switch (types) {
        case NLM_TYPES_ACTIVATION: return NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(BF16);
        case NLM_TYPES_F32: return NLM_TYPE_BIT(F32);
        case NLM_TYPES_I32: return NLM_TYPE_BIT(I32);
        case NLM_TYPES_PLAIN: return NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(BF16) | NLM_TYPE_BIT(I32);
        case NLM_TYPES_CACHE: return NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(Q8_0);
        case NLM_TYPES_FLOAT: return NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(F16) | NLM_TYPE_BIT(BF16);
        case NLM_TYPES_WEIGHT: return NLM_TYPES_DECODED;
    }
    return 0;
}

static inline int nlm_field_accepts(nlm_field_types types, nlm_dtype dtype) {
    return nlm_dtype_find(dtype) != NULL && (nlm_field_type_bits(types) >> dtype & 1);
}

/* As nlm_field_accepts; the first activation says what the others are. */
static inline int nlm_type_match(const nlm_op_field *field, nlm_dtype dtype, nlm_dims *dims) {
    if (!nlm_field_accepts(field->types, dtype)) return 0;
    if (field->types != NLM_TYPES_ACTIVATION) return 1;
    if (dims->activation < 0) dims->activation = dtype;
    return dims->activation == dtype;
}

static inline const char *nlm_field_types_text(nlm_field_types types) {
    switch (types) {
        case NLM_TYPES_ACTIVATION: return "f32, f16 or bf16, of all activations";
        case NLM_TYPES_F32: return "f32";
        case NLM_TYPES_I32: return "i32";
        case NLM_TYPES_PLAIN: return "f32, f16, bf16 or i32";
        case NLM_TYPES_CACHE: return "f32, f16 or q8_0";
        case NLM_TYPES_FLOAT: return "f32, f16 or bf16";
        case NLM_TYPES_WEIGHT: return "any type but i32";
    }
    return "?";
}

/* ---- reasons: one clause, cut where the room ends ---------------------------------------------- */

typedef struct nlm_reason {
    char *text;
    size_t capacity, used;
} nlm_reason;

__attribute__((format(printf, 2, 3), cold, unused)) static inline void nlm_reason_add(nlm_reason *reason,
                                                                                      const char *format, ...) {
    va_list args;
    if (reason->used + 1 >= reason->capacity) return;
    va_start(args, format);
    const int n = vsnprintf(reason->text + reason->used, reason->capacity - reason->used, format, args);
    va_end(args);
    if (n > 0) reason->used += (size_t)n;
}

/* "[8,64] f32" */
__attribute__((cold)) static inline void nlm_reason_add_tensor(nlm_reason *reason, const nlm_tensor *t) {
    const nlm_dtype_info *type = nlm_dtype_find(t->dtype);
    for (int i = 0; i < t->rank && i < NLM_MAX_RANK; i++)
        nlm_reason_add(reason, "%s%lld", i ? "," : "[", (long long)t->shape[i]);
    if (type)
        nlm_reason_add(reason, "] %s", type->name);
    else
        nlm_reason_add(reason, "] of unknown type %d", t->dtype);
}

/* "w is [9,21] f32, expected [N K] with K=20 (from x)"; returns 0. */
__attribute__((cold)) static inline int nlm_reason_shape(nlm_reason *reason, const nlm_op_field *field,
                                                         const nlm_tensor *t, const nlm_dims *dims) {
    const char *join = " with ";
    nlm_reason_add(reason, "%s is ", field->name);
    nlm_reason_add_tensor(reason, t);
    nlm_reason_add(reason, ", expected [%s]", field->shape);
    for (const char *c = field->shape; *c; c++) {
        if (*c < 'A' || *c > 'Z' || nlm_dim(dims, *c) < 0) continue;
        nlm_reason_add(reason, "%s%c=%lld (from %s)", join, *c, (long long)nlm_dim(dims, *c), dims->from[*c - 'A']);
        join = ", ";
    }
    if (*field->shape == '*') {
        nlm_reason_add(reason, " equal to ");
        nlm_reason_add_tensor(reason, dims->any);
    }
    return 0;
}

/* ---- rules ------------------------------------------------------------------------------------- */

/* What the texts speak of. Tensors are by field, NULL: absent. */
typedef struct nlm_op_call {
    const nlm_op_spec *spec;
    const void *args; /* scalars and flags are read from here; its tensors are not */
    const nlm_tensor *const *tensors;
    nlm_dims *dims;
} nlm_op_call;

static inline double nlm_scalar_value(const nlm_op_scalar *scalar, const void *args) {
    float real;
    int32_t integer;
    if (scalar->kind == NLM_SCALAR_F32) {
        memcpy(&real, (const char *)args + scalar->offset, sizeof real);
        return (double)real;
    }
    memcpy(&integer, (const char *)args + scalar->offset, sizeof integer);
    return integer;
}

static inline int nlm_text_is(const char *name, const char *text, size_t length) {
    return strncmp(name, text, length) == 0 && name[length] == '\0';
}

/* -2: nothing of that name in these arguments. */
static inline int64_t nlm_rule_name(const nlm_op_call *call, const char *text, size_t length) {
    const size_t stem = strcspn(text, ".");
    if (length == 1 && *text >= 'A' && *text <= 'Z')
        return nlm_dim(call->dims, *text) < 0 ? -2 : nlm_dim(call->dims, *text);
    for (const nlm_op_scalar *s = call->spec->scalars; s->name; s++) {
        if (nlm_text_is(s->name, text, length)) return (int64_t)nlm_scalar_value(s, call->args);
    }
    for (uint32_t i = 0; i < call->spec->n_fields && stem < length; i++) {
        if (!nlm_text_is(call->spec->fields[i].name, text, stem) || !call->tensors[i]) continue;
        const int64_t type = call->tensors[i]->dtype;
        if (nlm_text_is("rank", text + stem + 1, length - stem - 1)) return call->tensors[i]->rank;
        return nlm_text_is("is_i32", text + stem + 1, length - stem - 1) ? type == NLM_I32 : type;
    }
    return -2;
}

/* One expression, up to a comparison, a comma or the end. *out_known: 0 if an operand is not there.
 * Overflow, and a remainder of 0, give -1, which no size is. */
static inline const char *nlm_rule_value(const nlm_op_call *call, const char *text, int64_t *out, int *out_known) {
    char operation = '+';
    *out = 0;
    for (;;) {
        int64_t operand = 0;
        text += strspn(text, " ");
        const size_t length = strcspn(text, " ,");
        if (*text >= '0' && *text <= '9') {
            for (size_t i = 0; i < length; i++) operand = operand * 10 + (text[i] - '0');
        } else {
            operand = nlm_rule_name(call, text, length);
            if (operand == -2) *out_known = 0;
        }
        if (operation == '+' && __builtin_add_overflow(*out, operand, out)) *out = -1;
        if (operation == '*' && __builtin_mul_overflow(*out, operand, out)) *out = -1;
        if (operation == '/') *out = operand ? *out / operand : -1;
        if (operation == '%') *out = operand ? *out % operand : -1;
        text += length;
        text += strspn(text, " ");
        if (!*text || !strchr("+*/%", *text)) return text;
        operation = *text++;
    }
}

/* One rule: comparisons up to a comma or the end, where *text goes. */
static inline int nlm_rule_holds(const nlm_op_call *call, const char **text) {
    int64_t left, right;
    int is_known = 1, holds = 1;
    *text = nlm_rule_value(call, *text, &left, &is_known);
    while (**text == '=' || **text == '<') {
        const int is_equal = **text == '=';
        *text = nlm_rule_value(call, *text + (is_equal ? 1 : 2), &right, &is_known);
        holds &= is_equal ? left == right : left <= right;
        left = right;
    }
    return holds || !is_known;
}

/* Says which rule does not hold and what its names are; returns 0. */
__attribute__((cold)) static inline int nlm_reason_rule(nlm_reason *reason, const nlm_op_call *call, const char *rule,
                                                        const char *end) {
    const char *join = ", got ";
    nlm_reason_add(reason, "expected %.*s", (int)(end - rule), rule);
    for (const char *at = rule; at < end; at += strcspn(at, " ,") + 1) {
        const size_t length = strcspn(at, " ,");
        const int is_name = (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z');
        if (!is_name) continue;
        nlm_reason_add(reason, "%s%.*s=%lld", join, (int)length, at, (long long)nlm_rule_name(call, at, length));
        join = ", ";
    }
    return 0;
}

static inline int nlm_check_rules(const nlm_op_call *call, nlm_reason *reason) {
    const char *text = call->spec->rules;
    while (*text) {
        const char *rule = text + strspn(text, " ");
        if (!nlm_rule_holds(call, &text)) return nlm_reason_rule(reason, call, rule, text);
        text += *text == ',';
    }
    return 1;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static inline uint32_t nlm_args_flags(const void *args) {
    uint32_t head[2]; /* struct_size, flags */
    memcpy(head, args, sizeof head);
    return head[1];
}

/* An appended field or scalar counts only with its flag. */
static inline int nlm_counts(uint32_t flag, uint32_t flags) {
    return flag == 0 || (flags & flag) != 0;
}

/* What struct_size must cover at least with these flags. */
static inline uint32_t nlm_args_bytes(const nlm_op_spec *spec, uint32_t flags) {
    uint32_t bytes = 2 * sizeof(uint32_t);
    for (uint32_t i = 0; i < spec->n_fields; i++) {
        const uint32_t end = spec->fields[i].offset + (uint32_t)sizeof(const nlm_tensor *);
        if (nlm_counts(spec->fields[i].flag, flags) && end > bytes) bytes = end;
    }
    for (const nlm_op_scalar *s = spec->scalars; s->name; s++) {
        const uint32_t end = s->offset + (uint32_t)sizeof(float);
        if (s->kind != NLM_SCALAR_FLAG && nlm_counts(s->flag, flags) && end > bytes) bytes = end;
    }
    return bytes;
}

static inline int nlm_check_scalars(const nlm_op_call *call, nlm_reason *reason) {
    uint32_t unknown = nlm_args_flags(call->args);
    const uint32_t flags = unknown;
    for (const nlm_op_scalar *s = call->spec->scalars; s->name; s++) {
        if (s->kind == NLM_SCALAR_FLAG) {
            unknown &= ~s->offset;
        } else if (nlm_counts(s->flag, flags)) {
            const double value = nlm_scalar_value(s, call->args);
            if (value >= s->least && value <= s->greatest) continue;
            nlm_reason_add(reason, "%s is %g, expected %g to %g", s->name, value, s->least, s->greatest);
            return 0;
        }
    }
    if (unknown) nlm_reason_add(reason, "flags 0x%x are not known", unknown);
    return unknown == 0;
}

/* Types and shapes of the tensors there are, scalars, flags and rules; not strides, nor whether a tensor is
 * missing. 1 with *call->dims filled, or 0 with the reason. Pure. */
static inline int nlm_check_call(const nlm_op_call *call, nlm_reason *reason) {
    nlm_dims_clear(call->dims);
    for (uint32_t i = 0; i < call->spec->n_fields; i++) {
        const nlm_op_field *field = &call->spec->fields[i];
        const nlm_tensor *t = call->tensors[i];
        if (!t) continue;
        if (!nlm_type_match(field, t->dtype, call->dims)) {
            nlm_reason_add(reason, "%s is ", field->name);
            nlm_reason_add_tensor(reason, t);
            nlm_reason_add(reason, ", expected type %s", nlm_field_types_text(field->types));
            return 0;
        }
        if (!nlm_shape_match(field, t, call->dims)) return nlm_reason_shape(reason, field, t, call->dims);
    }
    return nlm_check_scalars(call, reason) && nlm_check_rules(call, reason);
}

#ifdef __cplusplus
}
#endif
#endif
