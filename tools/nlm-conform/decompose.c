/* A fused op beside the ops it stands for, run on the same device. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "conform.h"
#include "oracle/oracle.h"
#include "tensor/dtype.h"

#define MAX_PARTS  6
#define MAX_FIELDS 12
#define MAX_TEMPS  4
#define MAX_SLICES 3

/* A part's tensor is the fused op's, or ("#0") a value between parts, or ("#0/2") the second slice of its
 * columns. A value is made by one part and has the shape that its maker's output has: `like` a tensor of the fused
 * op. */
typedef struct field_link {
    const char *part, *fused;
} field_link;

typedef struct part {
    nlm_op op;
    field_link links[MAX_FIELDS + 1];
} part;

typedef struct decomposition {
    nlm_op op;
    int n_parts;
    const char *like[MAX_TEMPS];
    part parts[MAX_PARTS];
    const char *slices[MAX_SLICES]; /* tensors of the fused op that are as wide; a value without `like` is as
                                     * wide as all slices */
} decomposition;

#define SAME(name) \
    { #name, #name }

static const decomposition decompositions[] = {
    {NLM_OP_gate_up_silu_mul,
     3,
     {"y", "y"},
     {{NLM_OP_matmul, {{"x", "x"}, {"w", "w_gate"}, {"y", "#0"}}},
      {NLM_OP_matmul, {{"x", "x"}, {"w", "w_up"}, {"y", "#1"}}},
      {NLM_OP_silu_mul, {{"gate", "#0"}, {"up", "#1"}, {"y", "y"}}}},
     {0}},
    {NLM_OP_norm_matmul,
     2,
     {"x"},
     {{NLM_OP_rms_norm, {{"x", "x"}, {"w", "norm_w"}, {"y", "#0"}}},
      {NLM_OP_matmul, {{"x", "#0"}, {"w", "w"}, {"bias", "bias"}, {"y", "y"}}}},
     {0}},
    {NLM_OP_qkv_rope_append,
     6,
     {"q", "k", "k", "k"},
     {{NLM_OP_matmul, {{"x", "x"}, {"w", "w_q"}, {"bias", "b_q"}, {"y", "#0"}}},
      {NLM_OP_matmul, {{"x", "x"}, {"w", "w_k"}, {"bias", "b_k"}, {"y", "#1"}}},
      {NLM_OP_matmul, {{"x", "x"}, {"w", "w_v"}, {"bias", "b_v"}, {"y", "#2"}}},
      {NLM_OP_rope, {{"x", "#0"}, SAME(pos), SAME(freq_factors), {"y", "q"}}},
      {NLM_OP_rope, {{"x", "#1"}, SAME(pos), SAME(freq_factors), {"y", "#3"}}},
      {NLM_OP_kv_append,
       {{"k", "#3"},
        {"v", "#2"},
        SAME(k_cache),
        SAME(v_cache),
        SAME(pos),
        SAME(seq_start),
        SAME(slot),
        SAME(block_table)}}},
     {0}},
    {NLM_OP_norm_xz_conv,
     4,
     {"x", "xz"},
     {{NLM_OP_rms_norm, {SAME(x), {"w", "norm_w"}, {"y", "#0"}}},
      {NLM_OP_matmul, {{"x", "#0"}, SAME(w), {"y", "xz"}}},
      {NLM_OP_matmul, {{"x", "#0"}, SAME(w), {"y", "#1"}}},
      {NLM_OP_conv1d_causal,
       {{"x", "#1/1"},
        {"w", "conv_w"},
        {"bias", "conv_bias"},
        SAME(state),
        SAME(seq_start),
        SAME(slot),
        SAME(y),
        SAME(state_out)}}},
     {"y"}},
    {NLM_OP_dt_bc_scan,
     3,
     {NULL, "y"},
     {{NLM_OP_matmul, {SAME(x), {"w", "w_x"}, {"y", "#0"}}},
      {NLM_OP_matmul, {{"x", "#0/1"}, {"w", "w_dt"}, {"bias", "b_dt"}, {"y", "#1"}}},
      {NLM_OP_ssm_scan,
       {SAME(x),
        {"dt", "#1"},
        SAME(a),
        {"b", "#0/2"},
        {"c", "#0/3"},
        SAME(d),
        SAME(z),
        SAME(state),
        SAME(seq_start),
        SAME(slot),
        SAME(y),
        SAME(state_out)}}},
     {"w_dt", "a", "a"}},
};

/* A decomposition under way: memory of the values between parts, and of what the last parts write. */
typedef struct chain {
    conform_pools *pools;
    const nlm_device *device;
    spec_instance *fused;
    const decomposition *d;
    uint8_t *temps[MAX_TEMPS];
    conform_images images; /* by index of the fused op's tensors */
    conform_result *result;
} chain;

static int find_tensor(const spec_instance *in, const char *name) {
    for (int i = 0; i < in->n_tensors; i++) {
        if (strcmp(in->tensors[i].field->name, name) == 0) return i;
    }
    return -1;
}

static int64_t slice_width(const chain *c, int slice) {
    const char *as_wide = c->d->slices[slice];
    return as_wide ? c->fused->tensors[find_tensor(c->fused, as_wide)].desc.shape[1] : 0;
}

/* As wide as all slices, and as high as the fused op's first tensor. */
static nlm_tensor sliced_desc(const chain *c) {
    nlm_tensor t = c->fused->tensors[0].desc;
    t.shape[1] = 0;
    for (int i = 0; i < MAX_SLICES; i++) t.shape[1] += slice_width(c, i);
    t.stride_bytes[0] = t.shape[1] * (int64_t)sizeof(float);
    return t;
}

/* The value between parts as a tensor without gaps: [rows, columns] for matmul, heads apart for others. */
static nlm_tensor temp_desc(const chain *c, int number, nlm_op op) {
    const char *like = c->d->like[number];
    if (!like) return sliced_desc(c);
    const bool is_keys = strcmp(like, "k") == 0;
    nlm_tensor t = c->fused->tensors[find_tensor(c->fused, is_keys ? "q" : like)].desc;
    if (is_keys) t.shape[1] = c->fused->tensors[find_tensor(c->fused, "k_cache")].desc.shape[1];
    if (t.rank == 3 && op == NLM_OP_matmul) {
        t.shape[1] *= t.shape[2];
        t.shape[2] = 1;
        t.stride_bytes[2] = 0;
        t.rank = 2;
    }
    int64_t stride = sizeof(float);
    for (int i = t.rank - 1; i >= 0; i--) {
        t.stride_bytes[i] = stride;
        stride *= t.shape[i];
    }
    return t;
}

static bool place_temp(chain *c, int number, nlm_op op, spec_tensor *out) {
    out->desc = temp_desc(c, number, op);
    out->rows = SPEC_ROWS_TOKENS;
    out->bytes = (uint64_t)(out->desc.shape[0] * out->desc.stride_bytes[0]);
    if (!c->temps[number]) {
        c->temps[number] = malloc(out->bytes + 1);
        if (!c->temps[number]) return conform_fail(c->result, "no memory for a case");
        memset(c->temps[number], 0xFF, out->bytes);
    }
    out->image = c->temps[number];
    out->desc.data = out->image;
    return true;
}

/* Cuts the columns of a value down to those of a slice. */
static void take_slice(const chain *c, int slice, spec_tensor *t) {
    int64_t from = 0;
    for (int i = 0; i < slice - 1; i++) from += slice_width(c, i);
    t->desc.shape[1] = slice_width(c, slice - 1);
    t->image += from * (int64_t)sizeof(float);
    t->desc.data = t->image;
    t->bytes -= (uint64_t)from * sizeof(float);
}

static void copy_numbers(const nlm_any_args *fused, nlm_op op, nlm_op part_op, nlm_any_args *part) {
    if (part_op == NLM_OP_rms_norm) {
        part->rms_norm.eps = op == NLM_OP_norm_xz_conv ? fused->norm_xz_conv.eps : fused->norm_matmul.eps;
    }
    if (part_op == NLM_OP_conv1d_causal) part->head.flags = fused->head.flags;
    if (part_op != NLM_OP_rope || op != NLM_OP_qkv_rope_append) return;
    part->head.flags = fused->head.flags;
    part->rope.freq_base = fused->qkv_rope_append.freq_base;
    part->rope.freq_scale = fused->qkv_rope_append.freq_scale;
    part->rope.n_rot = fused->qkv_rope_append.n_rot;
}

/* The part as a case of its own: tensors of the fused op by name, in the order of the part's fields.
 * images[i] is the memory that tensor i is read from and written to. */
static bool build_part(chain *c, const part *p, spec_instance *out, conform_images *images) {
    const nlm_op_spec *spec = nlm_op_spec_of(p->op);
    *out = (spec_instance){.live_rows = c->fused->live_rows, .has_sequences = c->fused->has_sequences};
    memcpy(out->live, c->fused->live, sizeof out->live);
    out->c.op = p->op;
    out->c.spec = spec;
    out->args.head.struct_size = spec->args_bytes;
    copy_numbers(&c->fused->args, c->d->op, p->op, &out->args);
    for (uint32_t f = 0; f < spec->n_fields; f++) {
        const field_link *link = p->links;
        while (link->part && strcmp(link->part, spec->fields[f].name) != 0) link++;
        if (!link->part) continue;
        const bool is_temp = link->fused[0] == '#';
        const int from = is_temp ? -1 : find_tensor(c->fused, link->fused);
        if (!is_temp && from < 0) continue; /* an optional one that is absent */
        spec_tensor *t = &out->tensors[out->n_tensors];
        if (is_temp && !place_temp(c, link->fused[1] - '0', p->op, t)) return false;
        if (is_temp && link->fused[2] == '/') take_slice(c, link->fused[3] - '0', t);
        if (!is_temp) *t = c->fused->tensors[from];
        t->field = &spec->fields[f];
        t->shares = -1;
        t->is_state = (t->field->use & NLM_FIELD_STATE) != 0;
        t->is_written = (t->field->use & (NLM_FIELD_OUT | NLM_FIELD_WRITES)) != 0;
        if (t->is_written) images->data[out->n_tensors] = is_temp ? t->image : c->images.data[from];
        nlm_args_set_tensor(&out->args, t->field, &t->desc);
        out->n_tensors++;
    }
    return true;
}

/* *out_is_run: false if the device does not take this part. */
static bool run_chain_part(chain *c, const part *p, bool *out_is_run) {
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

static bool compare_all(chain *c, const conform_images *first, bool is_strict) {
    oracle_run run = {.op = c->fused->c.op,
                      .args = &c->fused->args,
                      .live_rows = c->fused->live_rows,
                      .live_seqs = c->fused->c.n_seqs,
                      .is_strict = is_strict};
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
    for (int i = 0; i < MAX_TEMPS; i++) free(c->temps[i]);
}

bool conform_check_decomposition(conform_pools *pools, const nlm_device *device, spec_instance *in,
                                 const conform_images *first, bool is_strict, conform_result *result) {
    const decomposition *d = decompositions, *end = d + sizeof decompositions / sizeof *decompositions;
    while (d < end && d->op != in->c.op) d++;
    if (d == end) return true;
    chain c = {.pools = pools, .device = device, .fused = in, .d = d, .result = result};
    bool is_right = prepare(&c), is_run = true;
    for (int i = 0; is_right && is_run && i < d->n_parts; i++) is_right = run_chain_part(&c, &d->parts[i], &is_run);
    if (is_right && is_run) is_right = compare_all(&c, first, is_strict);
    release(&c);
    return is_right;
}
