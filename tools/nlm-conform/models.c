/* Small models through the backend: against logits of the float64 oracle, and against themselves in other
 * batches, steps and thread counts, and replayed; with cpu_scalar for ops that it does not take. Same bits are asked
 * for where the device claims them, as of ops. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status.h"
#include "plugin/discover.h"
#include "rig.h"
#include "tensor/dtype.h"

enum { N_TOKENS = 23 };

/* A fixture's greatest NMSE: that of the roundings a backend may make by the types of the weights (see
 * oracle_rounding), of which some ten matrices add theirs up; with --strict, of f32 alone. */
#define NMSE_F32   1e-9
#define NMSE_F16   2e-6
#define NMSE_BF16  1e-4
#define NMSE_QUANT 2e-3

typedef struct model_row {
    const char *name;
    double nmse;
    nlm_dtype caches[4]; /* ended by -1 */
} model_row;

#define ALL_CACHES \
    { NLM_F32, NLM_F16, NLM_Q8_0, -1 }
#define PLAIN_CACHES \
    { NLM_F32, NLM_F16, -1 }
#define NO_CACHE \
    { NLM_F32, -1 }

static const model_row models[] = {
    {"llama-gqa-f32", NMSE_F32, PLAIN_CACHES},      /* 6 heads share 2 */
    {"llama-window-bf16", NMSE_BF16, PLAIN_CACHES}, /* a window of 5 tokens; 9 heads share 3 */
    {"llama-freqs-f32", NMSE_F32, PLAIN_CACHES},    /* frequency factors */
    {"llama-biases-f16", NMSE_F16, PLAIN_CACHES},   /* biases everywhere */
    {"llama-q4_0", NMSE_QUANT, ALL_CACHES},         /* heads of 32 */
    {"llama-q8_0", NMSE_QUANT, ALL_CACHES},
    {"llama-mixed", NMSE_QUANT, PLAIN_CACHES}, /* a type for each matrix, k types among them */
    {"qwen2-f32", NMSE_F32, PLAIN_CACHES},     /* half-split rope, biases of q, k and v */
    {"qwen3-f32", NMSE_F32, PLAIN_CACHES},     /* queries and keys normed by head */
    {"granite-f32", NMSE_F32, PLAIN_CACHES},   /* scaled embeddings, scores, blocks and logits */
    {"mamba-f32", NMSE_F32, NO_CACHE},
    {"mamba-odd-f32", NMSE_F32, NO_CACHE},    /* 29 channels, 5 states, the shortest kernel */
    {"mamba-normed-f32", NMSE_F32, NO_CACHE}, /* dt, B and C are normed */
    {"mamba-mixed", NMSE_QUANT, NO_CACHE},
};

static double cache_nmse(nlm_dtype dtype, bool is_strict) {
    if (dtype == NLM_F32) return 0;
    if (dtype == NLM_F16) return 1e-5;
    return is_strict ? 1e-3 : 4e-3;
}

void conform_for_each_model(conform_visit_fn visit, void *user) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        for (const nlm_dtype *cache = models[i].caches; *cache >= 0; cache++) {
            char name[SPEC_NAME_BYTES];
            const bool has_cache = strncmp(models[i].name, "mamba", 5) != 0;
            snprintf(name, sizeof name, "models/%s%s%s", models[i].name, has_cache ? ",cache:" : "",
                     has_cache ? nlm_dtype_find(*cache)->name : "");
            visit(user, name);
        }
    }
}

/* ---- fixtures ---- */

/* Of the tree that the program is part of: bin/nlm-conform and share/nlm/conform/NAME.suffix. */
static nlm_status fixture_path(const char *name, const char *suffix, char out[PATH_MAX], nlm_error *err) {
    char own[PATH_MAX];
    const char *slash = nlm_discover_code(own) ? strrchr(own, '/') : NULL;
    const int length = slash ? (int)(slash - own) : 0;
    const int used = snprintf(out, PATH_MAX, "%.*s/../share/nlm/conform/%s%s", length, own, name, suffix);
    if (slash && used < PATH_MAX && access(out, R_OK) == 0) return NLM_OK;
    return nlm_fail(err, NLM_NOT_FOUND, out, "the models that belong to nlm-conform are not beside it");
}

