/* From dimensions to tensor descriptors. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "spec.h"
#include "tensor/dtype.h"

char spec_rows_letter(const nlm_op_spec *spec) {
    const char first = spec->fields[0].shape[0];
    return isupper((unsigned char)first) ? first : 0;
}

static int64_t *dim(spec_case *c, char letter) {
    return &c->dims[letter - 'A'];
}
static void set_default(spec_case *c, char letter, int64_t value) {
    if (*dim(c, letter) < 0) *dim(c, letter) = value;
}

/* Sizes that follow from others: rows from the sequences, pages and blocks from their lengths. */
static void derive_sizes(spec_instance *in) {
    spec_case *c = &in->c;
    if (in->has_sequences) {
        int64_t tokens = 0, pages = 0, most_blocks = 0;
        const int64_t page_tokens = *dim(c, 'B') > 0 ? *dim(c, 'B') : 1;
        for (int s = 0; s < c->n_seqs; s++) {
            const int64_t blocks = (c->past[s] + c->seqs[s] + page_tokens - 1) / page_tokens;
            tokens += c->seqs[s];
            pages += blocks;
            if (blocks > most_blocks) most_blocks = blocks;
        }
        set_default(c, 'T', tokens);
        set_default(c, 'S', c->n_seqs);
        set_default(c, 'L', c->n_seqs + c->spare + 2);
        set_default(c, 'P', pages + 2);
        set_default(c, 'M', most_blocks + 1);
    }
    if (c->op == NLM_OP_sample) set_default(c, 'L', spec_ways());
    if (c->op == NLM_OP_qkv_rope_append) {
        set_default(c, 'Q', *dim(c, 'H') * *dim(c, 'D'));
        set_default(c, 'U', *dim(c, 'G') * *dim(c, 'D'));
    }
    if (c->op == NLM_OP_norm_xz_conv) set_default(c, 'U', 2 * *dim(c, 'C'));
    if (c->op == NLM_OP_dt_bc_scan) set_default(c, 'U', *dim(c, 'R') + 2 * *dim(c, 'N'));
}

/* Scalars whose default follows from a size. */
static void derive_scalars(spec_instance *in) {
    const int32_t head = (int32_t)*dim(&in->c, 'D');
    nlm_any_args *args = &in->c.args;
    int32_t n_rot = 0;
    if (in->c.op == NLM_OP_rope) n_rot = args->rope.n_rot = args->rope.n_rot ? args->rope.n_rot : head;
    if (in->c.op == NLM_OP_qkv_rope_append) {
        n_rot = args->qkv_rope_append.n_rot = args->qkv_rope_append.n_rot ? args->qkv_rope_append.n_rot : head;
    }
    if (n_rot) set_default(&in->c, 'F', n_rot / 2);
    for (const nlm_op_scalar *s = in->c.spec->scalars; s->name; s++) {
        const float scale = (float)(1 / sqrt((double)head));
        if (strcmp(s->name, "scale") == 0 && nlm_scalar_value(s, args) == 0)
            memcpy((char *)args + s->offset, &scale, sizeof scale);
    }
}

/* The live size of dimension 0 and its padding. */
static void mark_rows(spec_instance *in, spec_tensor *t, char letter) {
    const spec_case *c = &in->c;
    const char rows = spec_rows_letter(c->spec);
    if (strcmp(t->field->name, "seq_start") == 0) {
        t->rows = SPEC_ROWS_STARTS;
        t->desc.shape[0] += c->spare;
    } else if (letter == 'S') {
        t->rows = SPEC_ROWS_SEQS;
        t->desc.shape[0] += c->spare;
        t->desc.row_kind = NLM_ROWS_SEQS;
    } else if (letter == rows) {
        t->rows = SPEC_ROWS_TOKENS;
        t->desc.shape[0] += c->pad;
        t->desc.row_kind = c->is_fixed ? NLM_ROWS_FIXED : NLM_ROWS_TOKENS;
    }
    t->is_sum = t->is_state && t->is_written && t->rows == SPEC_ROWS_WHOLE && letter != 'L' && letter != 'P';
}

