/* Drawing against a plain implementation in double, and the generator's published numbers. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "check.h"
#include "session/sampler.h"

#define N_VOCAB 211

static nlm_sampler_options with(float temperature) {
    return (nlm_sampler_options){.struct_size = sizeof(nlm_sampler_options), .temperature = temperature};
}

static nlm_sampler *make(const nlm_sampler_options *options, int32_t n_vocab) {
    nlm_sampler *sampler = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_sampler_new(n_vocab, options, &sampler, &err), NLM_OK);
    return sampler;
}

static int32_t choose(nlm_sampler *sampler, const float *logits, const int32_t *history, size_t n_history) {
    const nlm_choice choice = {.logits = logits, .history = history, .n_history = n_history};
    return nlm_sampler_choose(sampler, &choice);
}

/* A small generator of the test's own, so that inputs do not come from the code under test. */
static uint32_t lcg_state = 12345;
static double lcg_uniform(void) {
    lcg_state = lcg_state * 1664525u + 1013904223u;
    return (double)(lcg_state >> 8) / 16777216.0;
}

static void random_logits(float *logits, int32_t n) {
    /* rounded to eighths: ties occur */
    for (int32_t i = 0; i < n; i++) logits[i] = (float)(floor((lcg_uniform() * 12 - 6) * 8) / 8);
}

/* ---- the oracle: float64, a full sort, no heap ---- */

typedef struct oracle_item {
    double probability;
    double logit;
    int32_t id;
} oracle_item;

static int by_logit(const void *a, const void *b) {
    const oracle_item *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static void normalise(oracle_item *items, int32_t n) {
    double greatest = -INFINITY, total = 0;
    for (int32_t i = 0; i < n; i++) greatest = fmax(greatest, items[i].logit);
    for (int32_t i = 0; i < n; i++) total += items[i].probability = exp(items[i].logit - greatest);
    for (int32_t i = 0; i < n; i++) items[i].probability /= total;
}

/* The candidates left and their probabilities; returns how many. */
static int32_t oracle_filter(const nlm_sampler_options *o, const float *logits, int32_t n, const int32_t *history,
                             int32_t n_history, oracle_item *items) {
    for (int32_t i = 0; i < n; i++) {
        double logit = logits[i];
        bool is_seen = false;
        const int32_t window = o->repeat_last_n ? (int32_t)o->repeat_last_n : 64;
        for (int32_t h = n_history > window ? n_history - window : 0; h < n_history; h++) is_seen |= history[h] == i;
        /* the engine keeps logits in f32 */
        if (is_seen && o->repeat_penalty > 0) {
            logit = logit > 0 ? (float)logit / o->repeat_penalty : (float)logit * o->repeat_penalty;
        }
        items[i] = (oracle_item){.logit = logit / o->temperature, .id = i};
    }
    const bool is_sorted = o->top_k > 0 || (o->top_p > 0 && o->top_p < 1);
    if (is_sorted) qsort(items, (size_t)n, sizeof *items, by_logit);
    if (o->top_k > 0 && o->top_k < n) n = o->top_k;
    normalise(items, n);
    if (o->top_p > 0 && o->top_p < 1) {
        double sum = 0;
        int32_t kept = 0;
        while (kept < n && sum < o->top_p) sum += items[kept++].probability;
        n = kept;
        normalise(items, n);
    }
    double greatest = 0;
    for (int32_t i = 0; i < n; i++) greatest = fmax(greatest, items[i].probability);
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        if (items[i].probability >= o->min_p * greatest) items[kept++] = items[i];
    }
    normalise(items, kept);
    return kept;
}

static int32_t oracle_draw(const oracle_item *items, int32_t n, double uniform) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += items[i].probability;
        if (uniform < sum) return items[i].id;
    }
    return items[n - 1].id;
}

/* ---- cases ---- */

/* Known answers of the Random123 distribution (kat_vectors). */
static void philox_gives_the_published_numbers(void) {
    static const struct {
        nlm_philox_block counter;
        uint64_t key;
        nlm_philox_block expected;
    } known[] = {
        {{{0, 0, 0, 0}}, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{~0u, ~0u, ~0u, ~0u}}, ~0ull, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         0x299f31d0a4093822,
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const nlm_philox_block got = nlm_philox(known[i].counter, known[i].key);
        CU_ASSERT_EQUAL(memcmp(&got, &known[i].expected, sizeof got), 0);
    }
}

