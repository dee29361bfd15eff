/* Lines of the tables of cases, read with the table of ops. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "spec.h"
#include "tensor/dtype.h"

#define WORD(name) #name,
static const char *const data_words[] = {SPEC_DATA_LIST(WORD)};
static const char *const bad_words[] = {SPEC_BAD_LIST(WORD)};
static const char *const refuse_words[] = {SPEC_REFUSE_LIST(WORD)};
#define COUNT(words) (sizeof(words) / sizeof *(words))

static bool find_word(const char *const *words, size_t count, const char *word, int *out) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) != 0) continue;
        *out = (int)i;
        return true;
    }
    return false;
}

static const nlm_op_scalar *scalar_of(const spec_case *c, const char *name) {
    const nlm_op_scalar *s = c->spec->scalars;
    while (s->name && strcmp(s->name, name) != 0) s++;
    return s->name ? s : NULL;
}

static void set_scalar(spec_case *c, const nlm_op_scalar *s, double value) {
    char *at = (char *)&c->args + s->offset;
    const float real = (float)value;
    const int32_t integer = (int32_t)value;
    memcpy(at, s->kind == NLM_SCALAR_I32 ? (const void *)&integer : (const void *)&real, 4);
}

static int field_of(const spec_case *c, const char *name) {
    return nlm_op_spec_find(c->spec, name, strlen(name));
}

/* "3+0+5" or "3x4" into out; returns the count, or 0. */
static int parse_list(const char *text, char separator, int64_t *out, int limit) {
    int count = 0;
    for (;;) {
        char *end;
        if (count == limit || *text < '0' || *text > '9') return 0;
        out[count++] = strtoll(text, &end, 10);
        if (*end == 0) return count;
        if (*end != separator) return 0;
        text = end + 1;
    }
}

static bool parse_number(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == 0;
}

/* name:type. */
static bool apply_type(spec_case *c, const char *name, const char *type) {
    const nlm_dtype_info *info = nlm_dtype_from_name(type);
    const int exact = field_of(c, name);
    bool is_used = false;
    for (uint32_t i = 0; info && i < c->spec->n_fields; i++) {
        const nlm_field_types types = c->spec->fields[i].types;
        const bool is_meant = (strcmp(name, "w") == 0 && types == NLM_TYPES_WEIGHT) ||
                              (strcmp(name, "cache") == 0 && types == NLM_TYPES_CACHE) || exact == (int)i;
        if (is_meant) c->fields[i].dtype = info->dtype;
        is_used |= is_meant;
    }
    return is_used;
}

static bool set_ones(spec_case *c, const char *value) {
    int64_t count = 0;
    if (parse_list(value, 0, &count, 1) != 1 || count < 1 || count > SPEC_SEQS) return false;
    c->n_seqs = (int)count;
    for (int s = 0; s < c->n_seqs; s++) c->seqs[s] = 1;
    return true;
}

/* name=value, but for scalars and places. */
static bool apply_setting(spec_case *c, const char *name, const char *value) {
    int word;
    if (strcmp(name, "seqs") == 0) return (c->n_seqs = parse_list(value, '+', c->seqs, SPEC_SEQS)) > 0;
    if (strcmp(name, "ones") == 0) return set_ones(c, value);
    if (strcmp(name, "past") == 0) return parse_list(value, '+', c->past, SPEC_SEQS) == c->n_seqs;
    if (strcmp(name, "shape") == 0) return (c->rank = parse_list(value, 'x', c->shape, NLM_MAX_RANK)) > 0;
    if (strcmp(name, "pos") == 0) return parse_list(value, 0, &c->pos, 1) == 1;
    if (strcmp(name, "pad") == 0) return parse_list(value, 0, &c->pad, 1) == 1;
    if (strcmp(name, "spare") == 0) return parse_list(value, 0, &c->spare, 1) == 1;
    if (strcmp(name, "strides") == 0) return c->has_odd_strides = strcmp(value, "odd") == 0;
    if (strcmp(name, "data") == 0 && find_word(data_words, COUNT(data_words), value, &word)) {
        c->data = (spec_data)word;
        return true;
    }
    if (strcmp(name, "bad") == 0 && find_word(bad_words, COUNT(bad_words), value, &word)) {
        c->bad = (spec_bad)word;
        return true;
    }
    if (strcmp(name, "refuse") == 0 && find_word(refuse_words, COUNT(refuse_words), value, &word)) {
        c->refuse = (spec_refuse)word;
        return true;
    }
    return false;
}

