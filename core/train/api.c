/* nlm/train.h on the trainer. */
#include <nlm/train.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/gguf.h"
#include "model/presets.h"
#include "session/compute.h"
#include "session/engine.h"
#include "session/options.h"
#include "tensor/dtype.h"
#include "text/tokenizer_json.h"
#include "train/checkpoint.h"
#include "train/sizes.h"

/* Checkpoints of a program are told apart by the model alone. */
#define RUN "nlm/train.h"

#define MAX_TOKENS 2048 /* of a batch, if nothing is said */

struct nlm_training {
    nlm_engine *engine;
    nlm_model *model;
    nlm_trainer *trainer;
    bool is_new;
    uint64_t bytes;         /* of the engine's memory limit */
    nlm_train_batch *parts; /* [n_parts], grown as steps need them */
    size_t n_parts;
    nlm_ending ending;
};

/* ---- making one ------------------------------------------------------------------------------------ */

static uint32_t or_u32(uint32_t value, uint32_t fallback) {
    return value ? value : fallback;
}
static double or_f64(double value, double fallback) {
    return value != 0 ? value : fallback;
}

static nlm_status describe_sizes(const nlm_training_options *o, nlm_preset *out, nlm_error *err) {
    const nlm_sizes sizes = {.architecture = o->architecture,
                             .n_embd = o->n_embd,
                             .n_layer = o->n_layer,
                             .n_head = o->n_head,
                             .n_head_kv = o->n_head_kv,
                             .n_ff = o->n_ff,
                             .d_state = o->d_state,
                             .d_conv = o->d_conv,
                             .dt_rank = o->dt_rank,
                             .n_ctx = or_u32(o->n_ctx, or_u32(o->max_tokens, MAX_TOKENS)),
                             .is_untied = (o->flags & NLM_TRAINING_UNTIED) != 0};
    return nlm_sizes_describe(&sizes, out, err);
}

static nlm_status open_new(const nlm_training_options *o, nlm_gguf **out, nlm_error *err) {
    const nlm_preset *known = o->preset ? nlm_preset_find(o->preset) : NULL;
    nlm_preset sized;
    if (o->architecture && !o->preset && o->vocabulary) {
        NLM_TRY(describe_sizes(o, &sized, err));
        known = &sized;
    }
    if (!known || !o->vocabulary) {
        return nlm_fail(
            err, o->preset && !known ? NLM_NOT_FOUND : NLM_INVALID_ARGUMENT, "nlm_training_create",
            "preset is %s, architecture %s and vocabulary %s: expected a file to go on from (path), or a vocabulary "
            "and a known preset or an architecture",
            o->preset ? o->preset : "NULL", o->architecture ? o->architecture : "NULL",
            o->vocabulary ? o->vocabulary : "NULL");
    }
    nlm_gguf *vocabulary = NULL;
    NLM_TRY(nlm_tokenizer_open_metadata(o->vocabulary, false, &vocabulary, err));
    const nlm_status status = nlm_preset_gguf_with(known, NLM_F32, vocabulary, out, err);
    nlm_gguf_close(vocabulary);
    return status;
}

/* What is said of a new model besides its sizes, or of one of a file. */
static nlm_status check_model(const nlm_training_options *o, nlm_error *err) {
    const bool is_untied = (o->flags & NLM_TRAINING_UNTIED) != 0;
    if (!o->path && o->lora_rank > 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_create",
                        "lora_rank is %u without a path: adapters stand beside a model that has learned something",
                        o->lora_rank);
    }
    if (!o->architecture && !is_untied) return NLM_OK;
    if (o->architecture && !o->path && !o->preset) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_create",
                    "architecture is %s and flags 0x%x, beside %s '%s': these are of a new model of sizes of its own",
                    o->architecture ? o->architecture : "NULL", o->flags, o->path ? "path" : "preset",
                    o->path     ? o->path
                    : o->preset ? o->preset
                                : "NULL");
}