static void sampler_draws_as_the_float64_reference(void) {
    static const struct {
        float temperature, top_p, min_p, repeat_penalty;
        int32_t top_k;
        uint32_t repeat_last_n;
    } settings[] = {
        {1.0f, 0, 0, 0, 0, 0},      {0.7f, 0, 0, 0, 0, 0},       {1.5f, 0.9f, 0, 0, 0, 0},
        {1.0f, 0.95f, 0, 0, 40, 0}, {1.0f, 0, 0.05f, 0, 0, 0},   {0.8f, 0.9f, 0.1f, 1.3f, 20, 8},
        {0.5f, 0, 0, 1.1f, 0, 64},  {2.0f, 0, 0, 0.8f, 3, 1},    {1.0f, 0.001f, 0, 0, 0, 0},
        {1.0f, 0, 1.0f, 0, 0, 0},   {1.0f, 1.0f, 0, 1.0f, 1, 0}, {1.0f, 0, 0, 0, 100000, 0},
    };
    static float logits[N_VOCAB];
    static int32_t history[200];
    static oracle_item items[N_VOCAB];
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        nlm_sampler_options o = with(settings[i].temperature);
        o.top_k = settings[i].top_k;
        o.top_p = settings[i].top_p;
        o.min_p = settings[i].min_p;
        o.repeat_penalty = settings[i].repeat_penalty;
        o.repeat_last_n = settings[i].repeat_last_n;
        o.seed = 1000 + i;
        nlm_sampler *sampler = make(&o, N_VOCAB);
        for (int round = 0; round < 200; round++) {
            random_logits(logits, N_VOCAB);
            for (int h = 0; h < round; h++) history[h] = (int32_t)(lcg_uniform() * N_VOCAB);
            const int32_t n = oracle_filter(&o, logits, N_VOCAB, history, round, items);
            const int32_t expected = oracle_draw(items, n, nlm_philox_uniform(o.seed, (uint64_t)round));
            CU_ASSERT_EQUAL(choose(sampler, logits, history, (size_t)round), expected);
        }
        nlm_sampler_destroy(sampler);
    }
}

/* Of a vocabulary where a few of the likeliest are looked for first: enough of them, or not. */
static void few_or_many_of_many_tokens_are_the_same(void) {
    enum { N = 5003 };
    static float logits[N];
    static oracle_item items[N];
    static const int32_t history[1] = {0};
    for (int round = 0; round < 120; round++) {
        nlm_sampler_options o = with(round % 2 ? 1.0f : 0.3f); /* thousands, or tens, make up the mass */
        if (round % 3) o.top_p = round % 5 ? 0.9f : 0.999f;
        if (round % 4 == 0) o.top_k = round % 8 ? 40 : 700;
        o.seed = (uint64_t)round;
        nlm_sampler *sampler = make(&o, N);
        random_logits(logits, N);
        const int32_t n = oracle_filter(&o, logits, N, history, 1, items);
        CU_ASSERT_EQUAL(choose(sampler, logits, history, 1), oracle_draw(items, n, nlm_philox_uniform(o.seed, 1)));
        nlm_sampler_destroy(sampler);
    }
}

