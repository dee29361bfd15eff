/* The states of AdamW, and the programs that read gradients. */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "base/status.h"

#define WHERE "nlm_optimizer"

struct nlm_optimizer {
    const nlm_env *env;
    nlm_parameters *parameters;
    nlm_adamw_params params;
    nlm_state *m, *v;   /* [parameters] */
    nlm_state *masters; /* [parameters]; NULL: all parameters are f32 */
    /* Of each memory that gradients are in: an op adds up what is in its own. The host's is NULL, and one. */
    const nlm_device *memories[NLM_SPACES];
    nlm_state squares[NLM_SPACES]; /* [1] each */
    uint32_t n_memories;
    nlm_program *norm, *update;
    nlm_value rates; /* of update: [4] f32 */
};

/* ---- programs -------------------------------------------------------------------------------------- */

static nlm_value parameter_value(nlm_graph *graph, const nlm_optimizer *o, uint32_t i) {
    return nlm_graph_parameter(graph, &nlm_parameters_at(o->parameters, i)->parameter);
}

/* The memory of a gradient, once a program has placed it. */
static const nlm_device *memory_of(const nlm_optimizer *o, uint32_t i) {
    const nlm_device *device = nlm_parameters_at(o->parameters, i)->parameter.gradient.device;
    return device && !nlm_device_has_host_memory(device) ? device : NULL;
}

static nlm_status list_memories(nlm_optimizer *o, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(o->parameters); i++) {
        uint32_t m = 0;
        while (m < o->n_memories && o->memories[m] != memory_of(o, i)) m++;
        if (m < o->n_memories) continue;
        o->memories[m] = memory_of(o, i);
        NLM_TRY(nlm_state_init(&o->squares[m], "squares", NLM_F32, 1, (const int64_t[]){1}, err));
        o->n_memories++;
    }
    return NLM_OK;
}

static void build_norm(nlm_optimizer *o, nlm_graph *graph) {
    for (uint32_t m = 0; m < o->n_memories; m++) {
        const nlm_value total = nlm_graph_state(graph, &o->squares[m]);
        bool is_first = true;
        for (uint32_t i = 0; i < nlm_parameters_count(o->parameters); i++) {
            if (memory_of(o, i) != o->memories[m]) continue;
            nlm_graph_sum_sq(graph, nlm_graph_gradient(graph, parameter_value(graph, o, i)), total, !is_first);
            is_first = false;
        }
    }
}

static void build_update(nlm_optimizer *o, nlm_graph *graph) {
    o->rates = nlm_graph_input(graph, "rates", NLM_F32, 1, (const int64_t[]){4}, NLM_ROWS_FIXED);
    for (uint32_t i = 0; i < nlm_parameters_count(o->parameters); i++) {
        nlm_adamw_params params = o->params;
        if (!nlm_parameters_at(o->parameters, i)->decays) params.weight_decay = 0;
        const nlm_adamw_values values = {.master = o->masters ? nlm_graph_state(graph, &o->masters[i]) : NLM_NO_VALUE,
                                         .m = nlm_graph_state(graph, &o->m[i]),
                                         .v = nlm_graph_state(graph, &o->v[i]),
                                         .rates = o->rates};
        nlm_graph_adamw(graph, parameter_value(graph, o, i), &values, &params);
    }
}

static nlm_status plan_with(nlm_optimizer *o, void (*build)(nlm_optimizer *o, nlm_graph *graph), nlm_program **out,
                            nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    build(o, graph);
    const nlm_status status = nlm_graph_plan(graph, o->env, out, err);
    nlm_graph_destroy(graph);
    return status;
}

nlm_status nlm_optimizer_plan(nlm_optimizer *o, nlm_error *err) {
    NLM_TRY(list_memories(o, err));
    NLM_TRY(plan_with(o, build_norm, &o->norm, err));
    return plan_with(o, build_update, &o->update, err);
}

void nlm_optimizer_unplan(nlm_optimizer *o) {
    nlm_program_destroy(o->norm);
    nlm_program_destroy(o->update);
    o->norm = o->update = NULL;
    for (uint32_t m = 0; m < o->n_memories; m++) nlm_state_release(&o->squares[m]);
    o->n_memories = 0;
}

/* ---- making one -------------------------------------------------------------------------------------- */

static nlm_status make_states(const nlm_optimizer *o, nlm_state **list, const char *name, nlm_error *err) {
    const uint32_t count = nlm_parameters_count(o->parameters);
    *list = calloc(count, sizeof **list);
    if (!*list) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %s", name);
    for (uint32_t i = 0; i < count; i++) {
        const nlm_tensor *like = &nlm_parameters_at(o->parameters, i)->parameter.value.tensor;
        NLM_TRY(nlm_state_init(&(*list)[i], name, NLM_F32, like->rank, like->shape, err));
    }
    return NLM_OK;
}

