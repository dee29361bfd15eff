/* One case: reference, every way of running it, and the comparison. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "conform.h"
#include "plugin/loaded.h"
#include "tensor/dtype.h"

/* What an element's bytes are to a comparison. */
enum { BYTE_GAP = 0, BYTE_LIVE = 1, BYTE_PADDING = 2 };

/* A case under way. */
typedef struct trial {
    conform_pools *pools;
    const nlm_device *device;
    spec_instance in;
    uint32_t layouts[NLM_CAPS_WEIGHTS];
    bool is_as_held;                   /* weights that are wanted packed are given as they are */
    uint8_t *kinds[NLM_OP_MAX_FIELDS]; /* BYTE_* of every byte of a written tensor's memory */
    conform_images first;              /* after the first run */
    conform_images again;
    oracle_activations activations;
    char how[32];     /* the last run was, of a sentence */
    bool is_replayed; /* what is asked is whether a replay equals it */
    conform_result *result;
} trial;

/* ---- memory of written tensors ---- */

static void mark_elements(const spec_tensor *t, int64_t live_rows, uint8_t *kinds) {
    const nlm_tensor *d = &t->desc;
    const nlm_dtype_info *type = nlm_dtype_find(d->dtype);
    int64_t units[NLM_MAX_RANK] = {1, 1, 1, 1}, i[NLM_MAX_RANK];
    for (int j = 0; j < d->rank; j++) units[j] = d->shape[j];
    units[d->rank - 1] /= type->block_elements;
    for (i[0] = 0; i[0] < units[0]; i[0]++) {
        const uint8_t kind = t->rows == SPEC_ROWS_TOKENS && i[0] >= live_rows ? BYTE_PADDING : BYTE_LIVE;
        for (i[1] = 0; i[1] < units[1]; i[1]++) {
            for (i[2] = 0; i[2] < units[2]; i[2]++) {
                for (i[3] = 0; i[3] < units[3]; i[3]++) {
                    int64_t at = 0;
                    for (int j = 0; j < d->rank; j++) at += i[j] * d->stride_bytes[j];
                    memset(kinds + at, kind, type->block_bytes);
                }
            }
        }
    }
}

static bool prepare_images(trial *t) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        const int owner = tensor->shares >= 0 ? tensor->shares : i;
        if (!tensor->is_written) continue;
        const size_t bytes = t->in.tensors[owner].bytes + 1;
        t->kinds[owner] = calloc(bytes, 1);
        t->first.data[owner] = malloc(bytes);
        t->again.data[owner] = malloc(bytes);
        if (!t->kinds[owner] || !t->first.data[owner] || !t->again.data[owner]) {
            return conform_fail(t->result, "no memory for a case");
        }
        mark_elements(tensor, t->in.live_rows, t->kinds[owner]);
    }
    return true;
}

static void release(trial *t) {
    for (int i = 0; i < NLM_OP_MAX_FIELDS; i++) {
        free(t->kinds[i]);
        free(t->first.data[i]);
        free(t->again.data[i]);
    }
    spec_release(&t->in);
}

/* All as before the op. */
static void reset(trial *t, conform_images *images) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        if (images->data[i]) memcpy(images->data[i], t->in.tensors[i].image, t->in.tensors[i].bytes);
    }
}

static bool check_gaps(trial *t) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        for (uint64_t j = 0; t->first.data[i] && j < tensor->bytes; j++) {
            if (t->kinds[i][j] != BYTE_GAP || t->first.data[i][j] == tensor->image[j]) continue;
            return conform_fail(t->result, "writes between the rows of %s", tensor->field->name);
        }
    }
    return true;
}

static bool compare(trial *t, const char *what) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        for (uint64_t j = 0; t->first.data[i] && j < tensor->bytes; j++) {
            if (t->kinds[i][j] != BYTE_LIVE || t->first.data[i][j] == t->again.data[i][j]) continue;
            return conform_fail(t->result, "%s: other bits %s", tensor->field->name, what);
        }
    }
    return true;
}

/* ---- runs ---- */

static bool run_ok(trial *t, const conform_plan *plan, conform_images *images, bool *out_is_refused) {
    conform_outcome outcome;
    if (!conform_place_and_run(t->pools, t->device, &t->in, plan, images, &outcome, t->result)) return false;
    *out_is_refused = outcome.is_refused;
    if (outcome.status == NLM_OK || outcome.is_refused) return true;
    char told[256];
    snprintf(told, sizeof told, "%.255s", t->result->message);
    return conform_fail(t->result, "claimed as supported, but with %u threads fails: %s: %s", plan->nth,
                        nlm_status_text(outcome.status), told);
}