static nlm_status set_shape(spec_instance *in, spec_tensor *t, const spec_field *field, nlm_error *err) {
    const spec_case *c = &in->c;
    t->desc = (nlm_tensor){.dtype = field->dtype, .shape = {1, 1, 1, 1}};
    if (t->field->shape[0] == '*') {
        if (!c->rank) return nlm_fail(err, NLM_INVALID_ARGUMENT, c->name, "shape= is missing");
        t->desc.rank = c->rank;
        memcpy(t->desc.shape, c->shape, sizeof(int64_t) * (size_t)c->rank);
        mark_rows(in, t, 0);
        return NLM_OK;
    }
    const char *text = nlm_shape_of_rank(t->field->shape, field->rank);
    nlm_dims dims;
    char first = 0;
    nlm_dims_clear(&dims);
    memcpy(dims.of, c->dims, sizeof dims.of);
    for (t->desc.rank = 0; !nlm_shape_ends(text); t->desc.rank++) {
        nlm_shape_term term;
        text = nlm_shape_next(text, &term);
        const int64_t size = nlm_shape_size(&term, &dims);
        if (size < 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, c->name, "'%c=' is missing", term.letter);
        t->desc.shape[t->desc.rank] = size;
        if (t->desc.rank == 0 && !term.relation) first = term.letter;
    }
    mark_rows(in, t, first);
    return NLM_OK;
}

/* Row-major with a gap after the rows of dimension 0; or, for odd strides, the dimensions in reverse
 * order and two elements apart. */
static nlm_status set_strides(spec_instance *in, spec_tensor *t, int64_t gap, nlm_error *err) {
    const nlm_dtype_info *type = nlm_dtype_find(t->desc.dtype);
    nlm_tensor *d = &t->desc;
    const int last = d->rank - 1;
    if (d->shape[last] % type->block_elements != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, in->c.name, "%s: rows of %lld are no whole blocks", t->field->name,
                        (long long)d->shape[last]);
    }
    int64_t stride = type->block_bytes;
    if (in->c.has_odd_strides) {
        stride *= 2;
        for (int i = 0; i <= last; i++) {
            d->stride_bytes[i] = stride;
            stride *= d->shape[i];
        }
    } else {
        for (int i = last; i >= 0; i--) {
            if (i == 0 && last > 0) stride += gap * type->block_bytes;
            d->stride_bytes[i] = stride;
            stride *= i == last ? d->shape[i] / type->block_elements : d->shape[i];
        }
    }
    t->bytes = type->block_bytes;
    for (int i = 0; i <= last; i++) {
        const int64_t steps = i == last ? d->shape[i] / type->block_elements : d->shape[i];
        if (steps == 0) {
            t->bytes = 0;
            break;
        }
        t->bytes += (uint64_t)((steps - 1) * d->stride_bytes[i]);
    }
    return NLM_OK;
}

nlm_status spec_shape_tensors(spec_instance *in, nlm_error *err) {
    spec_case *c = &in->c;
    in->has_sequences = nlm_op_spec_find(c->spec, "seq_start", strlen("seq_start")) >= 0;
    derive_sizes(in);
    derive_scalars(in);
    const char rows = spec_rows_letter(c->spec);
    if (rows && c->fields[0].rank == 1) set_default(c, rows, 0); /* a row that is a tensor of its own */
    in->live_rows = rows ? *dim(c, rows) : c->shape[0];
    int at[NLM_OP_MAX_FIELDS];
    for (uint32_t i = 0; i < c->spec->n_fields; i++) {
        at[i] = -1;
        if (!c->fields[i].is_present) continue;
        spec_tensor *t = &in->tensors[at[i] = in->n_tensors++];
        t->field = &c->spec->fields[i];
        t->is_state = (t->field->use & NLM_FIELD_STATE) != 0;
        t->is_written = (t->field->use & (NLM_FIELD_OUT | NLM_FIELD_WRITES)) != 0;
        NLM_TRY(set_shape(in, t, &c->fields[i], err));
        const int input = c->fields[i].in_place;
        t->shares = input >= 0 ? at[input] : -1;
        NLM_TRY(set_strides(in, t, input >= 0 ? c->fields[input].gap : c->fields[i].gap, err));
    }
    const int64_t padding = c->is_fixed ? c->pad : 0;
    in->live[NLM_ROWS_TOKENS] = (int32_t)(in->live_rows + padding);
    in->live[NLM_ROWS_SEQS] = c->n_seqs;
    return NLM_OK;
}