#define FLAGS (uint32_t)(NLM_TRAINING_RECOMPUTE | NLM_TRAINING_UNTIED | NLM_TRAINING_RECOMPUTE_UP)

static nlm_recompute recompute_of(uint32_t flags) {
    if (flags & NLM_TRAINING_RECOMPUTE) return NLM_RECOMPUTE_LAYERS;
    return flags & NLM_TRAINING_RECOMPUTE_UP ? NLM_RECOMPUTE_UP : NLM_RECOMPUTE_CHEAP;
}

static nlm_status translate(const nlm_training_options *o, nlm_trainer_options *out, nlm_error *err) {
    const nlm_dtype_info *type = nlm_dtype_from_name(o->type ? o->type : "f32");
    const uint32_t tokens = or_u32(o->max_tokens, MAX_TOKENS), seqs = or_u32(o->max_seqs, tokens < 16 ? tokens : 16);
    if (!type || o->flags & ~FLAGS || tokens > 1u << 28 || seqs > tokens || o->lora_rank > 65536 || o->schedule < 0 ||
        o->schedule > NLM_SCHEDULED_WSD) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, "nlm_training_create",
            "type %s, flags 0x%x, schedule %d, lora_rank %u, batches of %u tokens in %u sequences: one of "
            "them is out of range",
            o->type ? o->type : "f32", o->flags, o->schedule, o->lora_rank, tokens, seqs);
    }
    if (o->reserved || o->reserved2 || o->reserved3)
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_create", "reserved fields are not 0");
    NLM_TRY(check_model(o, err));
    *out = (nlm_trainer_options){
        .shape = {.rows = 1, .length = (int32_t)tokens, .max_seqs = (int32_t)seqs},
        .parameters = {.dtype = type->dtype,
                       .lora_rank = (int32_t)o->lora_rank,
                       .lora_alpha = (float)or_f64((double)o->lora_alpha, 2.0 * o->lora_rank)},
        .recompute = recompute_of(o->flags),
        .is_new = o->path == NULL,
        .n_lanes = (int32_t)(o->n_lanes < INT32_MAX ? o->n_lanes : INT32_MAX),
        .seed = o->seed,
        .loss = {o->label_smoothing, o->z_loss},
        .optimizer = {(float)or_f64((double)o->beta1, 0.9), (float)or_f64((double)o->beta2, 0.95),
                      (float)or_f64((double)o->eps, 1e-8), o->weight_decay},
        .clip_norm = o->clip_norm,
        .accumulates = o->n_batches > 1,
        .schedule = {.kind = (nlm_schedule_kind)o->schedule,
                     .rate = or_f64(o->learning_rate, 1e-3),
                     .floor = o->floor,
                     .steps = o->steps ? o->steps : 1000,
                     .warmup = o->warmup_steps,
                     .decay = o->decay_steps}};
    return NLM_OK;
}

static void free_training(nlm_training *t) {
    nlm_trainer_destroy(t->trainer);
    nlm_model_close(t->model);
    for (size_t i = 0; i < t->n_parts; i++) free(t->parts[i].ids);
    free(t->parts);
    free(t);
}

static void end_training(nlm_ending *ending) {
    nlm_training *t = (nlm_training *)((char *)ending - offsetof(nlm_training, ending));
    t->engine->gate.n_users--;
    nlm_engine_give_memory(t->engine, t->bytes);
    free_training(t);
}

static uint64_t memory_of(const nlm_training *t) {
    nlm_trainer_memory m;
    nlm_trainer_memory_of(t->trainer, &m);
    return m.parameters + m.gradients + m.optimizer + m.states + m.activations;
}

/* What it has is known once it is planned, and most of it is not touched before the first step. */
static nlm_status count_memory(nlm_training *t, nlm_error *err) {
    const uint64_t bytes = memory_of(t);
    NLM_TRY(nlm_engine_take_memory(t->engine, bytes, "nlm_training_create", err));
    t->bytes = bytes;
    return NLM_OK;
}

