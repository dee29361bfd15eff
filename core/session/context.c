#include "session/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/log.h"
#include "base/status.h"

#define N_BUCKETS 10 /* 1, 2, 4, ... 512 rows */

/* From this many rows on a larger program that exists is as good as one of the right size. */
#define SHARED_FROM 16

typedef struct bucket_program {
    nlm_program *program;
    nlm_graph_io io;
    int32_t n_seqs;
    uint64_t activation_bytes;
} bucket_program;

struct nlm_context {
    nlm_context_options options;
    int32_t n_vocab;
    bucket_program programs[N_BUCKETS][N_BUCKETS]; /* [rows][outputs], each a power of two */
};

static int bucket_of(int32_t rows) {
    int bucket = 0;
    while ((1 << bucket) < rows) bucket++;
    return bucket;
}

/* ---- planning ----------------------------------------------------------------------------- */

static nlm_status plan(nlm_context *context, const nlm_graph_dims *dims, bucket_program *out, nlm_error *err) {
    const nlm_context_options *o = &context->options;
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_model_build(o->model, o->cache, dims, graph, &out->io, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, o->env, &out->program, err);
    nlm_graph_destroy(graph);
    if (status != NLM_OK) return status;
    out->n_seqs = dims->n_seqs;
    out->activation_bytes = nlm_program_activation_bytes(out->program);
    return NLM_OK;
}

/* A program for at least this many rows and outputs. */
static nlm_status find_program(nlm_context *context, int32_t rows, int32_t outputs, bucket_program **out,
                               nlm_error *err) {
    const int row_bucket = bucket_of(rows), output_bucket = bucket_of(outputs);
    bucket_program *exact = &context->programs[row_bucket][output_bucket];
    *out = exact;
    if (exact->program) return NLM_OK;
    for (int i = row_bucket + 1; rows >= SHARED_FROM && i < N_BUCKETS; i++) {
        *out = &context->programs[i][output_bucket];
        if ((*out)->program) return NLM_OK;
    }
    *out = exact;
    const int32_t n_tokens = 1 << row_bucket;
    const int32_t n_slots = context->options.cache->options.n_slots;
    const nlm_graph_dims dims = {
        .n_tokens = n_tokens, .n_seqs = n_tokens < n_slots ? n_tokens : n_slots, .n_outputs = 1 << output_bucket};
    return plan(context, &dims, exact, err);
}

nlm_status nlm_context_create(const nlm_context_options *options, nlm_context **out, nlm_error *err) {
    *out = NULL;
    if (options->max_rows < 1 || options->max_rows > NLM_CONTEXT_MAX_ROWS ||
        !nlm_is_power_of_two((uint64_t)options->max_rows)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_context_create",
                        "%d rows a batch; expected a power of two up to %d", options->max_rows, NLM_CONTEXT_MAX_ROWS);
    }
    nlm_context *context = calloc(1, sizeof *context);
    if (!context) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_context_create", "no memory for a context");
    context->options = *options;
    context->n_vocab = nlm_model_hparams(options->model)->n_vocab;
    bucket_program *single;
    const nlm_status status = find_program(context, 1, 1, &single, err);
    if (status != NLM_OK) {
        nlm_context_destroy(context);
        return status;
    }
    *out = context;
    return NLM_OK;
}

void nlm_context_destroy(nlm_context *context) {
    if (!context) return;
    for (int i = 0; i < N_BUCKETS; i++) {
        for (int j = 0; j < N_BUCKETS; j++) {
            if (context->programs[i][j].program) nlm_program_destroy(context->programs[i][j].program);
        }
    }
    free(context);
}

int32_t nlm_context_max_rows(const nlm_context *context) {
    return context->options.max_rows;
}

uint64_t nlm_context_activation_bytes(const nlm_context *context) {
    uint64_t bytes = 0;
    for (int i = 0; i < N_BUCKETS; i++) {
        for (int j = 0; j < N_BUCKETS; j++) bytes += context->programs[i][j].activation_bytes;
    }
    return bytes;
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

static void copy_block_row(const nlm_context *context, const batch_inputs *in, int32_t slot) {
    if (!context->options.pages || !in->block_table) return;
    const size_t n_blocks = (size_t)context->options.cache->options.n_blocks;
    const size_t from = (size_t)slot * n_blocks;
    memcpy(in->block_table + from, nlm_kv_pages_table(context->options.pages) + from, n_blocks * sizeof(int32_t));
}

/* Writes the inputs of a run; rows past the live ones keep what they hold. */
static void fill_inputs(const nlm_context *context, const bucket_program *p, const nlm_batch_item *items,
                        int32_t n_items) {
    const batch_inputs in = inputs_of(p);
    int32_t row = 0, output = 0;
    for (int32_t s = 0; s < n_items; s++) {
        const nlm_batch_item *item = &items[s];
        in.seq_start[s] = row;
        in.slot[s] = item->slot;
        copy_block_row(context, &in, item->slot);
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

static nlm_status fail_row(const nlm_context *context, const float *row, const nlm_batch_item *item, int32_t at,
                           nlm_error *err) {
    int32_t token = 0;
    while (isfinite(row[token])) token++;
    return nlm_fail(
        err, NLM_NUMERIC, nlm_gguf_path(nlm_model_gguf(context->options.model)),
        "the logit of token %d after position %d is %f, computed by backend %s: the weights are damaged or "
        "the backend is at fault",
        token, item->pos + at, (double)row[token], context->options.env->devices[0]->backend);
}

static nlm_status check_logits(const nlm_context *context, const float *logits, const nlm_batch_item *items,
                               int32_t n_items, nlm_error *err) {
    const float *row = logits;
    for (int32_t s = 0; s < n_items; s++) {
        for (int32_t i = items[s].n - items[s].n_outputs; i < items[s].n; i++, row += context->n_vocab) {
            if (!is_finite_row(row, context->n_vocab)) return fail_row(context, row, &items[s], i, err);
        }
    }
    return NLM_OK;
}

nlm_status nlm_context_run(nlm_context *context, const nlm_batch_item *items, int32_t n_items,
                           const float **out_logits, nlm_error *err) {
    int32_t rows = 0, outputs = 0;
    for (int32_t s = 0; s < n_items; s++) {
        rows += items[s].n;
        outputs += items[s].n_outputs;
    }
    if (rows < 1 || rows > context->options.max_rows || outputs < n_items || outputs > rows) {
        return nlm_fail(err, NLM_INTERNAL, "nlm_context_run", "a batch of %d rows with %d outputs; at most %d rows",
                        rows, outputs, context->options.max_rows);
    }
    bucket_program *p;
    NLM_TRY(find_program(context, rows, outputs, &p, err));
    fill_inputs(context, p, items, n_items);
    const int32_t live_rows[NLM_ROWS_KINDS] = {
        [NLM_ROWS_TOKENS] = rows, [NLM_ROWS_OUTPUTS] = outputs, [NLM_ROWS_SEQS] = n_items};
    NLM_TRY(nlm_program_run(p->program, live_rows, err));
    const float *logits = nlm_program_output(p->program, p->io.logits);
    NLM_TRY(check_logits(context, logits, items, n_items, err));
    *out_logits = logits;
    return NLM_OK;
}