static nlm_status read_tokens(const char *name, int32_t out[N_TOKENS], nlm_error *err) {
    char path[PATH_MAX];
    NLM_TRY(fixture_path(name, ".txt", path, err));
    FILE *file = fopen(path, "r");
    int count = 0;
    while (file && count < N_TOKENS && fscanf(file, "%d", &out[count]) == 1) count++;
    if (file) fclose(file);
    return count == N_TOKENS ? NLM_OK : nlm_fail(err, NLM_BAD_FORMAT, path, "expected %d tokens", N_TOKENS);
}

/* The last `count` floats of an .npy file: what comes before is its header. */
static nlm_status read_logits(const char *name, float *out, size_t count, nlm_error *err) {
    char path[PATH_MAX];
    NLM_TRY(fixture_path(name, ".npy", path, err));
    FILE *file = fopen(path, "rb");
    const bool is_read = file && fseek(file, -(long)(count * sizeof *out), SEEK_END) == 0 &&
                         fread(out, sizeof *out, count, file) == count;
    if (file) fclose(file);
    return is_read ? NLM_OK : nlm_fail(err, NLM_BAD_FORMAT, path, "expected %zu floats", count);
}

/* ---- a model under test ---- */

typedef struct subject {
    conform_pools *pools;
    const nlm_device *device; /* that is asked for its claims */
    nlm_device *stand_in;     /* for what it does not take; NULL: a model is all its own, or not supported */
    nlm_device eager;         /* the same without nlm.capture: what it does is enqueued each time */
    const model_row *row;
    nlm_dtype cache;
    double most_nmse;
    int32_t tokens[N_TOKENS + 4]; /* the first ones again at the end */
    rig rig;
    size_t n_vocab;
    float *expected, *whole, *other; /* [N_TOKENS, n_vocab]: the oracle's, of one prefill, of another way */
    conform_result *result;
} subject;

static nlm_status open_rig(const subject *s, const nlm_device *device, uint32_t threads, rig *out, nlm_error *err) {
    char path[PATH_MAX];
    nlm_pool *pool;
    *out = (rig){0};
    NLM_TRY(fixture_path(s->row->name, ".gguf", path, err));
    NLM_TRY(conform_pool(s->pools, threads, &pool, err));
    return rig_open(path, s->cache, device, s->stand_in, pool, out, err);
}

static nlm_status prepare(subject *s, nlm_error *err) {
    NLM_TRY(open_rig(s, &s->eager, 2, &s->rig, err));
    s->n_vocab = (size_t)s->rig.n_vocab;
    const size_t count = N_TOKENS * s->n_vocab;
    s->expected = calloc(count + 1, sizeof(float));
    s->whole = calloc(count + 1, sizeof(float));
    s->other = calloc(count + 1, sizeof(float));
    if (!s->expected || !s->whole || !s->other) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for logits");
    NLM_TRY(read_tokens(s->row->name, s->tokens, err));
    memcpy(s->tokens + N_TOKENS, s->tokens, 4 * sizeof *s->tokens);
    return read_logits(s->row->name, s->expected, count, err);
}

static void release(subject *s) {
    rig_close(&s->rig);
    free(s->expected);
    free(s->whole);
    free(s->other);
}

/* Plans for exactly these parts, and runs them. */
static nlm_status run_once(rig *r, const rig_part *parts, int32_t n_parts, float *out, nlm_error *err) {
    rig_program program;
    int32_t rows = 0;
    for (int32_t i = 0; i < n_parts; i++) rows += parts[i].count;
    nlm_status status = rig_plan(r, rows, n_parts, &program, err);
    if (status == NLM_OK) status = rig_run(r, &program, parts, n_parts, out, err);
    rig_program_destroy(&program);
    return status;
}

static nlm_status prefill(const subject *s, rig *r, float *out, nlm_error *err) {
    const rig_part all = {0, s->tokens, N_TOKENS};
    return run_once(r, &all, 1, out, err);
}