/* Steps of several batches need a gradient for each parameter beside what there is: it is asked for before anything
 * is planned, and afterwards what they need is known. */
static nlm_status make_room(nlm_training *t, size_t n_batches, nlm_error *err) {
    uint64_t more = 0;
    if (n_batches > 1 && !nlm_trainer_accumulates(t->trainer)) {
        more = nlm_parameters_elements(nlm_trainer_parameters(t->trainer)) * sizeof(float);
        NLM_TRY(nlm_engine_take_memory(t->engine, more, "nlm_training_step", err));
    }
    nlm_status status = nlm_trainer_make_room(t->trainer, (int32_t)n_batches, err);
    const uint64_t taken = t->bytes + more, needed = status == NLM_OK ? memory_of(t) : t->bytes;
    t->bytes = needed;
    if (needed <= taken) {
        nlm_engine_give_memory(t->engine, taken - needed);
    } else if ((status = nlm_engine_take_memory(t->engine, needed - taken, "nlm_training_step", err)) != NLM_OK) {
        t->bytes = taken;
    }
    return status;
}

static nlm_status open_training(nlm_training *t, const nlm_training_options *o, nlm_error *err) {
    nlm_trainer_options options;
    nlm_gguf *gguf = NULL;
    NLM_TRY(translate(o, &options, err));
    NLM_TRY(o->path ? nlm_gguf_open(o->path, &gguf, err) : open_new(o, &gguf, err));
    NLM_TRY(nlm_model_take_gguf(gguf, &t->model, err));
    NLM_TRY(nlm_trainer_create(&t->engine->env, t->model, &options, &t->trainer, err));
    return count_memory(t, err);
}

nlm_status nlm_training_create(nlm_engine *engine, const nlm_training_options *options, nlm_training **out_training,
                               nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(out_training, error);
    *out_training = NULL;
    nlm_training_options own = {0};
    NLM_TRY(nlm_take_options(&own, sizeof own, options, "nlm_training_options", error));
    NLM_ENTER(&engine->gate, error);
    NLM_TRY(nlm_engine_settle_logits(engine, error)); /* planning may move the memory of results */
    nlm_training *t = calloc(1, sizeof *t);
    if (!t) return nlm_fail(error, NLM_OUT_OF_MEMORY, "nlm_training_create", "no memory");
    t->engine = engine;
    t->is_new = own.path == NULL;
    t->ending.end = end_training;
    const nlm_status status = open_training(t, &own, error);
    if (status != NLM_OK) {
        free_training(t);
        return status;
    }
    engine->gate.n_users++;
    *out_training = t;
    return NLM_OK;
}

void nlm_training_destroy(nlm_training *training) {
    if (training) nlm_gate_end(&training->engine->gate, &training->ending);
}

nlm_status nlm_training_describe(const nlm_training *training, nlm_training_info *out_info, nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(out_info, error);
    nlm_trainer_memory m;
    nlm_trainer_memory_of(training->trainer, &m);
    const nlm_training_info info = {
        .n_vocab = (uint32_t)nlm_model_hparams(training->model)->n_vocab,
        .steps = nlm_trainer_steps(training->trainer),
        .n_parameters = nlm_parameters_elements(nlm_trainer_parameters(training->trainer)),
        .parameter_bytes = m.parameters,
        .gradient_bytes = m.gradients,
        .optimizer_bytes = m.optimizer,
        .activation_bytes = m.activations + m.states};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_training_info", error);
}

/* ---- batches ------------------------------------------------------------------------------------------ */