static const conform_plan whole_plans[] = {
    {.nth = 1, .at_start = false, .sequence = -1},
    {.nth = 2, .at_start = true, .sequence = -1, .is_stale = true},
    {.nth = 3, .at_start = false, .sequence = -1, .is_old_host = true},
    {.nth = 0, .at_start = true, .sequence = -1}, /* as many as the case has, see crowd_of */
};
#define N_WHOLE_PLANS (sizeof whole_plans / sizeof *whole_plans)

/* More workers than most machines have cores; as running them takes long, a case has one number of them. */
static uint32_t crowd_of(const char *name) {
    static const uint32_t crowds[] = {8, 17, 8, 64, 8, 11, 33, 8};
    uint32_t sum = 0;
    for (; *name; name++) sum = 3 * sum + (uint8_t)*name;
    return crowds[sum % (sizeof crowds / sizeof *crowds)];
}

static conform_plan whole_plan(const trial *t, size_t index) {
    conform_plan plan = whole_plans[index];
    if (plan.nth == 0) plan.nth = crowd_of(t->in.c.name);
    plan.layouts = t->layouts;
    plan.is_as_held = t->is_as_held;
    return plan;
}

/* Threads do not matter to a stream device: a run and two others. */
static size_t n_whole_plans(const trial *t) {
    return nlm_device_is_sliced(t->device) ? N_WHOLE_PLANS : 3;
}

/* Another run of the same: the same bits if the device claims so; else as right as the first. */
static bool check_again(trial *t, uint32_t claim, const char *what) {
    if (nlm_device_claims(t->device, claim)) return compare(t, what);
    return conform_judge(&t->in, &t->again, t->activations, t->result);
}

static const char *another_run(trial *t, const conform_plan *plan) {
    if (!nlm_device_is_sliced(t->device)) return "when run again";
    snprintf(t->how, sizeof t->how, "with %u threads", plan->nth);
    return t->how;
}

static bool run_whole(trial *t) {
    bool is_refused;
    for (size_t i = 0; i < n_whole_plans(t); i++) {
        const conform_plan plan = whole_plan(t, i);
        conform_images *images = i == 0 ? &t->first : &t->again;
        reset(t, images);
        if (!run_ok(t, &plan, images, &is_refused)) return false;
        if (i == 0 && (!check_gaps(t) || !conform_judge(&t->in, images, t->activations, t->result))) return false;
        if (i > 0 && !check_again(t, NLM_DEVICE_DETERMINISTIC, another_run(t, &plan))) return false;
    }
    return true;
}

/* Rows [from, to) of sequence s (or of no sequence) alone. */
static bool run_part(trial *t, int64_t sequence, int64_t from, int64_t to, bool *out_is_refused) {
    const conform_plan plan = {.nth = 2,
                               .layouts = t->layouts,
                               .is_as_held = t->is_as_held,
                               .row_from = from,
                               .row_to = to,
                               .sequence = sequence};
    return run_ok(t, &plan, &t->again, out_is_refused);
}

/* Does the next step of a sequence begin where one ended? Not if the op carries nothing on, or has as a result, apart
 * from what it reads, what it writes. */
static bool can_step(const trial *t) {
    bool has_state = false;
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        const bool is_result = (tensor->field->use & NLM_FIELD_OUT) != 0;
        has_state |= tensor->is_state;
        if (tensor->is_state && is_result && tensor->shares < 0) return false;
    }
    return has_state;
}

/* Each sequence by itself, and in three steps: its first token, some, the rest. */
static bool run_sequences(trial *t, bool *out_is_refused) {
    const bool is_stepped = can_step(t);
    int64_t row = 0;
    reset(t, &t->again);
    for (int s = 0; s < t->in.c.n_seqs; s++) {
        const int64_t end = row + t->in.c.seqs[s];
        const int64_t cuts[4] = {row, row + 1, (row + 1 + end) / 2, end};
        if (!is_stepped && !run_part(t, s, row, end, out_is_refused)) return false;
        for (int i = 0; i < 3 && is_stepped; i++) {
            if (cuts[i] >= cuts[i + 1] || cuts[i + 1] > end) continue;
            if (!run_part(t, s, cuts[i], cuts[i + 1], out_is_refused)) return false;
            if (*out_is_refused) return true;
        }
        row = end;
    }
    return true;
}

