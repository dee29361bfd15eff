/* The programs of a trainer, and a step. */
#include "train/trainer_impl.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "model/family.h"
#include "tensor/dtype.h"
#include "train/initial.h"

#define WHERE "nlm_trainer"

/* ---- programs -------------------------------------------------------------------------------------- */

nlm_status nlm_trainer_build(nlm_trainer *t, bool wants_gradients, nlm_graph *graph, nlm_batch_program *out,
                             nlm_error *err) {
    const nlm_batch_shape *shape = &t->options.shape;
    const nlm_training_dims dims = {
        .batch = {.n_tokens = shape->rows * shape->length, .n_seqs = shape->max_seqs, .n_outputs = 1},
        .carries = t->options.n_lanes > 0,
        .recompute = t->options.recompute,
        .begins_gradients = !t->accumulates};
    const uint32_t n_states = nlm_trainer_states(t);
    free(out->after);
    out->after = calloc(2 * (size_t)n_states + 1, sizeof *out->after);
    if (!out->after) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for states");
    out->training = (nlm_training_io){.parameters = t->parameters,
                                      .loss = t->options.loss,
                                      .wants_gradients = wants_gradients,
                                      .states_after = n_states > 0 ? out->after : NULL};
    return nlm_model_build_training(t->model, t->cache, &dims, graph, &out->training, &out->io, err);
}

static nlm_status plan_batches(nlm_trainer *t, bool wants_gradients, const nlm_env *env, nlm_batch_program *out,
                               nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_trainer_build(t, wants_gradients, graph, out, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, env, &out->program, err);
    nlm_graph_destroy(graph);
    return status;
}

static nlm_status plan_gradients(nlm_trainer *t, nlm_error *err) {
    return plan_batches(t, true, &t->batches, &t->gradients, err);
}

/* Gradients are free memory by then; but a device's would have to stay as large as it is. */
static nlm_status plan_evaluation(nlm_trainer *t, nlm_error *err) {
    bool is_fixed = false;
    if (t->evaluation.program) return NLM_OK;
    for (uint32_t d = 0; d < t->env->n_devices; d++) is_fixed |= !nlm_device_has_host_memory(t->env->devices[d]);
    return plan_batches(t, false, is_fixed ? t->env : &t->batches, &t->evaluation, err);
}

void nlm_trainer_release(nlm_batch_program *p) {
    nlm_program_destroy(p->program);
    free(p->after);
    *p = (nlm_batch_program){0};
}

/* Nothing of what steps need is planned, nor has memory: what comes after that is as if there had been nothing yet.
 */
static void release_programs(nlm_trainer *t) {
    if (t->optimizer) nlm_optimizer_unplan(t->optimizer);
    nlm_trainer_release(&t->gradients);
    nlm_trainer_release(&t->evaluation);
    nlm_activations_destroy(t->batches.activations);
    t->batches.activations = NULL;
    for (uint32_t i = 0; t->parameters && i < nlm_parameters_count(t->parameters); i++)
        nlm_state_release(&nlm_parameters_at(t->parameters, i)->parameter.gradient);
}

static nlm_status plan_step(nlm_trainer *t, nlm_error *err) {
    NLM_TRY(nlm_activations_create(&t->batches.activations, err));
    NLM_TRY(plan_gradients(t, err));
    return t->optimizer ? nlm_optimizer_plan(t->optimizer, err) : NLM_OK;
}

nlm_status nlm_trainer_make_room(nlm_trainer *t, int32_t n, nlm_error *err) {
    const bool accumulated = t->accumulates;
    if (t->gradients.program && (accumulated || n == 1)) return NLM_OK;
    release_programs(t);
    if (n != 1) t->accumulates = true;
    const nlm_status status = plan_step(t, err);
    if (status == NLM_OK) return NLM_OK;
    release_programs(t);
    t->accumulates = accumulated;
    return status;
}

bool nlm_trainer_accumulates(const nlm_trainer *t) {
    return t->accumulates;
}

/* ---- making one -------------------------------------------------------------------------------------- */

