/* What follows from the sizes that were given where others were not. */
#include "train/sizes.h"

#include <string.h>

#include "base/status.h"

#define WHERE "model"

static int64_t or_else(int64_t value, int64_t fallback) {
    return value != 0 ? value : fallback;
}

static nlm_sizes with_defaults(const nlm_sizes *given) {
    nlm_sizes s = *given;
    s.n_head = or_else(s.n_head, s.n_embd >= 64 ? s.n_embd / 64 : 1);
    s.n_head_kv = or_else(s.n_head_kv, s.n_head);
    s.n_ff = or_else(s.n_ff, (s.n_embd * 8 / 3 + 31) / 32 * 32);
    s.d_state = or_else(s.d_state, 16);
    s.d_conv = or_else(s.d_conv, 4);
    s.dt_rank = or_else(s.dt_rank, (s.n_embd + 15) / 16);
    return s;
}

typedef struct bound {
    const char *name;
    int64_t value, least, most;
} bound;

static nlm_status check_bounds(const bound *bounds, size_t count, nlm_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (bounds[i].value >= bounds[i].least && bounds[i].value <= bounds[i].most) continue;
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%s is %lld; expected %lld to %lld", bounds[i].name,
                        (long long)bounds[i].value, (long long)bounds[i].least, (long long)bounds[i].most);
    }
    return NLM_OK;
}
#define CHECK_BOUNDS(bounds, err) NLM_TRY(check_bounds(bounds, sizeof(bounds) / sizeof *(bounds), err))

static nlm_status describe_llama(const nlm_sizes *s, nlm_hparams *h, nlm_error *err) {
    const bound bounds[] = {
        {"n_head", s->n_head, 1, 1 << 14}, {"n_head_kv", s->n_head_kv, 1, 1 << 14}, {"n_ff", s->n_ff, 1, 1 << 24}};
    CHECK_BOUNDS(bounds, err);
    if (s->n_embd % s->n_head || s->n_head % s->n_head_kv || s->n_embd / s->n_head % 2) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "n_embd %lld, n_head %lld and n_head_kv %lld: expected heads of an even size, and as many of "
                        "them or a multiple for each of keys and values",
                        (long long)s->n_embd, (long long)s->n_head, (long long)s->n_head_kv);
    }
    h->n_head.most = (int32_t)s->n_head;
    h->n_head_kv.most = (int32_t)s->n_head_kv;
    h->head_dim = h->n_rot = h->n_embd / h->n_head.most;
    h->n_ff.most = (int32_t)s->n_ff;
    return NLM_OK;
}

static nlm_status describe_mamba(const nlm_sizes *s, nlm_hparams *h, nlm_error *err) {
    const bound bounds[] = {
        {"d_state", s->d_state, 1, 256}, {"d_conv", s->d_conv, 2, 8}, {"dt_rank", s->dt_rank, 1, 1 << 20}};
    CHECK_BOUNDS(bounds, err);
    h->d_inner = 2 * h->n_embd;
    h->d_state = (int32_t)s->d_state;
    h->d_conv = (int32_t)s->d_conv;
    h->dt_rank = (int32_t)s->dt_rank;
    return NLM_OK;
}

nlm_status nlm_sizes_describe(const nlm_sizes *sizes, nlm_preset *out, nlm_error *err) {
    const bool is_mamba = strcmp(sizes->architecture, "mamba") == 0;
    if (!is_mamba && strcmp(sizes->architecture, "llama") != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "the architecture is '%s'; expected llama or mamba",
                        sizes->architecture);
    }
    const bound bounds[] = {{"n_embd", sizes->n_embd, 1, 1 << 20},
                            {"n_layer", sizes->n_layer, 1, 1 << 12},
                            {"n_ctx", sizes->n_ctx, 1, 1 << 28}};
    CHECK_BOUNDS(bounds, err);
    const nlm_sizes s = with_defaults(sizes);
    *out = (nlm_preset){.name = "model",
                        .architecture = is_mamba ? "mamba" : "llama",
                        .flags = s.is_untied ? NLM_PRESET_UNTIED : 0,
                        .hparams = {.n_layer = (int32_t)s.n_layer,
                                    .n_embd = (int32_t)s.n_embd,
                                    .n_ctx_train = (int32_t)s.n_ctx,
                                    .rms_norm_eps = 1e-5f}};
    return is_mamba ? describe_mamba(&s, &out->hparams, err) : describe_llama(&s, &out->hparams, err);
}