/* What rows [from, to) were before the op, as the start of a run of them. */
static void reset_rows(trial *t, int64_t from, int64_t to) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        if (!t->again.data[i] || tensor->rows != SPEC_ROWS_TOKENS) continue;
        const int64_t offset = from * tensor->desc.stride_bytes[0], next = to * tensor->desc.stride_bytes[0];
        const int64_t end = next < (int64_t)tensor->bytes ? next : (int64_t)tensor->bytes;
        memcpy(t->again.data[i] + offset, tensor->image + offset, (size_t)(end - offset));
    }
}

static void start_from_first(trial *t) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        if (t->again.data[i]) memcpy(t->again.data[i], t->first.data[i], t->in.tensors[i].bytes);
    }
}

/* Some rows, each by itself; the others stay as the first run left them. */
static bool run_rows(trial *t, bool *out_is_refused) {
    const int64_t rows = t->in.live_rows, picks = rows < 6 ? rows : 6;
    start_from_first(t);
    for (int64_t pick = 0; pick < picks; pick++) {
        const int64_t row = pick * (rows - 1) / (picks > 1 ? picks - 1 : 1);
        reset_rows(t, row, row + 1);
        if (!run_part(t, -1, row, row + 1, out_is_refused)) return false;
        if (*out_is_refused) return true;
    }
    return true;
}

/* All rows in batches of other sizes: those around which kernels for few rows give way to others. */
static bool run_batches(trial *t, bool *out_is_refused) {
    static const int64_t sizes[] = {2, 4, 3, 8, 5, 15, 16, 17, 7, 33, 64, 31, 65, 255};
    const int64_t rows = t->in.live_rows;
    int64_t from = 0;
    start_from_first(t);
    for (size_t i = 0; from < rows; i = (i + 1) % (sizeof sizes / sizeof *sizes)) {
        const int64_t to = from + sizes[i] < rows ? from + sizes[i] : rows;
        reset_rows(t, from, to);
        if (!run_part(t, -1, from, to, out_is_refused)) return false;
        if (*out_is_refused) return true;
        from = to;
    }
    return true;
}

/* What an op adds up over the batch, its parts do not give: that stays as the first run left it. */
static void keep_sums(trial *t) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        if (tensor->is_sum) memcpy(t->again.data[i], t->first.data[i], tensor->bytes);
    }
}

/* Does it make the batch of the next run of this one's? Parts of it are no parts of that. */
static bool makes_next_batch(const trial *t) {
    for (int i = 0; i < t->in.n_tensors; i++) {
        if (t->in.tensors[i].field->use & NLM_FIELD_INPUT) return true;
    }
    return false;
}

static bool run_parts(trial *t) {
    bool is_refused = false;
    if (makes_next_batch(t)) return true;
    if (t->in.has_sequences) {
        if (!run_sequences(t, &is_refused)) return false;
        keep_sums(t);
        return is_refused || check_again(t, NLM_DEVICE_BATCH_INVARIANT, "for a sequence alone or in steps");
    }
    if (t->in.live_rows < 2 || t->in.c.has_odd_strides) return true;
    if (!run_rows(t, &is_refused)) return false;
    keep_sums(t);
    if (!is_refused && !check_again(t, NLM_DEVICE_BATCH_INVARIANT, "for a row alone")) return false;
    if (!run_batches(t, &is_refused)) return false;
    keep_sums(t);
    return is_refused || check_again(t, NLM_DEVICE_BATCH_INVARIANT, "for rows in smaller batches");
}

/* The layout in which the device multiplies with the weight of this op, if it then takes it so here: an embedding
 * may share it with a head, a gradient with the product whose it is. */
static bool finds_shared_layout(trial *t, uint32_t *out) {
    nlm_tensor *w = &spec_find(&t->in, "w")->desc;
    const int64_t n = w->shape[1], rows = w->shape[0];
    const nlm_tensor x = {.dtype = NLM_F32, .rank = 2, .shape = {1, n, 1, 1}, .stride_bytes = {4 * n, 4}};
    const nlm_tensor y = {.dtype = NLM_F32, .rank = 2, .shape = {1, rows, 1, 1}, .stride_bytes = {4 * rows, 4}};
    const nlm_matmul_args args = {.struct_size = sizeof args, .x = &x, .w = w, .y = &y};
    nlm_caps_v1 caps;
    if (nlm_device_query(t->device, NLM_OP_matmul, &args, 1, &caps) != NLM_OK) return false;
    *out = w->layout = caps.weight_layout[0];
    const bool is_taken = nlm_device_query(t->device, t->in.c.op, &t->in.args, 1, &caps) == NLM_OK;
    w->layout = NLM_LAYOUT_ROW_MAJOR;
    return is_taken && *out != NLM_LAYOUT_ROW_MAJOR;
}