static nlm_status make_parts(nlm_training *t, size_t n, nlm_error *err) {
    if (n <= t->n_parts) return NLM_OK;
    const nlm_batch_shape *shape = &nlm_trainer_options_of(t->trainer)->shape;
    nlm_train_batch *parts = realloc(t->parts, n * sizeof *parts);
    if (!parts) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_training_step", "no memory for %zu batches", n);
    t->parts = parts;
    const size_t tokens = (size_t)shape->length;
    for (; t->n_parts < n; t->n_parts++) {
        int32_t *memory = calloc(3 * (tokens + (size_t)shape->max_seqs) + 1, sizeof *memory);
        if (!memory) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_training_step", "no memory for %zu batches", n);
        parts[t->n_parts] = (nlm_train_batch){
            .ids = memory, .labels = memory + tokens, .pos = memory + 2 * tokens, .seq_start = memory + 3 * tokens};
    }
    return NLM_OK;
}

static nlm_status check_token(const nlm_training *t, const char *what, size_t index, int32_t id, nlm_error *err) {
    const int32_t n_vocab = nlm_model_hparams(t->model)->n_vocab;
    const bool is_label = what[0] == 'l';
    if (id < n_vocab && (is_label || id >= 0)) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_batch", "%s[%zu] is %d; the vocabulary has %d entries",
                    what, index, id, n_vocab);
}

/* Lanes are the trainer's to check; a copy, as the batch is looked at until the step is done. */
static int32_t *take_lanes(const int32_t *given, uint32_t n, int32_t *memory) {
    if (!given) return NULL;
    memcpy(memory, given, n * sizeof *given);
    return memory;
}

static nlm_status take_batch(nlm_training *t, const nlm_training_batch *given, nlm_train_batch *out, nlm_error *err) {
    const nlm_batch_shape *shape = &nlm_trainer_options_of(t->trainer)->shape;
    nlm_training_batch b = {0};
    NLM_TRY(nlm_take_options(&b, sizeof b, given, "nlm_training_batch", err));
    if (!b.ids || !b.lengths || b.n_seqs < 1 || b.n_seqs > (uint32_t)shape->max_seqs) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_batch",
                        "%u sequences%s%s: expected 1 to %d of them, with ids and lengths", b.n_seqs,
                        b.ids ? "" : ", ids NULL", b.lengths ? "" : ", lengths NULL", shape->max_seqs);
    }
    out->n_tokens = 0;
    out->n_seqs = (int32_t)b.n_seqs;
    out->n_counted = 0;
    out->seq_start[0] = 0;
    int32_t *lanes = out->seq_start + shape->max_seqs + 1;
    out->from = take_lanes(b.from, b.n_seqs, lanes);
    out->to = take_lanes(b.to, b.n_seqs, lanes + shape->max_seqs);
    for (uint32_t s = 0; s < b.n_seqs; s++) {
        if (b.lengths[s] > (uint32_t)(shape->length - out->n_tokens)) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_batch",
                            "sequence %u ends after more than the %d tokens that a batch may have", s, shape->length);
        }
        for (uint32_t i = 0; i < b.lengths[s]; i++) {
            const int32_t at = out->n_tokens++;
            const bool is_last = i + 1 == b.lengths[s];
            out->ids[at] = b.ids[at];
            out->pos[at] = (int32_t)i;
            out->labels[at] = b.labels ? b.labels[at] : is_last ? -1 : b.ids[at + 1];
            NLM_TRY(check_token(t, "ids", (size_t)at, out->ids[at], err));
            if (b.labels) NLM_TRY(check_token(t, "labels", (size_t)at, out->labels[at], err));
            out->n_counted += out->labels[at] >= 0;
        }
        out->seq_start[s + 1] = out->n_tokens;
    }
    if (out->n_tokens > 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_batch", "has no tokens");
}

/* Each stands behind the one before by the size that the caller's header gives it. */
static nlm_status take_batches(nlm_training *t, const nlm_training_batch *given, size_t n, nlm_error *err) {
    uint32_t size, other;
    NLM_TRY(nlm_struct_size(given, "nlm_training_batch", &size, err));
    NLM_TRY(make_parts(t, n, err));
    for (size_t i = 0; i < n; i++) {
        const void *at = (const char *)given + i * size;
        NLM_TRY(nlm_struct_size(at, "nlm_training_batch", &other, err));
        if (other != size) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_training_batch",
                            "struct_size of batch %zu is %u, and %u of the first: expected one size", i, other, size);
        }
        NLM_TRY(take_batch(t, at, &t->parts[i], err));
    }
    return NLM_OK;
}

