/* The programs of a trainer, and a step. */
#include "train/trainer_impl.h"

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
        .recomputes_layers = t->options.recomputes_layers};
    out->training = (nlm_training_io){.parameters = t->parameters,
                                      .loss = t->options.loss,
                                      .wants_gradients = wants_gradients,
                                      .states_after = t->after};
    return nlm_model_build_training(t->model, t->cache, &dims, graph, &out->training, &out->io, err);
}

static nlm_status plan_batches(nlm_trainer *t, bool wants_gradients, nlm_batch_program *out, nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_trainer_build(t, wants_gradients, graph, out, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, t->env, &out->program, err);
    nlm_graph_destroy(graph);
    return status;
}

static nlm_value parameter_value(nlm_graph *graph, nlm_trainer *t, uint32_t i) {
    return nlm_graph_parameter(graph, &nlm_parameters_at(t->parameters, i)->parameter);
}

static void build_norm(nlm_trainer *t, nlm_graph *graph) {
    const nlm_value total = nlm_graph_state(graph, &t->squares);
    for (uint32_t i = 0; i < nlm_parameters_count(t->parameters); i++)
        nlm_graph_sum_sq(graph, nlm_graph_gradient(graph, parameter_value(graph, t, i)), total, i > 0);
}

static void build_update(nlm_trainer *t, nlm_graph *graph) {
    t->rates = nlm_graph_input(graph, "rates", NLM_F32, 1, (const int64_t[]){4}, NLM_ROWS_FIXED);
    for (uint32_t i = 0; i < nlm_parameters_count(t->parameters); i++) {
        nlm_adamw_params params = t->options.optimizer;
        if (!nlm_parameters_at(t->parameters, i)->decays) params.weight_decay = 0;
        const nlm_adamw_values values = {.master = t->masters ? nlm_graph_state(graph, &t->masters[i]) : NLM_NO_VALUE,
                                         .m = nlm_graph_state(graph, &t->m[i]),
                                         .v = nlm_graph_state(graph, &t->v[i]),
                                         .rates = t->rates};
        nlm_graph_adamw(graph, parameter_value(graph, t, i), &values, &params);
    }
}

static nlm_status plan_with(nlm_trainer *t, void (*build)(nlm_trainer *t, nlm_graph *graph), nlm_program **out,
                            nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    build(t, graph);
    const nlm_status status = nlm_graph_plan(graph, t->env, out, err);
    nlm_graph_destroy(graph);
    return status;
}

/* ---- making one -------------------------------------------------------------------------------------- */

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
    if (!(o->clip_norm >= 0) || !(o->schedule.rate >= 0) || !(o->schedule.floor >= 0 && o->schedule.floor <= 1)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "clip_norm %g, rate %g and floor %g: expected 0 or more, and a floor of at most 1",
                        o->clip_norm, o->schedule.rate, o->schedule.floor);
    }
    return NLM_OK;
}

/* The states of a family that begin anew with each sequence. */
static bool has_slots(const nlm_model *model) {
    for (const nlm_state_spec *s = nlm_model_family_of(model)->states; s->name; s++) {
        if (s->kind == NLM_STATE_PER_SLOT) return true;
    }
    return false;
}

static nlm_status make_cache(nlm_trainer *t, nlm_error *err) {
    if (!has_slots(t->model)) return NLM_OK;
    const nlm_cache_options options = {
        .n_slots = t->options.shape.max_seqs, .n_pages = 1, .page_tokens = 1, .n_blocks = 1, .kv_dtype = NLM_F32};
    NLM_TRY(nlm_model_cache_create(t->model, &options, &t->cache, err));
    t->after = calloc((size_t)(t->cache->n_groups * t->cache->n_layer), sizeof *t->after);
    return t->after ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for states");
}

static nlm_status make_states(nlm_trainer *t, nlm_state **list, const char *name, nlm_error *err) {
    const uint32_t count = nlm_parameters_count(t->parameters);
    *list = calloc(count, sizeof **list);
    if (!*list) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %s", name);
    for (uint32_t i = 0; i < count; i++) {
        const nlm_tensor *like = &nlm_parameters_at(t->parameters, i)->parameter.value.tensor;
        NLM_TRY(nlm_state_init(&(*list)[i], name, NLM_F32, like->rank, like->shape, err));
    }
    return NLM_OK;
}

static nlm_state *master_of(const nlm_trainer *t, uint32_t i) {
    return t->masters ? &t->masters[i] : NULL;
}

static nlm_status set_parameters(nlm_trainer *t, nlm_error *err) {
    uint64_t most = 0;
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
        if (status == NLM_OK) status = nlm_trained_write(trained, master_of(t, i), values, err);
    }
    free(values);
    return status;
}

