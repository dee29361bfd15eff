/* Making a sampler of its options: what they may be, and which stages they turn on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"
#include "session/constraint.h"
#include "session/options.h"
#include "session/sampler_pool.h"

#define DEFAULT_REPEAT_LAST_N      64
#define DEFAULT_DRY_BASE           1.75f
#define DEFAULT_DRY_ALLOWED_LENGTH 2
#define DEFAULT_MIROSTAT_ETA       0.1f

/* ---- stages ------------------------------------------------------------------------------- */

static bool has_penalties(const nlm_sampler_options *o) {
    return (o->repeat_penalty > 0 && o->repeat_penalty != 1) || o->frequency_penalty != 0 || o->presence_penalty != 0;
}
static bool has_dry(const nlm_sampler_options *o) {
    return o->dry_multiplier > 0;
}
static bool has_temperature(const nlm_sampler_options *o) {
    return o->temperature > 0 && (o->temperature != 1 || o->temperature_range > 0);
}
static bool has_top_n_sigma(const nlm_sampler_options *o) {
    return o->top_n_sigma > 0;
}
static bool has_top_k(const nlm_sampler_options *o) {
    return o->top_k > 0;
}
static bool has_typical(const nlm_sampler_options *o) {
    return o->typical_p > 0 && o->typical_p < 1;
}
static bool has_top_p(const nlm_sampler_options *o) {
    return o->top_p > 0 && o->top_p < 1;
}
static bool has_min_p(const nlm_sampler_options *o) {
    return o->min_p > 0;
}
static bool has_xtc(const nlm_sampler_options *o) {
    return o->xtc_probability > 0 && o->xtc_threshold > 0;
}

const nlm_stage nlm_sampler_stages[] = {
    {"penalties", has_penalties, nlm_stage_penalties, false},
    {"dry", has_dry, nlm_stage_dry, false},
    {"temperature", has_temperature, nlm_stage_temperature, true},
    {"top_n_sigma", has_top_n_sigma, nlm_stage_top_n_sigma, true},
    {"top_k", has_top_k, nlm_stage_top_k, true},
    {"typical", has_typical, nlm_stage_typical, true},
    {"top_p", has_top_p, nlm_stage_top_p, true},
    {"min_p", has_min_p, nlm_stage_min_p, true},
    {"xtc", has_xtc, nlm_stage_xtc, true},
};
const size_t nlm_sampler_stage_count = sizeof nlm_sampler_stages / sizeof *nlm_sampler_stages;

static const nlm_stage *find_stage(const char *name) {
    for (size_t i = 0; name && i < nlm_sampler_stage_count; i++) {
        if (strcmp(nlm_sampler_stages[i].name, name) == 0) return &nlm_sampler_stages[i];
    }
    return NULL;
}

static nlm_status fail_name(const char *name, nlm_error *err) {
    nlm_str names = {0};
    for (size_t i = 0; i < nlm_sampler_stage_count; i++) nlm_str_printf(&names, " %s", nlm_sampler_stages[i].name);
    const nlm_status status = nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "order: '%s' is no stage; these are:%s",
                                       name ? name : "", names.data ? names.data : "");
    nlm_str_release(&names);
    return status;
}

/* As the caller orders them. */
static nlm_status take_order(nlm_sampler *s, const nlm_sampler_options *o, nlm_error *err) {
    bool is_there[NLM_STAGES_MAX] = {false};
    for (size_t i = 0; i < o->n_order; i++) {
        const nlm_stage *stage = find_stage(o->order[i]);
        if (!stage) return fail_name(o->order[i], err);
        if (is_there[stage - nlm_sampler_stages]) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "order: '%s' is there twice", stage->name);
        }
        is_there[stage - nlm_sampler_stages] = true;
        if (stage->is_on(o)) s->stages[s->n_stages++] = stage;
    }
    for (size_t i = 0; i < nlm_sampler_stage_count; i++) {
        if (is_there[i] || !nlm_sampler_stages[i].is_on(o)) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "order: '%s' is on, and not in it",
                        nlm_sampler_stages[i].name);
    }
    return NLM_OK;
}

static nlm_status take_stages(nlm_sampler *s, const nlm_sampler_options *o, nlm_error *err) {
    if (o->order) return take_order(s, o, err);
    for (size_t i = 0; i < nlm_sampler_stage_count; i++) {
        if (nlm_sampler_stages[i].is_on(o)) s->stages[s->n_stages++] = &nlm_sampler_stages[i];
    }
    return NLM_OK;
}

/* ---- checks ------------------------------------------------------------------------------- */