static bool apply_value(spec_case *c, const char *name, const char *value) {
    const nlm_op_scalar *scalar = scalar_of(c, name);
    if (scalar && scalar->kind != NLM_SCALAR_FLAG) {
        double number;
        if (!parse_number(value, &number)) return false;
        set_scalar(c, scalar, number);
        return true;
    }
    if (name[0] >= 'A' && name[0] <= 'Z' && name[1] == 0)
        return parse_list(value, 0, &c->dims[name[0] - 'A'], 1) == 1;
    const int output = field_of(c, name), input = field_of(c, value);
    if (output >= 0 && input >= 0) {
        c->fields[output].in_place = input;
        c->fields[output].is_present = true;
        return nlm_op_field_may_take(c->spec, (uint32_t)output, (uint32_t)input);
    }
    return apply_setting(c, name, value);
}

/* name+gap and name@rank. */
static bool apply_field_number(spec_case *c, const char *name, char separator, const char *value) {
    const int field = field_of(c, name);
    int64_t number;
    if (field < 0 || parse_list(value, 0, &number, 1) != 1) return false;
    if (separator == '+') {
        c->fields[field].gap = number;
    } else {
        c->fields[field].rank = (int)number;
    }
    return true;
}

static bool apply_word(spec_case *c, const char *word) {
    const int field = field_of(c, word);
    if (field >= 0) return c->fields[field].is_present = true;
    if (strcmp(word, "fixed") == 0) return c->is_fixed = true;
    if (strcmp(word, "scattered") == 0) return c->is_scattered = true;
    if (strcmp(word, "drawn") == 0) return c->is_drawn = true;
    if (strcmp(word, "grown") == 0) return c->is_grown = true;
    const nlm_op_scalar *flag = scalar_of(c, word);
    if (!flag || flag->kind != NLM_SCALAR_FLAG) return false;
    c->args.head.flags |= flag->offset;
    return true;
}

static bool apply_item(spec_case *c, char *item) {
    const size_t length = strcspn(item, "=:+@");
    const char separator = item[length];
    if (separator == 0) return apply_word(c, item);
    item[length] = 0;
    const char *value = item + length + 1;
    if (separator == ':') return apply_type(c, item, value);
    if (separator == '=') return apply_value(c, item, value);
    return apply_field_number(c, item, separator, value);
}

static void set_defaults(spec_case *c) {
    for (int i = 0; i < 26; i++) c->dims[i] = -1;
    for (uint32_t i = 0; i < c->spec->n_fields; i++) {
        const nlm_op_field *field = &c->spec->fields[i];
        c->fields[i].is_present = !(field->use & NLM_FIELD_OPTIONAL);
        c->fields[i].dtype = field->types == NLM_TYPES_I32 ? NLM_I32 : NLM_F32;
        c->fields[i].in_place = -1;
    }
    c->args.head.struct_size = c->spec->args_bytes;
    for (const nlm_op_scalar *scalar = c->spec->scalars; scalar->name; scalar++) {
        if (scalar->kind != NLM_SCALAR_FLAG) set_scalar(c, scalar, scalar->usual);
    }
}

nlm_status spec_parse(const char *name, spec_case *out, nlm_error *err) {
    *out = (spec_case){.op = NLM_OP_NONE};
    const size_t op_length = strcspn(name, "/");
    if (strlen(name) >= sizeof out->name) return nlm_fail(err, NLM_LIMIT, name, "the case's name is too long");
    for (nlm_op op = 1; op < NLM_OP_END; op++) {
        const nlm_op_spec *spec = nlm_op_spec_of(op);
        if (strlen(spec->name) != op_length || strncmp(name, spec->name, op_length) != 0) continue;
        out->op = op;
        out->spec = spec;
    }
    if (!out->spec) return nlm_fail(err, NLM_INVALID_ARGUMENT, name, "no such op");
    memcpy(out->name, name, strlen(name) + 1);
    set_defaults(out);
    char text[SPEC_NAME_BYTES];
    memcpy(text, name, strlen(name) + 1);
    char *rest = NULL;
    for (char *item = strtok_r(text + op_length, "/,", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        char told[SPEC_NAME_BYTES];
        memcpy(told, item, strlen(item) + 1);
        if (!apply_item(out, item)) return nlm_fail(err, NLM_INVALID_ARGUMENT, name, "'%s' is not understood", told);
    }
    return NLM_OK;
}