static nlm_status make(nlm_trainer *t, nlm_error *err) {
    NLM_TRY(nlm_parameters_create(t->model, &t->options.parameters, &t->parameters, err));
    NLM_TRY(make_cache(t, err));
    NLM_TRY(make_states(t, &t->m, "adamw_m", err));
    NLM_TRY(make_states(t, &t->v, "adamw_v", err));
    if (t->options.parameters.dtype != NLM_F32) NLM_TRY(make_states(t, &t->masters, "master", err));
    NLM_TRY(nlm_state_init(&t->squares, "squares", NLM_F32, 1, (const int64_t[]){1}, err));
    NLM_TRY(plan_batches(t, true, &t->gradients, err));
    NLM_TRY(plan_with(t, build_norm, &t->norm, err));
    NLM_TRY(plan_with(t, build_update, &t->update, err));
    return set_parameters(t, err);
}

nlm_status nlm_trainer_create(const nlm_env *env, nlm_model *model, const nlm_trainer_options *options,
                              nlm_trainer **out, nlm_error *err) {
    *out = NULL;
    NLM_TRY(check_options(options, err));
    nlm_trainer *t = calloc(1, sizeof *t);
    if (!t) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a trainer");
    t->env = env;
    t->model = model;
    t->options = *options;
    const nlm_status status = make(t, err);
    if (status != NLM_OK) {
        nlm_trainer_destroy(t);
        return status;
    }
    *out = t;
    return NLM_OK;
}

static void release_states(nlm_state *list, uint32_t count) {
    for (uint32_t i = 0; list && i < count; i++) nlm_state_release(&list[i]);
    free(list);
}

void nlm_trainer_destroy(nlm_trainer *t) {
    if (!t) return;
    nlm_program_destroy(t->gradients.program);
    nlm_program_destroy(t->evaluation.program);
    nlm_program_destroy(t->norm);
    nlm_program_destroy(t->update);
    const uint32_t count = t->parameters ? nlm_parameters_count(t->parameters) : 0;
    release_states(t->m, count);
    release_states(t->v, count);
    release_states(t->masters, count);
    nlm_state_release(&t->squares);
    nlm_cache_destroy(t->cache);
    nlm_parameters_destroy(t->parameters);
    free(t->after);
    free(t);
}

/* ---- a step -------------------------------------------------------------------------------------------- */

static void copy_input(nlm_program *program, nlm_value input, const int32_t *from, int32_t count) {
    int32_t *to = nlm_program_input(program, input);
    if (to) memcpy(to, from, (size_t)count * sizeof *to);
}

nlm_status nlm_trainer_run(nlm_trainer *t, nlm_batch_program *p, const nlm_train_batch *batch, nlm_error *err) {
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
    int32_t *slots = p->io.batch.slot == NLM_NO_VALUE ? NULL : nlm_program_input(p->program, p->io.batch.slot);
    for (int32_t i = 0; slots && i < shape->max_seqs; i++) slots[i] = i;
    const int32_t live[NLM_ROWS_KINDS] = {0, batch->n_tokens, 0, t->cache ? batch->n_seqs : 0};
    return nlm_program_run(p->program, &(nlm_run_info){.live_rows = live}, err);
}

static double sum_of_losses(const nlm_batch_program *p, int32_t n_tokens) {
    const float *losses = nlm_program_output(p->program, p->io.logits);
    double sum = 0;
    for (int32_t i = 0; i < n_tokens; i++) sum += (double)losses[i];
    return sum;
}

nlm_status nlm_trainer_accumulate(nlm_trainer *t, const nlm_train_batch *batch, double *out_loss, nlm_error *err) {
    NLM_TRY(nlm_trainer_run(t, &t->gradients, batch, err));
    *out_loss = sum_of_losses(&t->gradients, batch->n_tokens);
    return NLM_OK;
}

nlm_status nlm_trainer_evaluate(nlm_trainer *t, const nlm_train_batch *batch, double *out_loss, nlm_error *err) {
    if (!t->evaluation.program) NLM_TRY(plan_batches(t, false, &t->evaluation, err));
    NLM_TRY(nlm_trainer_run(t, &t->evaluation, batch, err));
    *out_loss = sum_of_losses(&t->evaluation, batch->n_tokens);
    return NLM_OK;
}

nlm_status nlm_trainer_clear(nlm_trainer *t, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(t->parameters); i++) {
        nlm_state *gradient = &nlm_parameters_at(t->parameters, i)->parameter.gradient;
        if (gradient->device) NLM_TRY(nlm_state_zero(gradient, 0, gradient->bytes, err));
    }
    return NLM_OK;
}

/* The root of the sum of squares of all gradients. */
static nlm_status read_norm(nlm_trainer *t, double *out, nlm_error *err) {
    float squares;
    NLM_TRY(nlm_program_run(t->norm, NULL, err));
    NLM_TRY(nlm_state_read(&t->squares, 0, &squares, sizeof squares, err));
    *out = sqrt((double)squares);
    return NLM_OK;
}