/* Those of the optimizer, of which none may be infinite or NaN, and a beta of 1 or an eps of 0 divides by 0. */
static nlm_status check_numbers(const nlm_trainer_options *o, nlm_error *err) {
    const double below_1 = 1 - 0x1p-24;
    const struct {
        const char *name;
        double value, least, most;
    } numbers[] = {
        {"learning_rate", o->schedule.rate, 0, FLT_MAX},
        {"floor", o->schedule.floor, 0, 1},
        {"clip_norm", o->clip_norm, 0, DBL_MAX},
        {"beta1", (double)o->optimizer.beta1, 0, below_1},
        {"beta2", (double)o->optimizer.beta2, 0, below_1},
        {"eps", (double)o->optimizer.eps, FLT_MIN, FLT_MAX},
        {"weight_decay", (double)o->optimizer.weight_decay, 0, FLT_MAX},
        {"label_smoothing", (double)o->loss.smoothing, 0, 1},
        {"z_loss", (double)o->loss.z_loss, 0, FLT_MAX},
        {"lora_alpha", (double)o->parameters.lora_alpha, -FLT_MAX, FLT_MAX},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value >= numbers[i].least && numbers[i].value <= numbers[i].most) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s is %.9g; expected %.9g to %.9g", numbers[i].name,
                        numbers[i].value, numbers[i].least, numbers[i].most);
    }
    return NLM_OK;
}

static nlm_status check_options(const nlm_trainer_options *o, nlm_error *err) {
    const nlm_batch_shape *s = &o->shape;
    int64_t tokens;
    if (s->rows < 1 || s->length < 1 || s->max_seqs < s->rows ||
        __builtin_mul_overflow((int64_t)s->rows, (int64_t)s->length, &tokens) || tokens > INT32_MAX / 2) {
        return nlm_fail(
            err, NLM_INVALID_ARGUMENT, WHERE,
            "batches of %d rows of %d tokens and %d sequences: expected positive numbers, and at least as "
            "many sequences as rows",
            s->rows, s->length, s->max_seqs);
    }
    return check_numbers(o, err);
}

nlm_status nlm_trainer_fill(nlm_trainer *t, nlm_error *err) {
    uint64_t most = 1;
    const uint32_t count = nlm_parameters_count(t->parameters);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t elements = nlm_trained_elements(nlm_parameters_at(t->parameters, i));
        if (elements > most) most = elements;
    }
    float *values = malloc(most * sizeof *values);
    if (!values) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for the values of a parameter");
    nlm_status status = NLM_OK;
    for (uint32_t i = 0; i < count && status == NLM_OK; i++) {
        nlm_trained *trained = nlm_parameters_at(t->parameters, i);
        if (t->options.is_new || trained->part != NLM_TRAINED_WEIGHT)
            nlm_initial_fill(trained, nlm_model_hparams(t->model), t->options.seed, i, values);
        else
            status = nlm_trained_decode(trained, values, err);
        if (status == NLM_OK) status = nlm_optimizer_write(t->optimizer, i, NLM_OPTIMIZER_VALUE, values, err);
    }
    free(values);
    return status;
}

static nlm_status make(nlm_trainer *t, nlm_error *err) {
    NLM_TRY(nlm_parameters_create(t->model, &t->options.parameters, &t->parameters, err));
    NLM_TRY(nlm_lanes_create(t, err));
    NLM_TRY(plan_step(t, err));
    NLM_TRY(nlm_optimizer_create(t->env, t->parameters, &t->options.optimizer, &t->optimizer, err));
    return t->options.is_filled_later ? NLM_OK : nlm_trainer_fill(t, err);
}

nlm_status nlm_trainer_create(const nlm_env *env, nlm_model *model, const nlm_trainer_options *options,
                              nlm_trainer **out, nlm_error *err) {
    *out = NULL;
    NLM_TRY(check_options(options, err));
    nlm_trainer *t = calloc(1, sizeof *t);
    if (!t) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a trainer");
    t->env = env;
    t->batches = *env;
    t->batches.activations = NULL;
    t->model = model;
    t->options = *options;
    t->accumulates = options->accumulates;
    const nlm_status status = make(t, err);
    if (status != NLM_OK) {
        nlm_trainer_destroy(t);
        return status;
    }
    *out = t;
    return NLM_OK;
}

void nlm_trainer_destroy(nlm_trainer *t) {
    if (!t) return;
    release_programs(t);
    nlm_optimizer_destroy(t->optimizer);
    nlm_cache_destroy(t->cache);
    nlm_parameters_destroy(t->parameters);
    free(t->is_taken);
    free(t->before);
    free(t);
}