static void sampler_frequencies_follow_the_probabilities(void) {
    enum { N = 12, DRAWS = 60000 };
    static const float logits[N] = {0, 1, 2, 0.5f, -1, -2, 1.5f, 0, 0.25f, -0.5f, 2.5f, -3};
    nlm_sampler_options o = with(0.9f);
    o.seed = 20240517;
    nlm_sampler *sampler = make(&o, N);
    oracle_item items[N];
    oracle_filter(&o, logits, N, NULL, 0, items);
    static int32_t history[DRAWS];
    int counts[N] = {0};
    for (size_t i = 0; i < DRAWS; i++) counts[choose(sampler, logits, history, i)]++;
    double chi_squared = 0;
    for (int i = 0; i < N; i++) {
        const double expected = items[i].probability * DRAWS;
        chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    CU_ASSERT(chi_squared < 31.26); /* 11 degrees of freedom, p = 0.001 */
    CU_ASSERT(chi_squared > 1.0);   /* too good to be random below */
    nlm_sampler_destroy(sampler);
}

static void sampler_is_greedy_without_temperature(void) {
    const float logits[5] = {1, 3, -2, 3, 2};
    nlm_sampler *sampler = make(NULL, 5);
    CU_ASSERT_EQUAL(choose(sampler, logits, NULL, 0), 1); /* the first of equals */
    nlm_sampler_destroy(sampler);
    nlm_sampler_options o = with(0);
    o.repeat_penalty = 2;
    sampler = make(&o, 5);
    const int32_t seen[] = {1};
    CU_ASSERT_EQUAL(choose(sampler, logits, seen, 1), 3);
    nlm_sampler_destroy(sampler);
}

static void sampler_penalises_a_token_once_however_often_it_occurs(void) {
    const float logits[3] = {8, 3, 5};
    nlm_sampler_options o = with(0);
    o.repeat_penalty = 1.5f; /* 8 / 1.5 = 5.33 stays ahead of 5; twice would not */
    nlm_sampler *sampler = make(&o, 3);
    const int32_t seen[] = {0, 0, 0, 0, 1, 0};
    CU_ASSERT_EQUAL(choose(sampler, logits, seen, 6), 0);
    CU_ASSERT_EQUAL(choose(sampler, logits, seen, 6), 0); /* and leaves nothing behind */
    nlm_sampler_destroy(sampler);
}

static void sampler_top_k_keeps_the_lower_ids_of_equals(void) {
    const float logits[6] = {1, 1, 1, 1, 1, 1};
    nlm_sampler_options o = with(1);
    o.top_k = 2;
    nlm_sampler *sampler = make(&o, 6);
    static const int32_t history[64] = {0};
    bool has[6] = {false};
    for (size_t i = 0; i < 64; i++) has[choose(sampler, logits, history, i)] = true;
    CU_ASSERT(has[0] && has[1] && !has[2] && !has[3] && !has[4] && !has[5]);
    nlm_sampler_destroy(sampler);
}

static void sampler_survives_extreme_values(void) {
    const float logits[4] = {-3e38f, 3e38f, 0, 1e-38f};
    nlm_sampler_options o = with(1e-30f);
    o.top_p = 0.5f;
    nlm_sampler *sampler = make(&o, 4);
    for (size_t i = 0; i < 8; i++) CU_ASSERT_EQUAL(choose(sampler, logits, (int32_t[8]){0}, i), 1);
    nlm_sampler_destroy(sampler);
}

/* Every option at the ends of its range, alone and with the others: a token of the vocabulary comes out, and it is
 * the likeliest where nothing else is kept. */
static void sampler_draws_at_the_ends_of_every_range(void) {
    static const float temperatures[] = {0, 1e-45f, 1, 1e6f}, masses[] = {0, 1e-45f, 0.9f, 1};
    static const float penalties[] = {0, 1e-45f, 1e-38f, 1, 1e6f};
    static const int32_t counts[] = {0, 1, INT32_MAX};
    static const uint32_t windows[] = {0, 1, UINT32_MAX};
    static const float logits[][4] = {
        {-3e38f, 3e38f, 0, 1e-38f}, {1, 2, 3, 4}, {-1, -2, -3, -4}, {0, 0, -0.0f, 0}, {1e-45f, -1e-45f, 0, 3e38f}};
    static const int32_t history[] = {0, 1, 2, 3, 0, -1, 4};
    enum { N_T = 4, N_M = 4, N_R = 5, N_C = 3, N_W = 3, ALL = N_T * N_M * N_M * N_R * N_C * N_W };
    for (int i = 0; i < ALL; i++) {
        nlm_sampler_options o = with(temperatures[i % N_T]);
        o.top_p = masses[i / N_T % N_M];
        o.min_p = masses[i / N_T / N_M % N_M];
        o.repeat_penalty = penalties[i / N_T / N_M / N_M % N_R];
        o.top_k = counts[i / N_T / N_M / N_M / N_R % N_C];
        o.repeat_last_n = windows[i / N_T / N_M / N_M / N_R / N_C];
        nlm_sampler *sampler = make(&o, 4);
        for (size_t l = 0; l < sizeof logits / sizeof *logits; l++) {
            for (size_t n = 0; n <= sizeof history / sizeof *history; n++) {
                const int32_t id = choose(sampler, logits[l], history, n);
                if (id < 0 || id >= 4) printf("\noptions %d, logits %zu, history of %zu: %d", i, l, n, id);
                CU_ASSERT_FATAL(id >= 0 && id < 4);
            }
        }
        nlm_sampler_destroy(sampler);
    }
}

/* Every stage, mirostat and the mask at ends of their ranges that are drawn by chance, in any order. */
static void stages_draw_at_the_ends_of_every_range(void) {
    static const char *const names[] = {"penalties", "dry",   "temperature", "top_n_sigma", "top_k",
                                        "typical",   "top_p", "min_p",       "xtc"};
    static const float parts[] = {0, 1e-45f, 0.5f, 1}, large[] = {0, 1e-45f, 1, 1e6f},
                       signs[] = {-1e6f, 0, 1e-45f, 1e6f};
    static const float logits[][4] = {
        {-3e38f, 3e38f, 0, 1e-38f}, {1, 2, 3, 4}, {-1, -2, -3, -4}, {0, 0, -0.0f, 0}, {1, -INFINITY, -INFINITY, 0}};
    static const double mus[] = {0, 1e-300, -1e300, 1e300, 3};
    static const int32_t history[] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 3, 3, 3};
#define ANY(list) list[(size_t)(lcg_uniform() * (double)(sizeof list / sizeof *list))]
    for (int i = 0; i < 20000; i++) {
        nlm_sampler_options o = with(ANY(large));
        o.seed = (uint64_t)i;
        o.typical_p = ANY(parts);
        o.top_p = ANY(parts);
        o.min_p = ANY(parts);
        o.xtc_probability = ANY(parts);
        o.xtc_threshold = ANY(parts);
        o.top_n_sigma = ANY(large);
        o.dry_multiplier = ANY(large);
        o.dry_base = lcg_uniform() < 0.5 ? 1e6f : 1;
        o.dry_allowed_length = lcg_uniform() < 0.5 ? 1 : 3;
        o.temperature_range = ANY(large);
        o.temperature_exponent = lcg_uniform() < 0.5 ? 1e3f : 1e-45f;
        o.mirostat_tau = lcg_uniform() < 0.5 ? 0 : 1e3f;
        o.mirostat_eta = lcg_uniform() < 0.5 ? 1e-45f : 1e3f;
        o.frequency_penalty = ANY(signs);
        o.presence_penalty = ANY(signs);
        o.repeat_penalty = ANY(large);
        const char *order[9];
        const size_t first = (size_t)(lcg_uniform() * 9),
                     step = 1 + (size_t)(lcg_uniform() * 2); /* 9 and 2: none in common */
        for (size_t k = 0; k < 9; k++) order[k] = names[(first + k * step) % 9];
        o.order = order;
        o.n_order = 9;
        nlm_sampler *sampler = make(&o, 4);
        const uint32_t mask = 0x9; /* tokens 0 and 3 */
        double mu = ANY(mus);
        for (size_t l = 0; l < sizeof logits / sizeof *logits; l++) {
            const bool is_masked = lcg_uniform() < 0.3;
            const nlm_choice choice = {.logits = logits[l],
                                       .history = history,
                                       .n_history = (size_t)(lcg_uniform() * 15),
                                       .allowed = is_masked ? &mask : NULL,
                                       .mu = &mu};
            const int32_t id = nlm_sampler_choose(sampler, &choice);
            const bool may_come = id >= 0 && id < 4 && logits[l][id] > -INFINITY && (!is_masked || mask >> id & 1);
            if (!may_come) printf("\noptions %d, logits %zu: %d", i, l, id);
            CU_ASSERT_FATAL(may_come && !isnan(mu));
        }
        nlm_sampler_destroy(sampler);
    }
#undef ANY
}