/* Squared differences of b from a, as a part of a's squares; 0 of equal bits. */
static double distance(const float *a, const float *b, size_t count) {
    double error = 0, power = 0;
    if (memcmp(a, b, count * sizeof *a) == 0) return 0;
    for (size_t i = 0; i < count; i++) {
        const double off = (double)b[i] - (double)a[i];
        error += off * off;
        power += (double)a[i] * (double)a[i];
    }
    return error / power;
}

/* Of two ways to the same logits: the same bits if the device claims so; else each may be as far from the truth as is
 * allowed. Sentences about what differs are failures of the case, not errors of running it. */
static bool is_same(subject *s, uint32_t claim, const float *a, const float *b, size_t rows, const char *what) {
    const size_t count = rows * s->n_vocab;
    const bool must_be_equal = nlm_device_claims(s->device, claim);
    if (memcmp(a, b, count * sizeof *a) == 0) return true;
    if (must_be_equal) return conform_fail(s->result, "logits: other bits %s", what);
    const double apart = distance(a, b, count);
    if (apart <= 4 * s->most_nmse) return true; /* not so for NaN */
    return conform_fail(s->result, "logits: %s they are apart by NMSE %.3g, at most %.3g is allowed", what, apart,
                        4 * s->most_nmse);
}

static bool check_oracle(subject *s) {
    s->result->nmse = distance(s->expected, s->whole, N_TOKENS * s->n_vocab);
    s->result->error = sqrt(s->result->nmse / s->most_nmse);
    if (s->result->nmse <= s->most_nmse) return true; /* not so for NaN */
    return conform_fail(s->result, "logits: NMSE %.3g, at most %.3g is allowed", s->result->nmse, s->most_nmse);
}

/* How the tokens come: in pieces of these sizes, over and over, to one program planned for `bucket` rows. */
typedef struct feeding {
    int32_t sizes[4];
    int32_t n_sizes, bucket;
} feeding;

static const feeding one_by_one = {{1}, 1, 1}, in_pieces = {{7, 1, 5, 2}, 4, 9};

static nlm_status feed(const subject *s, rig *r, const feeding *f, float *out, nlm_error *err) {
    rig_program program;
    NLM_TRY(rig_reset(r, err));
    nlm_status status = rig_plan(r, f->bucket, f->bucket < 3 ? f->bucket : 3, &program, err);
    for (int32_t at = 0, i = 0; status == NLM_OK && at < N_TOKENS; i++) {
        const int32_t left = N_TOKENS - at, wanted = f->sizes[i % f->n_sizes], size = wanted < left ? wanted : left;
        const rig_part part = {0, s->tokens + at, size};
        status = rig_run(r, &program, &part, 1, out + (size_t)at * s->n_vocab, err);
        at += size;
    }
    rig_program_destroy(&program);
    return status;
}

static nlm_status check_steps(subject *s, nlm_error *err) {
    const uint32_t claim = NLM_DEVICE_BATCH_INVARIANT;
    NLM_TRY(feed(s, &s->rig, &one_by_one, s->other, err));
    if (!is_same(s, claim, s->other, s->whole, N_TOKENS, "in steps of one token than in one prefill")) return NLM_OK;
    NLM_TRY(feed(s, &s->rig, &in_pieces, s->other, err));
    is_same(s, claim, s->other, s->whole, N_TOKENS, "in pieces of 7, 1, 5 and 2 tokens than in one prefill");
    return NLM_OK;
}

/* In a rig of its own; threads are those of the host, which a stream device has no use for. */
static nlm_status check_threads(subject *s, nlm_error *err) {
    static const uint32_t counts[] = {1, 3, 8};
    const bool is_sliced = nlm_device_is_sliced(s->device);
    for (size_t i = 0; i < (is_sliced ? 3 : 1) && s->result->verdict != CONFORM_FAILED; i++) {
        char what[40] = "when run again";
        rig r;
        nlm_status status = open_rig(s, &s->eager, counts[i], &r, err);
        if (status == NLM_OK) status = prefill(s, &r, s->other, err);
        rig_close(&r);
        if (status != NLM_OK) return status;
        if (is_sliced) snprintf(what, sizeof what, "with %u threads than with 2", counts[i]);
        is_same(s, NLM_DEVICE_DETERMINISTIC, s->other, s->whole, N_TOKENS, what);
    }
    return NLM_OK;
}

