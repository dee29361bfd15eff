/* Planning, filling and running the programs of a model; a bucket is a power of two of rows and of outputs. */
#include "session/programs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "base/status.h"
#include "session/chain.h"

#define N_BUCKETS 10 /* 1, 2, 4, ... 512 rows */

/* From this many rows on a larger program that exists is as good as one of the right size: on a device whose slots
 * know the live rows. What another device does may go by the size of the program, padding and all. */
#define SHARED_FROM 16

typedef struct bucket_program {
    nlm_program *program;
    nlm_graph_io io;
    nlm_value
        next; /* [n_outputs] i32: the greatest logit of each, where logits are far from the host; else NO_VALUE */
    int32_t n_seqs;
    uint64_t activation_bytes;
} bucket_program;

struct nlm_programs {
    nlm_programs_options options;
    int32_t n_vocab;
    bucket_program buckets[N_BUCKETS][N_BUCKETS]; /* [rows][outputs], each a power of two */
    nlm_chain *chains[2];                         /* of any choices, and of greedy ones */
    bool has_tried[2];                            /* to make them */
    /* of the latest run */
    const bucket_program *last;
    nlm_batch_result result;
    bool has_logits; /* on the host */
};

static int bucket_of(int32_t rows) {
    int bucket = 0;
    while ((1 << bucket) < rows) bucket++;
    return bucket;
}

/* ---- planning ----------------------------------------------------------------------------- */

static nlm_status plan(nlm_programs *programs, const nlm_graph_dims *dims, bucket_program *out, nlm_error *err) {
    const nlm_programs_options *o = &programs->options;
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = (o->gives_hidden ? nlm_model_build_hidden : nlm_model_build)(o->model, o->states->cache, dims,
                                                                                     graph, &out->io, err);
    out->next = NLM_NO_VALUE;
    if (status == NLM_OK && !o->gives_hidden && !nlm_device_has_host_memory(o->env->devices[0])) {
        out->next = nlm_graph_argmax(graph, out->io.logits, NLM_ARGMAX_FINITE);
        nlm_graph_output(graph, out->next);
    }
    if (status == NLM_OK) status = nlm_graph_plan(graph, o->env, &out->program, err);
    nlm_graph_destroy(graph);
    if (status != NLM_OK) return status;
    out->n_seqs = dims->n_seqs;
    out->activation_bytes = nlm_program_activation_bytes(out->program);
    return NLM_OK;
}

/* A program for at least this many rows and outputs. */
static nlm_status find_program(nlm_programs *programs, int32_t rows, int32_t outputs, bucket_program **out,
                               nlm_error *err) {
    const int row_bucket = bucket_of(rows), output_bucket = bucket_of(outputs);
    bucket_program *exact = &programs->buckets[row_bucket][output_bucket];
    *out = exact;
    if (exact->program) return NLM_OK;
    const bool is_shared = rows >= SHARED_FROM && nlm_device_has_host_memory(programs->options.env->devices[0]);
    for (int i = row_bucket + 1; is_shared && i < N_BUCKETS; i++) {
        *out = &programs->buckets[i][output_bucket];
        if ((*out)->program) return NLM_OK;
    }
    *out = exact;
    const int32_t n_tokens = 1 << row_bucket;
    const int32_t n_slots = programs->options.states->cache->options.n_slots;
    const nlm_graph_dims dims = {
        .n_tokens = n_tokens, .n_seqs = n_tokens < n_slots ? n_tokens : n_slots, .n_outputs = 1 << output_bucket};
    return plan(programs, &dims, exact, err);
}

nlm_status nlm_programs_create(const nlm_programs_options *options, nlm_programs **out, nlm_error *err) {
    *out = NULL;
    if (options->max_rows < 1 || options->max_rows > NLM_MAX_ROWS ||
        !nlm_is_power_of_two((uint64_t)options->max_rows)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_programs_create",
                        "%d rows a batch; expected a power of two up to %d", options->max_rows, NLM_MAX_ROWS);
    }
    nlm_programs *programs = calloc(1, sizeof *programs);
    if (!programs) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_programs_create", "no memory for programs");
    programs->options = *options;
    programs->n_vocab = nlm_model_hparams(options->model)->n_vocab;
    bucket_program *single;
    const nlm_status status = find_program(programs, 1, 1, &single, err);
    if (status != NLM_OK) {
        nlm_programs_destroy(programs);
        return status;
    }
    *out = programs;
    return NLM_OK;
}