nlm_status nlm_training_step(nlm_training *training, const nlm_training_batch *batches, size_t n_batches,
                             nlm_training_metrics *out_metrics, nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(batches, error);
    NLM_ENTER(&training->engine->gate, error);
    if (n_batches < 1 || n_batches > 65536)
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_training_step", "%zu batches; expected 1 to 65536",
                        n_batches);
    uint32_t size;
    if (out_metrics) NLM_TRY(nlm_struct_size(out_metrics, "nlm_training_metrics", &size, error));
    NLM_TRY(take_batches(training, batches, n_batches, error));
    NLM_TRY(nlm_engine_settle_logits(training->engine, error));
    NLM_TRY(make_room(training, n_batches, error));
    nlm_trainer_metrics m;
    NLM_TRY(nlm_trainer_step(training->trainer, training->parts, (int32_t)n_batches, &m, error));
    const nlm_training_metrics metrics = {.step = m.step,
                                          .loss = m.loss,
                                          .gradient_norm = m.norm,
                                          .learning_rate = m.rate,
                                          .n_tokens = (uint64_t)m.n_tokens,
                                          .n_counted = (uint64_t)m.n_counted,
                                          .seconds = m.seconds};
    return nlm_give_struct(out_metrics, &metrics, sizeof metrics, "nlm_training_metrics", error);
}

nlm_status nlm_training_evaluate(nlm_training *training, const nlm_training_batch *batch, double *out_loss,
                                 nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(batch, error);
    NLM_ENTER(&training->engine->gate, error);
    NLM_TRY(make_parts(training, 1, error));
    NLM_TRY(take_batch(training, batch, training->parts, error));
    if (!out_loss && !training->parts[0].to)
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_training_evaluate",
                        "out_loss is NULL and the batch names no lanes that receive states: nothing is asked for");
    NLM_TRY(nlm_engine_settle_logits(training->engine, error));
    if (!out_loss) return nlm_trainer_warm(training->trainer, training->parts, error);
    double sum;
    NLM_TRY(nlm_trainer_evaluate(training->trainer, training->parts, &sum, error));
    *out_loss = sum / (double)(training->parts[0].n_counted > 0 ? training->parts[0].n_counted : 1);
    return NLM_OK;
}

/* ---- files ---------------------------------------------------------------------------------------------- */

nlm_status nlm_training_save(const nlm_training *training, const char *folder, uint32_t keep, nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(folder, error);
    NLM_ENTER(&training->engine->gate, error);
    return nlm_checkpoint_save(training->trainer, folder, RUN, keep < INT32_MAX ? (int32_t)keep : INT32_MAX, error);
}

nlm_status nlm_training_restore(nlm_training *training, const char *folder, nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(folder, error);
    NLM_ENTER(&training->engine->gate, error);
    bool is_found = false;
    NLM_TRY(nlm_checkpoint_restore(training->trainer, folder, RUN, &is_found, error));
    return is_found ? NLM_OK : nlm_fail(error, NLM_NOT_FOUND, folder, "has no checkpoint");
}

nlm_status nlm_training_export(const nlm_training *training, const char *type, const char *path, nlm_error *error) {
    NLM_NEEDS(training, error);
    NLM_NEEDS(path, error);
    NLM_ENTER(&training->engine->gate, error);
    const nlm_dtype_info *info = type ? nlm_dtype_from_name(type) : NULL;
    if (type && !info) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, "nlm_training_export", "'%s' is no type of weights", type);
    }
    const nlm_dtype dtype = info ? info->dtype : training->is_new ? NLM_F32 : NLM_EXPORT_AS_IT_IS;
    return nlm_trainer_export(training->trainer, dtype, path, error);
}