/* ---- a step -------------------------------------------------------------------------------------------- */

static void copy_input(nlm_program *program, nlm_value input, const int32_t *from, int32_t count) {
    int32_t *to = nlm_program_input(program, input);
    if (to) memcpy(to, from, (size_t)count * sizeof *to);
}

/* `info` says which outputs are wanted. */
static nlm_status run_batch(nlm_trainer *t, nlm_batch_program *p, const nlm_train_batch *batch, nlm_run_info info,
                            nlm_error *err) {
    const nlm_batch_shape *shape = &t->options.shape;
    if (batch->n_tokens < 1 || batch->n_tokens > shape->rows * shape->length || batch->n_seqs < 1 ||
        batch->n_seqs > shape->max_seqs) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "a batch of %d tokens in %d sequences; planned for %d in %d", batch->n_tokens, batch->n_seqs,
                        shape->rows * shape->length, shape->max_seqs);
    }
    copy_input(p->program, p->io.ids, batch->ids, batch->n_tokens);
    copy_input(p->program, p->io.batch.pos, batch->pos, batch->n_tokens);
    copy_input(p->program, p->training.labels, batch->labels, batch->n_tokens);
    copy_input(p->program, p->io.batch.seq_start, batch->seq_start, batch->n_seqs + 1);
    int32_t *starts = nlm_program_input(p->program, p->io.batch.seq_start);
    for (int32_t i = batch->n_seqs + 1; i <= shape->max_seqs; i++) starts[i] = batch->n_tokens;
    if (t->cache) NLM_TRY(nlm_lanes_slots(t, batch, nlm_program_input(p->program, p->io.batch.slot), err));
    const int32_t live[NLM_ROWS_KINDS] = {0, batch->n_tokens, 0, t->cache ? batch->n_seqs : 0};
    info.live_rows = live;
    NLM_TRY(nlm_program_run(p->program, &info, err));
    return nlm_lanes_keep(t, p, batch, err);
}

nlm_status nlm_trainer_warm(nlm_trainer *t, const nlm_train_batch *batch, nlm_error *err) {
    nlm_batch_program *p = &t->evaluation;
    NLM_TRY(plan_evaluation(t, err));
    const uint32_t n_states = nlm_trainer_states(t);
    nlm_run_info info = {.outputs = p->after + n_states, .picks_outputs = true};
    for (uint32_t i = 0; i < n_states; i++) {
        if (p->after[i] != NLM_NO_VALUE) p->after[n_states + info.n_outputs++] = p->after[i];
    }
    return run_batch(t, p, batch, info, err);
}

nlm_status nlm_trainer_run(nlm_trainer *t, nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err) {
    for (int32_t i = 0; i < batch->n_history; i++) NLM_TRY(nlm_trainer_warm(t, &batch->history[i], err));
    return run_batch(t, p, batch, (nlm_run_info){0}, err);
}

static double sum_of_losses(const nlm_batch_program *p, int32_t n_tokens) {
    const float *losses = nlm_program_output(p->program, p->io.logits);
    double sum = 0;
    for (int32_t i = 0; i < n_tokens; i++) sum += (double)losses[i];
    return sum;
}

/* Adds to the gradients, or begins them. */
static nlm_status run_gradients(nlm_trainer *t, const nlm_train_batch *batch, double *out_loss, nlm_error *err) {
    NLM_TRY(nlm_trainer_run(t, &t->gradients, batch, err));
    *out_loss = sum_of_losses(&t->gradients, batch->n_tokens);
    return NLM_OK;
}

nlm_status nlm_trainer_accumulate(nlm_trainer *t, const nlm_train_batch *batch, double *out_loss, nlm_error *err) {
    NLM_TRY(nlm_trainer_make_room(t, 2, err));
    return run_gradients(t, batch, out_loss, err);
}

nlm_status nlm_trainer_evaluate(nlm_trainer *t, const nlm_train_batch *batch, double *out_loss, nlm_error *err) {
    NLM_TRY(plan_evaluation(t, err));
    NLM_TRY(nlm_trainer_run(t, &t->evaluation, batch, err));
    *out_loss = sum_of_losses(&t->evaluation, batch->n_tokens);
    return NLM_OK;
}