void nlm_programs_destroy(nlm_programs *programs) {
    if (!programs) return;
    nlm_chain_destroy(programs->chains[0]);
    nlm_chain_destroy(programs->chains[1]);
    for (int i = 0; i < N_BUCKETS; i++) {
        for (int j = 0; j < N_BUCKETS; j++) {
            if (programs->buckets[i][j].program) nlm_program_destroy(programs->buckets[i][j].program);
        }
    }
    free(programs);
}

int32_t nlm_programs_max_rows(const nlm_programs *programs) {
    return programs->options.max_rows;
}

uint64_t nlm_programs_activation_bytes(const nlm_programs *programs) {
    uint64_t bytes =
        nlm_chain_activation_bytes(programs->chains[0]) + nlm_chain_activation_bytes(programs->chains[1]);
    for (int i = 0; i < N_BUCKETS; i++) {
        for (int j = 0; j < N_BUCKETS; j++) bytes += programs->buckets[i][j].activation_bytes;
    }
    return bytes;
}

bool nlm_programs_knows_chain(const nlm_programs *programs, bool is_greedy) {
    return programs->has_tried[is_greedy];
}

struct nlm_chain *nlm_programs_find_chain(nlm_programs *programs, bool is_greedy) {
    nlm_chain **chain = &programs->chains[is_greedy];
    nlm_error cause = NLM_ERROR_INIT;
    if (*chain || programs->has_tried[is_greedy]) return *chain;
    programs->has_tried[is_greedy] = true;
    if (!nlm_chain_may_be(&programs->options)) return NULL;
    if (nlm_chain_create(&programs->options, is_greedy, chain, &cause) != NLM_OK) {
        nlm_log(NLM_LOG_WARN, "tokens are computed one by one, none ahead: %s", cause.msg);
    }
    return *chain;
}

/* ---- running ------------------------------------------------------------------------------ */

typedef struct batch_inputs {
    int32_t *ids, *pos, *seq_start, *slot, *block_table, *outputs;
} batch_inputs;

static batch_inputs inputs_of(const bucket_program *p) {
    return (batch_inputs){.ids = nlm_program_input(p->program, p->io.ids),
                          .pos = nlm_program_input(p->program, p->io.batch.pos),
                          .seq_start = nlm_program_input(p->program, p->io.batch.seq_start),
                          .slot = nlm_program_input(p->program, p->io.batch.slot),
                          .block_table = nlm_program_input(p->program, p->io.batch.block_table),
                          .outputs = nlm_program_input(p->program, p->io.outputs)};
}

static void copy_block_row(const nlm_programs *programs, const batch_inputs *in, int32_t slot) {
    const nlm_states *states = programs->options.states;
    if (!states->pages || !in->block_table) return;
    const size_t n_blocks = (size_t)states->cache->options.n_blocks;
    memcpy(in->block_table + (size_t)slot * n_blocks, nlm_states_blocks(states, slot), n_blocks * sizeof(int32_t));
}

/* Writes the inputs of a run; rows past the live ones keep what they hold. */
static void fill_inputs(const nlm_programs *programs, const bucket_program *p, const nlm_batch_item *items,
                        int32_t n_items) {
    const batch_inputs in = inputs_of(p);
    int32_t row = 0, output = 0;
    for (int32_t s = 0; s < n_items; s++) {
        const nlm_batch_item *item = &items[s];
        in.seq_start[s] = row;
        in.slot[s] = item->slot;
        copy_block_row(programs, &in, item->slot);
        for (int32_t i = 0; i < item->n; i++, row++) {
            in.ids[row] = item->ids[i];
            in.pos[row] = item->pos + i;
        }
        for (int32_t i = item->n_outputs; i > 0; i--) in.outputs[output++] = row - i;
    }
    for (int32_t s = n_items; s <= p->n_seqs; s++) in.seq_start[s] = row;
}