static bool run_shared(trial *t) {
    uint32_t layouts[NLM_CAPS_WEIGHTS] = {0};
    const conform_plan plan = {.nth = 2, .layouts = layouts, .sequence = -1};
    bool is_refused;
    const spec_tensor *w = spec_find(&t->in, "w");
    const bool may_share = w && w->field->role & (NLM_ROLE_EMBED | NLM_ROLE_MATMUL) && !t->layouts[0];
    if (!may_share || !finds_shared_layout(t, &layouts[0])) return true;
    reset(t, &t->again);
    return run_ok(t, &plan, &t->again, &is_refused) && conform_judge(&t->in, &t->again, t->activations, t->result);
}

/* The whole once more with weights that are not packed, if the device takes them so. */
static bool run_as_held(trial *t) {
    nlm_caps_v1 caps;
    bool is_packed = false;
    for (int i = 0; i < NLM_CAPS_WEIGHTS; i++) is_packed |= t->layouts[i] != NLM_LAYOUT_ROW_MAJOR;
    if (!is_packed) return true;
    const nlm_status status = nlm_device_query_as_held(t->device, t->in.c.op, &t->in.args, 1, &caps);
    for (int i = 0; i < NLM_CAPS_WEIGHTS && status == NLM_OK; i++) {
        if (caps.weight_layout[i] != NLM_LAYOUT_ROW_MAJOR) return true;
    }
    if (status != NLM_OK) return true;
    t->is_as_held = true;
    memset(t->layouts, 0, sizeof t->layouts);
    return run_whole(t) && run_parts(t);
}

/* A run that must end in INVALID_ARGUMENT with a sentence, and touch nothing beside its buffers. */
static bool run_bad(trial *t) {
    for (size_t i = 0; i < n_whole_plans(t); i++) {
        conform_outcome outcome;
        const conform_plan plan = whole_plan(t, i);
        reset(t, &t->first);
        t->result->message[0] = 0;
        if (!conform_place_and_run(t->pools, t->device, &t->in, &plan, &t->first, &outcome, t->result)) return false;
        if (outcome.status != NLM_INVALID_ARGUMENT) {
            char told[256];
            snprintf(told, sizeof told, "%.255s", t->result->message);
            return conform_fail(t->result, "expected an invalid argument, got: %s%s%s",
                                nlm_status_text(outcome.status), told[0] ? ": " : "", told);
        }
        if (!t->result->message[0])
            return conform_fail(t->result, "an invalid argument, but no sentence that says which");
    }
    return true;
}

/* ---- planning ---- */

/* What the op could never be run with. */
static void spoil(spec_instance *in) {
    nlm_tensor *first = &in->tensors[0].desc;
    nlm_tensor *last = NULL; /* the first output with several rows */
    for (int i = in->n_tensors - 1; i >= 0; i--) {
        if (in->tensors[i].is_written && in->tensors[i].desc.rank > 1) last = &in->tensors[i].desc;
    }
    switch (in->c.refuse) {
        case SPEC_REFUSE_flags: in->args.head.flags |= 1u << 30; break;
        case SPEC_REFUSE_appended:
            in->args.head.struct_size += 8;
            in->args.head.flags |= 1u << 30;
            break;
        case SPEC_REFUSE_size: in->args.head.struct_size = in->c.spec->args_bytes - 8; break;
        case SPEC_REFUSE_missing: nlm_args_set_tensor(&in->args, in->tensors[0].field, NULL); break;
        case SPEC_REFUSE_type: first->dtype = 99; break;
        case SPEC_REFUSE_rank: first->rank = 0; break;
        case SPEC_REFUSE_layout: first->layout = 0x7A7A7A7A; break;
        case SPEC_REFUSE_shape: first->shape[0]++; break;
        case SPEC_REFUSE_overlap: last->stride_bytes[0] = 0; break;
        default: break;
    }
}