static nlm_status check_ranges(const nlm_sampler_options *o, nlm_error *err) {
    const struct {
        const char *name;
        double value, min, max;
    } ranges[] = {
        {"temperature", (double)o->temperature, 0, 1e6},
        {"top_k", o->top_k, 0, INT32_MAX},
        {"top_p", (double)o->top_p, 0, 1},
        {"min_p", (double)o->min_p, 0, 1},
        {"repeat_penalty", (double)o->repeat_penalty, 0, 1e6},
        {"frequency_penalty", (double)o->frequency_penalty, -1e6, 1e6},
        {"presence_penalty", (double)o->presence_penalty, -1e6, 1e6},
        {"typical_p", (double)o->typical_p, 0, 1},
        {"top_n_sigma", (double)o->top_n_sigma, 0, 1e6},
        {"xtc_probability", (double)o->xtc_probability, 0, 1},
        {"xtc_threshold", (double)o->xtc_threshold, 0, 1},
        {"dry_multiplier", (double)o->dry_multiplier, 0, 1e6},
        {"dry_base", (double)o->dry_base, 1, 1e6},
        {"temperature_range", (double)o->temperature_range, 0, 1e6},
        {"temperature_exponent", (double)o->temperature_exponent, 0, 1e3},
        {"mirostat_tau", (double)o->mirostat_tau, 0, 1e3},
        {"mirostat_eta", (double)o->mirostat_eta, 0, 1e3},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "%s is %g; expected %g to %g", ranges[i].name,
                        ranges[i].value, ranges[i].min, ranges[i].max);
    }
    return NLM_OK;
}

static nlm_status check_lists(const nlm_sampler_options *o, int32_t n_vocab, nlm_error *err) {
    const char *missing = o->n_biases && !o->biases               ? "biases"
                          : o->n_dry_breakers && !o->dry_breakers ? "dry_breakers"
                          : o->n_order && !o->order               ? "order"
                                                                  : NULL;
    if (missing) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "%s is NULL, and n_%s is not 0", missing, missing);
    }
    for (size_t i = 0; i < o->n_biases; i++) {
        const nlm_logit_bias b = o->biases[i];
        if (b.id < 0 || b.id >= n_vocab) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler",
                            "bias %zu is for token %d; the vocabulary has 0 to %d", i, b.id, n_vocab - 1);
        }
        if (isnan(b.bias) || b.bias == INFINITY) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, "sampler", "the bias of token %d is %f; expected a number",
                            b.id, (double)b.bias);
        }
    }
    return NLM_OK;
}

static void set_defaults(nlm_sampler_options *o) {
    if (o->repeat_last_n == 0) o->repeat_last_n = DEFAULT_REPEAT_LAST_N;
    if (o->dry_base == 0) o->dry_base = DEFAULT_DRY_BASE;
    if (o->dry_allowed_length == 0) o->dry_allowed_length = DEFAULT_DRY_ALLOWED_LENGTH;
    if (o->temperature_exponent == 0) o->temperature_exponent = 1;
    if (o->mirostat_eta == 0) o->mirostat_eta = DEFAULT_MIROSTAT_ETA;
}

/* ---- life --------------------------------------------------------------------------------- */

static bool allocate(nlm_sampler *s, const nlm_sampler_options *o) {
    const size_t n = (size_t)s->n_vocab;
    s->memory[0] = calloc(n, sizeof *s->memory[0]);
    s->memory[1] = calloc(n, sizeof *s->memory[1]);
    s->weights = calloc(n, sizeof *s->weights);
    s->seen = calloc(n, sizeof *s->seen);
    s->mask = calloc(nlm_mask_words(s->n_vocab), sizeof *s->mask);
    if (has_typical(o)) s->ranked = calloc(n, sizeof *s->ranked);
    if (o->n_biases) s->biases = malloc(o->n_biases * sizeof *s->biases);
    return s->memory[0] && s->memory[1] && s->weights && s->seen && s->mask && (!has_typical(o) || s->ranked) &&
           (!o->n_biases || s->biases);
}

nlm_status nlm_sampler_new(int32_t n_vocab, const nlm_sampler_options *options, nlm_sampler **out, nlm_error *err) {
    *out = NULL;
    nlm_sampler_options o = {0};
    NLM_TRY(nlm_take_options(&o, sizeof o, options, "nlm_sampler_options", err));
    if (o.reserved) return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_sampler_options", "reserved is not 0");
    set_defaults(&o);
    NLM_TRY(check_ranges(&o, err));
    NLM_TRY(check_lists(&o, n_vocab, err));
    nlm_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) return nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler", "no memory for a sampler");
    sampler->n_vocab = n_vocab;
    nlm_status status = take_stages(sampler, &o, err);
    if (status == NLM_OK && !allocate(sampler, &o)) {
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "sampler", "no memory for %d candidates", n_vocab);
    }
    if (status != NLM_OK) {
        nlm_sampler_destroy(sampler);
        return status;
    }
    if (o.n_biases) memcpy(sampler->biases, o.biases, o.n_biases * sizeof *o.biases);
    sampler->options = o;
    sampler->options.biases = NULL;
    sampler->options.order = sampler->options.dry_breakers = NULL;
    *out = sampler;
    return NLM_OK;
}

void nlm_sampler_destroy(nlm_sampler *sampler) {
    if (!sampler) return;
    free(sampler->memory[0]);
    free(sampler->memory[1]);
    free(sampler->weights);
    free(sampler->ranked);
    free(sampler->seen);
    free(sampler->mask);
    free(sampler->biases);
    free(sampler->breakers);
    nlm_breakers_destroy(sampler->spelled);
    free(sampler);
}
