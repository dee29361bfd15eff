/* A fused op beside the ops it stands for, run on the same device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "conform.h"
#include "exec/op_parts.h"
#include "oracle/oracle.h"
#include "tensor/dtype.h"

/* A value between parts: [rows, columns] f32 without gaps. */
typedef struct temp {
    uint8_t *memory; /* NULL: not made yet */
    int64_t columns;
} temp;

/* A decomposition under way: the values between parts, and memory of what the last parts write. */
typedef struct chain {
    conform_pools *pools;
    const nlm_device *device;
    spec_instance *fused;
    temp temps[NLM_OP_MAX_TEMPS];
    int64_t cut;           /* columns of the sliced value that slices so far have taken */
    conform_images images; /* by index of the fused op's tensors */
    conform_result *result;
} chain;

static int find_tensor(const spec_instance *in, const char *name) {
    for (int i = 0; i < in->n_tensors; i++) {
        if (strcmp(in->tensors[i].field->name, name) == 0) return i;
    }
    return -1;
}

/* ---- the tensors of a part ---- */

static bool has_rank(const nlm_op_field *field, int rank) {
    int terms = 0;
    nlm_shape_term term;
    for (const char *text = nlm_shape_of_rank(field->shape, rank); !nlm_shape_ends(text); terms++) {
        text = nlm_shape_next(text, &term);
    }
    return terms == rank;
}

/* The columns of a [rows, columns] field, which other fields of the part tell. */
static int64_t columns_of(const nlm_op_field *field, const nlm_dims *dims) {
    nlm_shape_term term;
    nlm_shape_next(nlm_shape_next(nlm_shape_of_rank(field->shape, 2), &term), &term);
    return nlm_shape_size(&term, dims);
}

/* A value between parts as a field takes it: cut into heads of the fused op's size where it wants heads. */
static nlm_tensor temp_desc(const chain *c, const temp *value, const nlm_op_field *field) {
    const nlm_tensor *rows = &c->fused->tensors[0].desc;
    const int q = find_tensor(c->fused, "q");
    const int64_t head = q < 0 || has_rank(field, 2) ? 0 : c->fused->tensors[q].desc.shape[2];
    nlm_tensor t = {.dtype = NLM_F32, .rank = head ? 3 : 2, .row_kind = rows->row_kind, .data = value->memory};
    t.shape[0] = rows->shape[0];
    t.shape[1] = head ? value->columns / head : value->columns;
    t.shape[2] = head ? head : 1;
    t.shape[3] = 1;
    t.stride_bytes[2] = head ? (int64_t)sizeof(float) : 0;
    t.stride_bytes[1] = (head ? head : 1) * (int64_t)sizeof(float);
    t.stride_bytes[0] = value->columns * (int64_t)sizeof(float);
    return t;
}

static bool make_temp(chain *c, temp *value, const nlm_op_field *field, const nlm_dims *dims) {
    int64_t shape[NLM_MAX_RANK];
    const int rank = nlm_shape_infer(field, dims, shape);
    if (value->memory) return true;
    if (rank < 2) return conform_fail(c->result, "the shape of a value between parts does not follow");
    value->columns = shape[1] * (rank == 3 ? shape[2] : 1);
    const size_t bytes = (size_t)(c->fused->tensors[0].desc.shape[0] * value->columns) * sizeof(float);
    value->memory = malloc(bytes + 1);
    if (!value->memory) return conform_fail(c->result, "no memory for a case");
    memset(value->memory, 0xFF, bytes);
    return true;
}

static spec_tensor temp_tensor(const chain *c, const temp *value, const nlm_op_field *field) {
    spec_tensor t = {.desc = temp_desc(c, value, field), .rows = SPEC_ROWS_TOKENS, .image = value->memory};
    t.bytes = (uint64_t)(t.desc.shape[0] * t.desc.stride_bytes[0]);
    return t;
}

/* What an earlier part wrote to the fused op's own tensor is read where it was written. */
static spec_tensor own_tensor(const chain *c, int from) {
    spec_tensor t = c->fused->tensors[from];
    const int64_t offset = (const uint8_t *)t.desc.data - t.image;
    if (!c->images.data[from] || t.is_state) return t;
    t.image = c->images.data[from];
    t.desc.data = t.image + offset;
    return t;
}