/* The device's own answer, as it gives it. */
static bool ask(trial *t, nlm_caps_v1 *caps) {
    *caps = (nlm_caps_v1){.struct_size = sizeof *caps};
    if (!nlm_ops_has(&t->device->ops, t->in.c.op)) {
        t->result->verdict = CONFORM_UNSUPPORTED;
        snprintf(t->result->message, sizeof t->result->message, "the device has no such op");
        return false;
    }
    const nlm_status status = t->device->api.query(t->device->api.self, t->in.c.op, &t->in.args, 1, caps);
    if (status == NLM_OK) return true;
    if (status != NLM_UNSUPPORTED) return conform_fail(t->result, "query answers %s", nlm_status_text(status));
    if (!memchr(caps->reason, 0, sizeof caps->reason)) return conform_fail(t->result, "query's reason has no end");
    if (!caps->reason[0]) return conform_fail(t->result, "not supported, but no reason is given");
    t->result->verdict = CONFORM_UNSUPPORTED;
    snprintf(t->result->message, sizeof t->result->message, "%s", caps->reason);
    return false;
}

/* Whether the device takes the case; data is not there yet, as when a graph is planned. */
static bool plan_case(trial *t) {
    nlm_caps_v1 caps;
    for (int i = 0; i < t->in.n_tensors; i++) t->in.tensors[i].desc.data = NULL;
    const bool is_taken = ask(t, &caps);
    for (int i = 0; i < t->in.n_tensors; i++) {
        const spec_tensor *tensor = &t->in.tensors[i];
        t->in.tensors[i].desc.data = tensor->shares >= 0 ? t->in.tensors[tensor->shares].image : tensor->image;
    }
    memcpy(t->layouts, caps.weight_layout, sizeof t->layouts);
    return is_taken;
}

static bool check_refusal(trial *t) {
    spoil(&t->in);
    if (!plan_case(t)) {
        if (t->result->verdict == CONFORM_UNSUPPORTED) t->result->verdict = CONFORM_PASSED;
        return t->result->verdict == CONFORM_PASSED;
    }
    return conform_fail(t->result, "query accepts arguments that cannot run");
}

/* Enqueued, then recorded and launched: the same bits if the device claims so. */
static bool run_replayed(trial *t) {
    conform_plan plan = {.nth = 1, .layouts = t->layouts, .sequence = -1};
    bool is_refused;
    reset(t, &t->first);
    reset(t, &t->again);
    if (!run_ok(t, &plan, &t->first, &is_refused)) return false;
    plan.is_recorded = true;
    if (!run_ok(t, &plan, &t->again, &is_refused)) return false;
    if (!is_refused) return check_again(t, NLM_DEVICE_REPLAY_EXACT, "when replayed");
    t->result->verdict = CONFORM_UNSUPPORTED;
    return false;
}

static bool run_trial(trial *t) {
    if (!plan_case(t)) return false;
    if (t->is_replayed) return prepare_images(t) && run_replayed(t);
    if (t->in.c.refuse != SPEC_REFUSE_nothing) return check_refusal(t);
    if (!prepare_images(t)) return false;
    if (t->in.c.bad != SPEC_BAD_none) return run_bad(t);
    if (!run_whole(t) || !run_parts(t) || !run_shared(t)) return false;
    return conform_check_decomposition(t->pools, t->device, &t->in, &t->first, t->activations, t->result) &&
           run_as_held(t);
}

static void run_named(trial *t, const conform_options *options, const char *name) {
    nlm_error err = NLM_ERROR_INIT;
    spec_case c;
    t->result->verdict = CONFORM_NOT_RUN;
    if (spec_parse(name, &c, &err) != NLM_OK || spec_build(&c, (uint64_t)options->seed, &t->in, &err) != NLM_OK) {
        conform_fail(t->result, "%s", err.msg);
        return;
    }
    const bool is_run = !t->is_replayed || (c.bad == SPEC_BAD_none && c.refuse == SPEC_REFUSE_nothing);
    if (!is_run) {
        t->result->verdict = CONFORM_UNSUPPORTED;
    } else if (run_trial(t)) {
        t->result->verdict = CONFORM_PASSED;
        t->result->message[0] = 0;
    }
    release(t);
}

void conform_run_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                      const char *name, conform_result *result) {
    trial t = {.pools = pools, .device = device, .activations = options->activations, .result = result};
    run_named(&t, options, name);
}

bool conform_replay_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                         const char *name, conform_result *result) {
    trial t = {.pools = pools, .device = device, .activations = options->activations, .result = result};
    t.is_replayed = true;
    if (nlm_device_can_capture(device)) {
        run_named(&t, options, name);
    } else {
        result->verdict = CONFORM_UNSUPPORTED;
        snprintf(result->message, sizeof result->message, "%s", NLM_CAPTURE_EXTENSION);
    }
    return result->verdict == CONFORM_PASSED;
}