static nlm_status update(nlm_trainer *t, double rate, double factor, nlm_error *err) {
    const nlm_adamw_params *o = &t->options.optimizer;
    float *rates = nlm_program_input(t->update, t->rates);
    const double number = (double)(t->steps + 1);
    rates[0] = (float)rate;
    rates[1] = (float)factor;
    rates[2] = (float)(1 - pow((double)o->beta1, number));
    rates[3] = (float)(1 - pow((double)o->beta2, number));
    return nlm_program_run(t->update, NULL, err);
}

static double seconds_since(uint64_t start_ns) {
    return (double)(nlm_clock_ns() - start_ns) * 1e-9;
}

static nlm_status take_step(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_trainer_metrics *out,
                            nlm_error *err) {
    const uint64_t start_ns = nlm_clock_ns();
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        double loss;
        NLM_TRY(nlm_trainer_accumulate(t, &parts[i], &loss, err));
        sum += loss;
        out->n_tokens += parts[i].n_tokens;
        out->n_counted += parts[i].n_counted;
    }
    const double counted = out->n_counted > 0 ? (double)out->n_counted : 1;
    out->gradient_seconds = seconds_since(start_ns);
    const uint64_t norm_ns = nlm_clock_ns();
    double norm;
    NLM_TRY(read_norm(t, &norm, err));
    out->norm_seconds = seconds_since(norm_ns);
    if (!isfinite(sum) || !isfinite(norm)) return nlm_trainer_blame(t, parts, n, err);
    out->loss = sum / counted;
    out->norm = norm / counted;
    out->rate = nlm_schedule_rate(&t->options.schedule, t->steps);
    const double clip = t->options.clip_norm;
    const double shrink = clip > 0 && out->norm > clip ? clip / out->norm : 1;
    const uint64_t update_ns = nlm_clock_ns();
    NLM_TRY(update(t, out->rate, shrink / counted, err));
    out->update_seconds = seconds_since(update_ns);
    return NLM_OK;
}

nlm_status nlm_trainer_step(nlm_trainer *t, const nlm_train_batch *parts, int32_t n, nlm_trainer_metrics *out,
                            nlm_error *err) {
    const uint64_t start_ns = nlm_clock_ns();
    *out = (nlm_trainer_metrics){.step = t->steps + 1};
    const nlm_status status = take_step(t, parts, n, out, err);
    if (status != NLM_OK) {
        (void)nlm_trainer_clear(t, NULL);
        return status;
    }
    t->steps++;
    out->seconds = seconds_since(start_ns);
    return NLM_OK;
}

/* ---- what it has ------------------------------------------------------------------------------------------ */

static uint64_t bytes_of(const nlm_state *list, uint32_t count) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; list && i < count; i++) bytes += list[i].bytes;
    return bytes;
}

void nlm_trainer_memory_of(const nlm_trainer *t, nlm_trainer_memory *out) {
    const uint32_t count = nlm_parameters_count(t->parameters);
    *out =
        (nlm_trainer_memory){.optimizer = bytes_of(t->m, count) + bytes_of(t->v, count) + bytes_of(t->masters, count),
                             .states = t->cache ? nlm_cache_bytes(t->cache) : 0,
                             .activations = nlm_program_activation_bytes(t->gradients.program)};
    for (uint32_t i = 0; i < count; i++) {
        const nlm_parameter *p = &nlm_parameters_at(t->parameters, i)->parameter;
        out->parameters += p->value.bytes;
        out->gradients += p->gradient.bytes;
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

static nlm_state *moments_of(const nlm_trainer *t, uint32_t index, int kind) {
    return kind == NLM_TRAINER_M ? &t->m[index] : &t->v[index];
}

nlm_status nlm_trainer_read(const nlm_trainer *t, uint32_t index, int kind, float *out, nlm_error *err) {
    const nlm_trained *trained = nlm_parameters_at(t->parameters, index);
    if (kind == NLM_TRAINER_VALUE) return nlm_trained_read(trained, master_of(t, index), out, err);
    return nlm_state_read(moments_of(t, index, kind), 0, out, nlm_trained_elements(trained) * sizeof *out, err);
}

nlm_status nlm_trainer_write(nlm_trainer *t, uint32_t index, int kind, const float *values, nlm_error *err) {
    nlm_trained *trained = nlm_parameters_at(t->parameters, index);
    if (kind == NLM_TRAINER_VALUE) return nlm_trained_write(trained, master_of(t, index), values, err);
    return nlm_state_write(moments_of(t, index, kind), 0, values, nlm_trained_elements(trained) * sizeof *values,
                           err);
}