static void sampler_refuses_options_out_of_range(void) {
    nlm_sampler_options wrong[6];
    for (int i = 0; i < 6; i++) wrong[i] = with(1);
    wrong[0].temperature = -1;
    wrong[1].top_p = 1.5f;
    wrong[2].min_p = NAN;
    wrong[3].top_k = -1;
    wrong[4].repeat_penalty = INFINITY;
    wrong[5].struct_size = 0;
    for (int i = 0; i < 6; i++) {
        nlm_sampler *sampler = NULL;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_sampler_new(4, &wrong[i], &sampler, &err), NLM_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NULL(sampler);
        CU_ASSERT(strlen(err.msg) > 0);
    }
}

static const check_case cases[] = {
    CHECK_CASE(philox_gives_the_published_numbers),
    CHECK_CASE(sampler_draws_as_the_float64_reference),
    CHECK_CASE(few_or_many_of_many_tokens_are_the_same),
    CHECK_CASE(sampler_frequencies_follow_the_probabilities),
    CHECK_CASE(sampler_is_greedy_without_temperature),
    CHECK_CASE(sampler_penalises_a_token_once_however_often_it_occurs),
    CHECK_CASE(sampler_top_k_keeps_the_lower_ids_of_equals),
    CHECK_CASE(sampler_survives_extreme_values),
    CHECK_CASE(sampler_draws_at_the_ends_of_every_range),
    CHECK_CASE(stages_draw_at_the_ends_of_every_range),
    CHECK_CASE(sampler_refuses_options_out_of_range),
};
CHECK_MAIN("sampler", cases)