nlm_status nlm_trainer_clear(nlm_trainer *t, nlm_error *err) {
    return nlm_optimizer_clear(t->optimizer, err);
}

static double seconds_since(uint64_t start_ns) {
    return (double)(nlm_clock_ns() - start_ns) * 1e-9;
}

static nlm_status take_step(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_trainer_metrics *out,
                            nlm_error *err) {
    NLM_TRY(nlm_trainer_make_room(t, n, err));
    const uint64_t start_ns = nlm_clock_ns();
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        double loss;
        NLM_TRY(run_gradients(t, &parts[i], &loss, err));
        sum += loss;
        out->n_tokens += parts[i].n_tokens;
        out->n_counted += parts[i].n_counted;
    }
    const double counted = out->n_counted > 0 ? (double)out->n_counted : 1;
    out->gradient_seconds = seconds_since(start_ns);
    const uint64_t norm_ns = nlm_clock_ns();
    double norm;
    NLM_TRY(nlm_optimizer_norm(t->optimizer, &norm, err));
    out->norm_seconds = seconds_since(norm_ns);
    if (!isfinite(sum) || !isfinite(norm)) {
        NLM_TRY(nlm_lanes_return(t, err));
        return nlm_trainer_blame(t, parts, n, err);
    }
    out->loss = sum / counted;
    out->norm = norm / counted;
    out->rate = nlm_schedule_rate(&t->options.schedule, t->steps);
    const double clip = t->options.clip_norm;
    const double shrink = clip > 0 && out->norm > clip ? clip / out->norm : 1;
    const uint64_t update_ns = nlm_clock_ns();
    NLM_TRY(nlm_optimizer_update(t->optimizer, t->steps + 1, out->rate, shrink / counted, err));
    out->update_seconds = seconds_since(update_ns);
    return NLM_OK;
}

nlm_status nlm_trainer_step(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_trainer_metrics *out,
                            nlm_error *err) {
    const uint64_t start_ns = nlm_clock_ns();
    *out = (nlm_trainer_metrics){.step = t->steps + 1};
    NLM_TRY(nlm_lanes_note(t, err));
    const nlm_status status = take_step(t, parts, n, out, err);
    if (status != NLM_OK) {
        (void)nlm_lanes_return(t, NULL);
        (void)nlm_trainer_clear(t, NULL);
        return status;
    }
    t->steps++;
    out->seconds = seconds_since(start_ns);
    return NLM_OK;
}

/* ---- what it has ------------------------------------------------------------------------------------------ */

void nlm_trainer_memory_of(const nlm_trainer *t, nlm_trainer_memory *out) {
    const uint32_t count = nlm_parameters_count(t->parameters);
    *out = (nlm_trainer_memory){
        .optimizer = nlm_optimizer_bytes(t->optimizer),
        .states = t->cache ? nlm_cache_bytes(t->cache) : 0,
        .activations = t->gradients.program ? nlm_program_working_bytes(t->gradients.program) : 0};
    for (uint32_t i = 0; i < count; i++) {
        const nlm_parameter *p = &nlm_parameters_at(t->parameters, i)->parameter;
        out->parameters += p->value.bytes;
        if (!p->gradient.is_lent) out->gradients += p->gradient.bytes;
    }
}

const nlm_trainer_options *nlm_trainer_options_of(const nlm_trainer *t) {
    return &t->options;
}
nlm_model *nlm_trainer_model(const nlm_trainer *t) {
    return t->model;
}
nlm_parameters *nlm_trainer_parameters(const nlm_trainer *t) {
    return t->parameters;
}
uint64_t nlm_trainer_steps(const nlm_trainer *t) {
    return t->steps;
}
void nlm_trainer_set_steps(nlm_trainer *t, uint64_t steps) {
    t->steps = steps;
}

nlm_status nlm_trainer_read(const nlm_trainer *t, uint32_t index, int kind, float *out, nlm_error *err) {
    return nlm_optimizer_read(t->optimizer, index, kind, out, err);
}

nlm_status nlm_trainer_write(nlm_trainer *t, uint32_t index, int kind, const float *values, nlm_error *err) {
    return nlm_optimizer_write(t->optimizer, index, kind, values, err);
}