/* An exponent of all ones is an infinity or a NaN. */
static bool is_finite_row(const float *row, int32_t n) {
    uint32_t has_other = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        has_other |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return has_other == 0;
}

static nlm_status fail_row(const nlm_programs *programs, const float *row, const nlm_batch_item *item, int32_t at,
                           nlm_error *err) {
    int32_t token = 0;
    while (isfinite(row[token])) token++;
    const char *cause = "the weights are damaged or the backend is at fault";
    if (nlm_states_hold_infinity(programs->options.states, item->slot, item->pos + item->n))
        cause = "a key or a value is beyond f16, the type of the KV cache: set the KV type to f32 (--kv-type f32)";
    return nlm_fail(err, NLM_NUMERIC, nlm_gguf_path(nlm_model_gguf(programs->options.model)),
                    "the logit of token %d after position %d is %f, computed by backend %s: %s", token,
                    item->pos + at, (double)row[token], programs->options.env->devices[0]->backend, cause);
}

nlm_status nlm_programs_fetch(nlm_programs *programs, nlm_error *err) {
    if (programs->has_logits) return NLM_OK;
    const bucket_program *p = programs->last;
    const void *logits = NULL;
    NLM_TRY(nlm_program_fetch(p->program, p->io.logits, &logits, err));
    programs->has_logits = true;
    return NLM_OK;
}

nlm_status nlm_programs_check_rows(nlm_programs *programs, const nlm_batch_item *item, int32_t first_row,
                                   nlm_error *err) {
    for (int32_t i = 0; i < item->n_outputs; i++) {
        const int32_t row = first_row + i;
        const float *logits = programs->result.logits + (size_t)row * (size_t)programs->n_vocab;
        if (programs->result.next) {
            if (programs->result.next[row] >= 0) continue;
            NLM_TRY(nlm_programs_fetch(programs, err));
        }
        if (is_finite_row(logits, programs->n_vocab)) continue;
        return fail_row(programs, logits, item, item->n - item->n_outputs + i, err);
    }
    return NLM_OK;
}

nlm_status nlm_programs_run(nlm_programs *programs, const nlm_batch_item *items, int32_t n_items, bool wants_logits,
                            const nlm_batch_result **out, nlm_error *err) {
    int32_t rows = 0, outputs = 0, max_context = 0;
    for (int32_t s = 0; s < n_items; s++) {
        if (items[s].pos + items[s].n > max_context) max_context = items[s].pos + items[s].n;
        rows += items[s].n;
        outputs += items[s].n_outputs;
    }
    if (rows < 1 || rows > programs->options.max_rows || outputs < n_items || outputs > rows) {
        return nlm_fail(err, NLM_INTERNAL, "nlm_programs_run", "a batch of %d rows with %d outputs; at most %d rows",
                        rows, outputs, programs->options.max_rows);
    }
    bucket_program *p;
    NLM_TRY(find_program(programs, rows, outputs, &p, err));
    fill_inputs(programs, p, items, n_items);
    const int32_t live_rows[NLM_ROWS_KINDS] = {
        [NLM_ROWS_TOKENS] = rows, [NLM_ROWS_OUTPUTS] = outputs, [NLM_ROWS_SEQS] = n_items};
    const int32_t picked[] = {p->next, p->io.logits};
    const nlm_run_info info = {.live_rows = live_rows,
                               .max_context = max_context,
                               .outputs = picked,
                               .n_outputs = wants_logits ? 2 : 1,
                               .picks_outputs = p->next != NLM_NO_VALUE};
    programs->last = p;
    programs->has_logits = wants_logits || !info.picks_outputs;
    NLM_TRY(nlm_program_run(p->program, &info, err));
    programs->result.logits = nlm_program_output(p->program, p->io.logits);
    programs->result.next = nlm_program_output(p->program, p->next);
    *out = &programs->result;
    return NLM_OK;
}
