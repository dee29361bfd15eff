/* nlm/mamba.h: making one. */
#include "train/mamba_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/presets.h"
#include "session/options.h"
#include "train/initial.h"

#define WHERE "nlm_mamba_create"

/* ---- options -------------------------------------------------------------------------------------- */

static const struct {
    const nlm_model_family *family;
    const char *prefix; /* of the names of published files, which the parts' own names do without */
} levels[] = {
    [NLM_MAMBA_MIXER] = {&nlm_family_mamba_mixer, "backbone.layers.%d.mixer."},
    [NLM_MAMBA_BLOCK] = {&nlm_family_mamba_block, "backbone.layers.%d."},
    [NLM_MAMBA_BACKBONE] = {&nlm_family_mamba_backbone, "backbone."},
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static void set_default(uint32_t *value, uint32_t fallback) {
    if (*value == 0) *value = fallback;
}
static void set_default_f32(float *value, float fallback) {
    if (*value == 0) *value = fallback;
}

static void set_defaults(nlm_mamba_options *o) {
    set_default(&o->input_dim, o->d_model);
    set_default(&o->n_layer, 1);
    set_default(&o->d_inner, 2 * o->d_model);
    set_default(&o->d_state, 16);
    set_default(&o->d_conv, 4);
    set_default(&o->dt_rank, (o->d_model + 15) / 16);
    set_default(&o->max_tokens, 256);
    set_default(&o->max_seqs, 1);
    set_default_f32(&o->norm_eps, 1e-5f);
    set_default_f32(&o->beta1, 0.9f);
    set_default_f32(&o->beta2, 0.95f);
    set_default_f32(&o->eps, 1e-8f);
}

static nlm_status check_sizes(const nlm_mamba_options *o, nlm_error *err) {
    const struct {
        const char *name;
        uint32_t value, least, most;
    } sizes[] = {
        {"d_model", o->d_model, 1, 1 << 16},   {"input_dim", o->input_dim, 1, 1 << 20},
        {"n_layer", o->n_layer, 1, 1 << 12},   {"d_inner", o->d_inner, 1, 1 << 17},
        {"d_state", o->d_state, 1, 256},       {"d_conv", o->d_conv, 2, 8},
        {"dt_rank", o->dt_rank, 1, 1 << 16},   {"max_tokens", o->max_tokens, 1, 1 << 24},
        {"max_seqs", o->max_seqs, 1, 1 << 16},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].value >= sizes[i].least && sizes[i].value <= sizes[i].most) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s is %u; expected %u to %u", sizes[i].name,
                        sizes[i].value, sizes[i].least, sizes[i].most);
    }
    return NLM_OK;
}

static nlm_status check_options(const nlm_mamba_options *o, nlm_error *err) {
    if (o->level < 0 || o->level >= N_LEVELS || o->flags & ~(uint32_t)NLM_MAMBA_STATE_GRADIENTS) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "level %d and flags 0x%x: expected NLM_MAMBA_MIXER, _BLOCK "
                        "or _BACKBONE, and flags that are known",
                        o->level, o->flags);
    }
    const bool is_backbone = o->level == NLM_MAMBA_BACKBONE;
    if (!is_backbone && (o->n_layer != 1 || o->input_dim != o->d_model)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "%u layers and input_dim %u of d_model %u: only a backbone has several layers and an input "
                        "of another size",
                        o->n_layer, o->input_dim, o->d_model);
    }
    const bool is_sound = o->norm_eps > 0 && o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 &&
                          o->eps > 0 && o->weight_decay >= 0;
    if (is_sound) return check_sizes(o, err);
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                    "norm_eps %g, beta1 %g, beta2 %g, eps %g, weight_decay %g: expected betas from 0 to below 1, a "
                    "weight_decay of 0 or more and the rest above 0",
                    (double)o->norm_eps, (double)o->beta1, (double)o->beta2, (double)o->eps, (double)o->weight_decay);
}

/* ---- model and names ----------------------------------------------------------------------------- */

static nlm_status no_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory");
}

static nlm_status open_model(nlm_mamba *m, nlm_error *err) {
    const nlm_mamba_options *o = &m->options;
    const nlm_model_family *family = levels[o->level].family;
    const nlm_preset preset = {.name = family->name,
                               .architecture = "mamba",
                               .family = family,
                               .hparams = {.n_layer = (int32_t)o->n_layer,
                                           .n_embd = (int32_t)o->d_model,
                                           .n_input = (int32_t)o->input_dim,
                                           .rms_norm_eps = o->norm_eps,
                                           .d_inner = (int32_t)o->d_inner,
                                           .d_state = (int32_t)o->d_state,
                                           .d_conv = (int32_t)o->d_conv,
                                           .dt_rank = (int32_t)o->dt_rank}};
    nlm_gguf *gguf = NULL;
    NLM_TRY(nlm_preset_gguf(&preset, NLM_F32, &gguf, err));
    NLM_TRY(nlm_model_take_gguf_as(gguf, family, &m->model, err));
    const nlm_parameters_options options = {.dtype = NLM_F32};
    return nlm_parameters_create(m->model, &options, &m->parameters, err);
}