static nlm_status make(nlm_optimizer *o, nlm_error *err) {
    NLM_TRY(make_states(o, &o->m, "adamw_m", err));
    NLM_TRY(make_states(o, &o->v, "adamw_v", err));
    if (nlm_parameters_dtype(o->parameters) != NLM_F32) NLM_TRY(make_states(o, &o->masters, "master", err));
    return nlm_optimizer_plan(o, err);
}

nlm_status nlm_optimizer_create(const nlm_env *env, nlm_parameters *parameters, const nlm_adamw_params *params,
                                nlm_optimizer **out, nlm_error *err) {
    *out = NULL;
    nlm_optimizer *o = calloc(1, sizeof *o);
    if (!o) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for an optimizer");
    o->env = env;
    o->parameters = parameters;
    o->params = *params;
    const nlm_status status = make(o, err);
    if (status != NLM_OK) {
        nlm_optimizer_destroy(o);
        return status;
    }
    *out = o;
    return NLM_OK;
}

static void release_states(nlm_state *list, uint32_t count) {
    for (uint32_t i = 0; list && i < count; i++) nlm_state_release(&list[i]);
    free(list);
}

void nlm_optimizer_destroy(nlm_optimizer *o) {
    if (!o) return;
    nlm_optimizer_unplan(o);
    const uint32_t count = nlm_parameters_count(o->parameters);
    release_states(o->m, count);
    release_states(o->v, count);
    release_states(o->masters, count);
    free(o);
}

/* ---- what it does -------------------------------------------------------------------------------------- */

nlm_status nlm_optimizer_norm(nlm_optimizer *o, double *out, nlm_error *err) {
    double total = 0;
    NLM_TRY(nlm_program_run(o->norm, NULL, err));
    for (uint32_t m = 0; m < o->n_memories; m++) {
        float squares;
        NLM_TRY(nlm_state_read(&o->squares[m], 0, &squares, sizeof squares, err));
        total += (double)squares;
    }
    *out = sqrt(total);
    return NLM_OK;
}

nlm_status nlm_optimizer_update(nlm_optimizer *o, uint64_t number, double rate, double factor, nlm_error *err) {
    float *rates = nlm_program_input(o->update, o->rates);
    rates[0] = (float)rate;
    rates[1] = (float)factor;
    rates[2] = (float)(1 - pow((double)o->params.beta1, (double)number));
    rates[3] = (float)(1 - pow((double)o->params.beta2, (double)number));
    return nlm_program_run(o->update, NULL, err);
}

nlm_status nlm_optimizer_clear(nlm_optimizer *o, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(o->parameters); i++) {
        nlm_state *gradient = &nlm_parameters_at(o->parameters, i)->parameter.gradient;
        if (gradient->device) NLM_TRY(nlm_state_zero(gradient, 0, gradient->bytes, err));
    }
    return NLM_OK;
}

/* ---- what it has ---------------------------------------------------------------------------------------- */

static uint64_t bytes_of(const nlm_state *list, uint32_t count) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; list && i < count; i++) bytes += list[i].bytes;
    return bytes;
}

uint64_t nlm_optimizer_bytes(const nlm_optimizer *o) {
    const uint32_t count = nlm_parameters_count(o->parameters);
    return bytes_of(o->m, count) + bytes_of(o->v, count) + bytes_of(o->masters, count);
}

static nlm_state *master_of(const nlm_optimizer *o, uint32_t i) {
    return o->masters ? &o->masters[i] : NULL;
}

static nlm_state *moments_of(const nlm_optimizer *o, uint32_t index, int kind) {
    return kind == NLM_OPTIMIZER_M ? &o->m[index] : &o->v[index];
}

nlm_status nlm_optimizer_read(const nlm_optimizer *o, uint32_t index, int kind, float *out, nlm_error *err) {
    const nlm_trained *trained = nlm_parameters_at(o->parameters, index);
    if (kind == NLM_OPTIMIZER_VALUE) return nlm_trained_read(trained, master_of(o, index), out, err);
    return nlm_state_read(moments_of(o, index, kind), 0, out, nlm_trained_elements(trained) * sizeof *out, err);
}

nlm_status nlm_optimizer_write(nlm_optimizer *o, uint32_t index, int kind, const float *values, nlm_error *err) {
    nlm_trained *trained = nlm_parameters_at(o->parameters, index);
    if (kind == NLM_OPTIMIZER_VALUE) return nlm_trained_write(trained, master_of(o, index), values, err);
    return nlm_state_write(moments_of(o, index, kind), 0, values, nlm_trained_elements(trained) * sizeof *values,
                           err);
}