/* Cuts the columns down to the next slice. */
static void take_slice(chain *c, const nlm_dims *dims, uint32_t slice, spec_tensor *t) {
    if (slice == 1) c->cut = 0;
    const int64_t width = columns_of(t->field, dims), skipped = c->cut * (int64_t)sizeof(float);
    t->desc.shape[1] = width;
    t->image += skipped;
    t->desc.data = (uint8_t *)t->desc.data + skipped;
    t->bytes -= (uint64_t)skipped;
    c->cut += width;
}

/* ---- a part ---- */

static void copy_numbers(const spec_instance *fused, const nlm_op_part *p, nlm_any_args *args) {
    for (const nlm_op_scalar *scalar = p->spec->scalars; scalar->name; scalar++) {
        const int at = nlm_op_part_number(fused->c.spec, scalar);
        const uint32_t to = scalar->kind == NLM_SCALAR_FLAG ? (uint32_t)at : scalar->offset;
        if (at >= 0 && scalar->kind != NLM_SCALAR_RESERVED) {
            memcpy((char *)args + to, (const char *)&fused->args + at, 4);
        }
    }
}

/* The order in which the tensors of a part become known: each tells letters to those after it. */
typedef enum pass { OWN, TEMPS, SLICES, RESULTS, PASSES } pass;

static pass pass_of(const nlm_op_field *field, const nlm_part_link *link) {
    if (link->slice) return SLICES;
    if (!link->is_temp) return OWN;
    return field->use & NLM_FIELD_OUT ? RESULTS : TEMPS;
}

/* Sets one field of the part; false: the result says why. An optional tensor that the fused op lacks stays away. */
static bool place_field(chain *c, const nlm_op_part *p, uint32_t f, nlm_dims *dims, spec_tensor *out) {
    const nlm_part_link *link = &p->links[f];
    const nlm_op_field *field = &p->spec->fields[f];
    const int from = link->is_temp ? -1 : find_tensor(c->fused, c->fused->c.spec->fields[link->to].name);
    out->field = NULL;
    if (!link->is_temp && from < 0) return true;
    if (link->is_temp && (field->use & NLM_FIELD_OUT) && !make_temp(c, &c->temps[link->to], field, dims))
        return false;
    /* a slice shows a part of a value of rank 2, whatever the field may also be */
    *out = link->is_temp ? temp_tensor(c, &c->temps[link->to], field) : own_tensor(c, from);
    out->field = field;
    out->shares = -1;
    out->is_state = (field->use & NLM_FIELD_STATE) != 0;
    out->is_written = (field->use & (NLM_FIELD_OUT | NLM_FIELD_WRITES)) != 0;
    if (link->slice) take_slice(c, dims, link->slice, out);
    return nlm_shape_match(field, &out->desc, dims) ||
           conform_fail(c->result, "%s, a part of it, cannot have its %s", p->spec->name, field->name);
}

/* The part as a case of its own, its tensors in the order of its fields. images[i] is the memory that tensor i is
 * read from and written to. */
static bool build_part(chain *c, const nlm_op_part *p, spec_instance *out, conform_images *images) {
    spec_tensor tensors[NLM_OP_MAX_FIELDS];
    nlm_dims dims;
    nlm_dims_clear(&dims);
    *out = (spec_instance){.live_rows = c->fused->live_rows, .has_sequences = c->fused->has_sequences};
    memcpy(out->live, c->fused->live, sizeof out->live);
    out->c.op = p->op;
    out->c.spec = p->spec;
    out->args.head.struct_size = p->spec->args_bytes;
    copy_numbers(c->fused, p, &out->args);
    for (pass now = OWN; now < PASSES; now++) {
        for (uint32_t f = 0; f < p->spec->n_fields; f++) {
            if (!p->links[f].is_used || pass_of(&p->spec->fields[f], &p->links[f]) != now) continue;
            if (!place_field(c, p, f, &dims, &tensors[f])) return false;
        }
    }
    for (uint32_t f = 0; f < p->spec->n_fields; f++) {
        if (!p->links[f].is_used || !tensors[f].field) continue;
        spec_tensor *t = &out->tensors[out->n_tensors];
        *t = tensors[f];
        if (t->is_written && p->links[f].is_temp) images->data[out->n_tensors] = t->image;
        if (t->is_written && !p->links[f].is_temp) {
            const char *name = c->fused->c.spec->fields[p->links[f].to].name;
            images->data[out->n_tensors] = c->images.data[find_tensor(c->fused, name)];
        }
        nlm_args_set_tensor(&out->args, t->field, &t->desc);
        out->n_tensors++;
    }
    return true;
}