/* ---- sequences together and alone ---- */

/* What sequence `number` feeds in a round: a prompt of 1 to 19 tokens, then single ones. */
static rig_part part_of(const subject *s, int32_t number, int32_t round) {
    static const int32_t prompts[RIG_SLOTS] = {5, 1, 17, 3, 8, 2, 19, 4, 9, 6, 16, 7, 12, 1, 15, 11};
    const int32_t *first = s->tokens + number % 4;
    if (round == 0) return (rig_part){number, first, prompts[number]};
    return (rig_part){number, first + prompts[number] + round - 1, 1};
}

static nlm_status check_round(subject *s, rig *alone, int32_t round, float *batch, float *single, nlm_error *err) {
    rig_part parts[RIG_SLOTS];
    for (int32_t i = 0; i < RIG_SLOTS; i++) parts[i] = part_of(s, i, round);
    NLM_TRY(run_once(&s->rig, parts, RIG_SLOTS, batch, err));
    for (int32_t i = 0; i < RIG_SLOTS; i++) {
        NLM_TRY(run_once(alone, &parts[i], 1, single, err));
        const size_t rows = (size_t)parts[i].count;
        const char *what = "for a sequence alone than in a batch of 16";
        if (!is_same(s, NLM_DEVICE_BATCH_INVARIANT, batch, single, rows, what)) break;
        batch += (size_t)parts[i].count * s->n_vocab;
    }
    return NLM_OK;
}

static nlm_status check_batch(subject *s, nlm_error *err) {
    rig alone;
    float *batch = calloc(RIG_SLOTS * N_TOKENS * s->n_vocab, sizeof *batch);
    NLM_TRY(rig_reset(&s->rig, err));
    nlm_status status =
        batch ? open_rig(s, &s->eager, 2, &alone, err) : nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory");
    for (int32_t round = 0; round < 3 && status == NLM_OK && s->result->verdict != CONFORM_FAILED; round++) {
        status = check_round(s, &alone, round, batch, s->other, err);
    }
    if (batch) rig_close(&alone);
    free(batch);
    return status;
}

/* ---- all about one model ---- */

/* A model none of whose ops the device takes says nothing of it. */
static nlm_status is_touched(subject *s, nlm_error *err) {
    rig_program program;
    NLM_TRY(rig_plan(&s->rig, N_TOKENS, 1, &program, err));
    const bool is_used = nlm_program_uses_first(program.program);
    rig_program_destroy(&program);
    return is_used ? NLM_OK : nlm_fail(err, NLM_UNSUPPORTED, "", "the device takes no op of this model");
}

static nlm_status check(subject *s, nlm_error *err) {
    static nlm_status (*const checks[])(subject *, nlm_error *) = {check_steps, check_threads, check_batch};
    NLM_TRY(prepare(s, err));
    if (s->stand_in) NLM_TRY(is_touched(s, err));
    NLM_TRY(prefill(s, &s->rig, s->whole, err));
    if (!check_oracle(s)) return NLM_OK;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        NLM_TRY(checks[i](s, err));
        if (s->result->verdict == CONFORM_FAILED) return NLM_OK;
    }
    s->result->verdict = CONFORM_PASSED;
    return NLM_OK;
}

/* Replayed with other counts and contents from one program, beside the same enqueued each time. */
static nlm_status check_replay(subject *s, nlm_error *err) {
    static const feeding *const ways[] = {&one_by_one, &in_pieces};
    rig recorded;
    NLM_TRY(prepare(s, err));
    nlm_status status = open_rig(s, s->device, 2, &recorded, err);
    for (size_t i = 0; i < 2 && status == NLM_OK && s->result->verdict != CONFORM_FAILED; i++) {
        status = feed(s, &s->rig, ways[i], s->whole, err);
        if (status == NLM_OK) status = feed(s, &recorded, ways[i], s->other, err);
        if (status != NLM_OK || !check_oracle(s)) break;
        is_same(s, NLM_DEVICE_REPLAY_EXACT, s->whole, s->other, N_TOKENS, "replayed than enqueued");
    }
    rig_close(&recorded);
    if (s->result->verdict == CONFORM_NOT_RUN) s->result->verdict = CONFORM_PASSED;
    return status;
}