static nlm_status name_parameter(nlm_mamba *m, const nlm_weight_spec *spec, int32_t layer, nlm_error *err) {
    nlm_trained *trained = nlm_parameters_get(m->parameters, spec->id, layer, NLM_TRAINED_WEIGHT);
    if (!trained) return NLM_OK;
    const nlm_tensor *t = &trained->parameter.value.tensor;
    nlm_mamba_name *name = &m->names[trained - nlm_parameters_at(m->parameters, 0)];
    const char *prefix = levels[m->options.level].prefix;
    name->name = nlm_weight_name(&m->arena, spec->hf_name + strlen(prefix), layer);
    if (!name->name) return no_memory(err);
    *name = (nlm_mamba_name){.name = name->name, .rank = t->rank, .shape = {t->shape[0], t->shape[1], 1, 1}};
    if (spec->flags & NLM_WEIGHT_HF_KERNEL) *name = (nlm_mamba_name){name->name, 3, {t->shape[0], 1, t->shape[1], 1}};
    return NLM_OK;
}

static nlm_status name_parameters(nlm_mamba *m, nlm_error *err) {
    m->names = nlm_arena_array(&m->arena, nlm_parameters_count(m->parameters), sizeof *m->names);
    if (!m->names) return no_memory(err);
    for (const nlm_weight_spec *spec = levels[m->options.level].family->weights; spec->name; spec++) {
        const int32_t layers = strstr(spec->name, "%d") ? (int32_t)m->options.n_layer : 1;
        for (int32_t layer = 0; layer < layers; layer++) NLM_TRY(name_parameter(m, spec, layer, err));
    }
    return NLM_OK;
}

/* ---- programs ---------------------------------------------------------------------------------------- */

nlm_status nlm_mamba_build(nlm_mamba *m, bool is_trained, nlm_graph *graph, nlm_rows_graph *rows, nlm_error *err) {
    const int32_t seqs = (int32_t)m->options.max_seqs, tokens = (int32_t)m->options.max_tokens;
    const bool wants_states = is_trained && m->options.flags & NLM_MAMBA_STATE_GRADIENTS;
    *rows = (nlm_rows_graph){.training = {.parameters = m->parameters, .states_after = is_trained ? m->after : NULL},
                             .gradients = wants_states ? m->gradients : NULL};
    const nlm_graph_dims dims = {.n_tokens = is_trained ? tokens : seqs, .n_seqs = seqs};
    return nlm_model_build_rows(m->model, is_trained ? m->before : m->now, &dims, graph, rows, err);
}

static nlm_status plan(nlm_mamba *m, bool is_trained, nlm_mamba_program *out, nlm_error *err) {
    nlm_graph *graph = NULL;
    NLM_TRY(nlm_graph_create(&graph, err));
    nlm_status status = nlm_mamba_build(m, is_trained, graph, &out->rows, err);
    if (status == NLM_OK) status = nlm_graph_plan(graph, &m->engine->env, &out->program, err);
    nlm_graph_destroy(graph);
    return status;
}

static nlm_status make_caches(nlm_mamba *m, nlm_error *err) {
    const nlm_cache_options options = {
        .n_slots = (int32_t)m->options.max_seqs, .n_pages = 1, .page_tokens = 1, .n_blocks = 1, .kv_dtype = NLM_F32};
    NLM_TRY(nlm_model_cache_create(m->model, &options, &m->now, err));
    return nlm_model_cache_create(m->model, &options, &m->before, err);
}

/* What runs need, so that they allocate nothing. */
static nlm_status make_room(nlm_mamba *m, nlm_error *err) {
    uint64_t most = 0;
    m->n_states = (uint32_t)(m->now->n_groups * m->now->n_layer);
    for (uint32_t i = 0; i < m->n_states; i++) {
        const uint64_t elements = nlm_mamba_slot_elements(m, i);
        most = elements > most ? elements : most;
    }
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        const uint64_t elements = nlm_trained_elements(nlm_parameters_at(m->parameters, i));
        most = elements > most ? elements : most;
    }
    m->state_size = (uint64_t)m->options.n_layer * m->options.d_inner * (m->options.d_conv - 1 + m->options.d_state);
    m->room = nlm_arena_array(&m->arena, most, sizeof *m->room);
    m->is_zero = nlm_arena_array(&m->arena, m->options.max_seqs, sizeof *m->is_zero);
    m->after = nlm_arena_array(&m->arena, m->n_states, sizeof *m->after);
    m->gradients = nlm_arena_array(&m->arena, m->n_states, sizeof *m->gradients);
    m->outputs = nlm_arena_array(&m->arena, 1 + (size_t)m->n_states, sizeof *m->outputs);
    if (!m->room || !m->is_zero || !m->after || !m->gradients || !m->outputs) return no_memory(err);
    for (uint32_t s = 0; s < m->options.max_seqs; s++) m->is_zero[s] = true;
    return NLM_OK;
}