/* *out_is_run: false if the device does not take this part. */
static bool run_chain_part(chain *c, const nlm_op_part *p, bool *out_is_run) {
    spec_instance in;
    conform_images images = {{NULL}};
    conform_outcome outcome;
    nlm_caps_v1 caps;
    if (!build_part(c, p, &in, &images)) return false;
    *out_is_run = nlm_device_query(c->device, p->op, &in.args, 2, &caps) == NLM_OK;
    if (!*out_is_run) return true;
    const conform_plan plan = {.nth = 2, .layouts = caps.weight_layout, .sequence = -1};
    if (!conform_place_and_run(c->pools, c->device, &in, &plan, &images, &outcome, c->result)) return false;
    if (outcome.status == NLM_OK) return true;
    return conform_fail(c->result, "%s, a part of it, fails: %s", nlm_op_name(p->op),
                        nlm_status_text(outcome.status));
}

/* ---- comparing ---- */

/* How far two elements are apart, as a part of how far each may be from the true value. */
static double distance(const oracle_result *expected, double a, double b, int64_t i) {
    const double scale = expected->scale[i];
    if (scale < 0 || a == b || (isnan(a) && isnan(b))) return 0;
    const double bound = expected->is_absolute ? scale : oracle_bound(scale, expected->rounding, expected->terms);
    const double part = fabs(a - b) / bound;
    return isnan(part) ? INFINITY : part;
}

static bool compare_result(chain *c, const oracle_result *expected, int index, const conform_images *first) {
    nlm_tensor fused = c->fused->tensors[index].desc, parts = fused;
    const int shared = c->fused->tensors[index].shares;
    fused.data = first->data[shared >= 0 ? shared : index];
    parts.data = c->images.data[index];
    for (int64_t i = 0; i < expected->count; i++) {
        const double apart = distance(expected, oracle_element(&fused, i), oracle_element(&parts, i), i);
        c->result->from_parts = fmax(c->result->from_parts, apart);
        if (apart <= 1) continue;
        return conform_fail(c->result, "%s: element %lld is %.9g, but %.9g from the ops it stands for",
                            c->fused->tensors[index].field->name, (long long)i, oracle_element(&fused, i),
                            oracle_element(&parts, i));
    }
    return true;
}

static bool compare_all(chain *c, const conform_images *first, oracle_activations activations) {
    oracle_run run = {.op = c->fused->c.op,
                      .args = &c->fused->args,
                      .live_rows = c->fused->live_rows,
                      .live_seqs = c->fused->c.n_seqs,
                      .activations = activations};
    bool is_right = oracle_compute(&run) || conform_fail(c->result, "no memory for the reference");
    c->result->has_parts = true;
    for (int i = 0; is_right && i < run.n_results; i++) {
        for (int j = 0; j < c->fused->n_tensors; j++) {
            if (run.results[i].tensor != &c->fused->tensors[j].desc) continue;
            is_right = is_right && compare_result(c, &run.results[i], j, first);
        }
    }
    oracle_release(&run);
    return is_right;
}

static bool prepare(chain *c) {
    for (int i = 0; i < c->fused->n_tensors; i++) {
        const spec_tensor *t = &c->fused->tensors[i];
        if (!t->is_written) continue;
        c->images.data[i] = malloc(t->bytes + 1);
        if (!c->images.data[i]) return conform_fail(c->result, "no memory for a case");
        memcpy(c->images.data[i], t->desc.data, t->bytes);
    }
    return true;
}

static void release(chain *c) {
    for (int i = 0; i < NLM_OP_MAX_FIELDS; i++) free(c->images.data[i]);
    for (int i = 0; i < NLM_OP_MAX_TEMPS; i++) free(c->temps[i].memory);
}

bool conform_check_decomposition(conform_pools *pools, const nlm_device *device, spec_instance *in,
                                 const conform_images *first, oracle_activations activations,
                                 conform_result *result) {
    nlm_op_part parts[NLM_OP_MAX_PARTS];
    const uint32_t n_parts = nlm_op_parts_read(in->c.op, parts);
    if (n_parts == 0) return true;
    chain c = {.pools = pools, .device = device, .fused = in, .result = result};
    bool is_right = prepare(&c), is_run = true;
    for (uint32_t i = 0; is_right && is_run && i < n_parts; i++) is_right = run_chain_part(&c, &parts[i], &is_run);
    if (is_right && is_run) is_right = compare_all(&c, first, activations);
    release(&c);
    return is_right;
}