/* Sets the row and type of cache that a case's name tells. */
static bool parse(const char *name, subject *s) {
    const char *model = name, *cache = strstr(model, ",cache:");
    const size_t length = cache ? (size_t)(cache - model) : strlen(model);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strlen(models[i].name) == length && memcmp(models[i].name, model, length) == 0) s->row = &models[i];
    }
    s->cache = NLM_F32;
    for (int j = 0; cache && s->row && s->row->caches[j] >= 0; j++) {
        const char *type = nlm_dtype_find(s->row->caches[j])->name;
        if (strcmp(type, cache + strlen(",cache:")) == 0) s->cache = s->row->caches[j];
    }
    return s->row != NULL;
}

typedef nlm_status (*check_fn)(subject *s, nlm_error *err);

static nlm_status run_with(subject *s, nlm_device *stand_in, check_fn check_all, nlm_error *err) {
    s->stand_in = stand_in;
    const nlm_status status = check_all(s, err);
    release(s);
    s->rig = (rig){0};
    s->expected = s->whole = s->other = NULL;
    return status;
}

static void discard(void *user, int32_t level, const char *message) {
    (void)user, (void)level, (void)message;
}

/* As users run it: the reference backend does what this one does not take, of which each program warns. */
static nlm_status run_with_reference(subject *s, check_fn check_all, nlm_error *err) {
    nlm_plugins *plugins;
    nlm_device *stand_in = NULL;
    NLM_TRY(nlm_plugins_create(NULL, &plugins, err));
    nlm_log_set_sink(discard, NULL);
    const bool has_reference = nlm_plugins_open(plugins, "cpu_scalar", -1, NULL, &stand_in, err) == NLM_OK;
    const nlm_status status = has_reference ? run_with(s, stand_in, check_all, err) : NLM_UNSUPPORTED;
    nlm_log_set_sink(NULL, NULL);
    conform_close(plugins, stand_in);
    return status;
}

static void run(conform_pools *pools, const nlm_device *device, const conform_options *options, const char *name,
                bool may_stand_in, check_fn check_all, conform_result *result) {
    nlm_error err = NLM_ERROR_INIT, ignored = NLM_ERROR_INIT;
    subject s = {.pools = pools, .device = device, .eager = *device, .result = result};
    if (!parse(name, &s)) {
        conform_fail(result, "there is no such model");
        return;
    }
    s.eager.capture = (nlm_capture_v1){0};
    const bool is_strict = options->activations == ORACLE_STRICT;
    s.most_nmse = (is_strict ? NMSE_F32 : s.row->nmse) + cache_nmse(s.cache, is_strict);
    nlm_status status = run_with(&s, NULL, check_all, &err);
    if (status == NLM_UNSUPPORTED && may_stand_in) {
        status = run_with_reference(&s, check_all, &ignored);
        if (status != NLM_OK && status != NLM_UNSUPPORTED) err = ignored;
    }
    if (status == NLM_OK) return;
    result->verdict = status == NLM_UNSUPPORTED ? CONFORM_UNSUPPORTED : CONFORM_FAILED;
    snprintf(result->message, sizeof result->message, "%s%s%s", err.where, err.where[0] ? ": " : "", err.msg);
}

void conform_run_model(conform_pools *pools, const nlm_device *device, const conform_options *options,
                       const char *name, conform_result *result) {
    run(pools, device, options, name + strlen("models/"), !options->is_complete, check, result);
}

void conform_replay_model(conform_pools *pools, const nlm_device *device, const conform_options *options,
                          const char *name, conform_result *result) {
    run(pools, device, options, name, false, check_replay, result);
}