static nlm_status set_parameters(nlm_mamba *m, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(m->parameters); i++) {
        nlm_trained *trained = nlm_parameters_at(m->parameters, i);
        nlm_initial_fill(trained, nlm_model_hparams(m->model), m->options.seed, i, m->room);
        NLM_TRY(nlm_optimizer_write(m->optimizer, i, NLM_OPTIMIZER_VALUE, m->room, err));
    }
    return NLM_OK;
}

/* Of states, and of what a run needs. */
static uint64_t working_bytes(const nlm_mamba *m) {
    return nlm_program_working_bytes(m->train.program) + nlm_cache_bytes(m->now) + nlm_cache_bytes(m->before);
}

/* Counts what it has, which is known once it is planned, towards the engine's limit. */
static nlm_status count_memory(nlm_mamba *m, nlm_error *err) {
    const uint64_t values = 2 * nlm_parameters_elements(m->parameters) * sizeof(float); /* and gradients */
    const uint64_t bytes = values + nlm_optimizer_bytes(m->optimizer) + working_bytes(m);
    NLM_TRY(nlm_engine_take_memory(m->engine, bytes, WHERE, err));
    m->bytes = bytes;
    return NLM_OK;
}

static nlm_status make(nlm_mamba *m, nlm_error *err) {
    const nlm_mamba_options *o = &m->options;
    const nlm_adamw_params adamw = {o->beta1, o->beta2, o->eps, o->weight_decay};
    NLM_TRY(check_options(o, err));
    NLM_TRY(open_model(m, err));
    NLM_TRY(name_parameters(m, err));
    NLM_TRY(make_caches(m, err));
    NLM_TRY(make_room(m, err));
    NLM_TRY(plan(m, true, &m->train, err));
    NLM_TRY(plan(m, false, &m->step, err));
    NLM_TRY(nlm_optimizer_create(&m->engine->env, m->parameters, &adamw, &m->optimizer, err));
    NLM_TRY(set_parameters(m, err));
    return count_memory(m, err);
}

static void free_mamba(nlm_mamba *m) {
    nlm_program_destroy(m->train.program);
    nlm_program_destroy(m->step.program);
    nlm_optimizer_destroy(m->optimizer);
    nlm_cache_destroy(m->before);
    nlm_cache_destroy(m->now);
    nlm_parameters_destroy(m->parameters);
    nlm_model_close(m->model);
    nlm_arena_release(&m->arena);
    free(m);
}

static void end_mamba(nlm_ending *ending) {
    nlm_mamba *m = (nlm_mamba *)((char *)ending - offsetof(nlm_mamba, ending));
    m->engine->gate.n_users--;
    nlm_engine_give_memory(m->engine, m->bytes);
    free_mamba(m);
}

nlm_status nlm_mamba_create(nlm_engine *engine, const nlm_mamba_options *options, nlm_mamba **out_mamba,
                            nlm_error *error) {
    NLM_NEEDS(engine, error);
    NLM_NEEDS(out_mamba, error);
    *out_mamba = NULL;
    nlm_mamba_options own = {0};
    NLM_TRY(nlm_take_options(&own, sizeof own, options, "nlm_mamba_options", error));
    NLM_ENTER(&engine->gate, error);
    nlm_mamba *m = calloc(1, sizeof *m);
    if (!m) return no_memory(error);
    set_defaults(&own);
    m->engine = engine;
    m->options = own;
    m->ending.end = end_mamba;
    const nlm_status status = make(m, error);
    if (status != NLM_OK) {
        free_mamba(m);
        return status;
    }
    engine->gate.n_users++;
    *out_mamba = m;
    return NLM_OK;
}

void nlm_mamba_destroy(nlm_mamba *mamba) {
    if (mamba) nlm_gate_end(&mamba->engine->gate, &mamba->ending);
}

nlm_status nlm_mamba_describe(const nlm_mamba *mamba, nlm_mamba_info *out_info, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(out_info, error);
    const nlm_mamba_options *o = &mamba->options;
    const uint64_t elements = nlm_parameters_elements(mamba->parameters);
    const nlm_mamba_info info = {.input_dim = o->input_dim,
                                 .output_dim = o->d_model,
                                 .max_tokens = o->max_tokens,
                                 .max_seqs = o->max_seqs,
                                 .n_parameters = nlm_parameters_count(mamba->parameters),
                                 .n_elements = elements,
                                 .state_size = mamba->state_size,
                                 .steps = mamba->steps,
                                 .parameter_bytes = elements * sizeof(float),
                                 .gradient_bytes = elements * sizeof(float),
                                 .optimizer_bytes = nlm_optimizer_bytes(mamba->optimizer),
                                 .activation_bytes = working_bytes(mamba)};
    return nlm_give_struct(out_info, &info, sizeof info, "nlm_mamba_info", error);
}
