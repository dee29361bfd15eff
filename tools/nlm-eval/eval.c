/* Logits and likelihoods of a text, in chunks. */
#include "nlm-eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "common/interrupt.h"
#include "format/npy.h"

#define LOGITS_BYTES (8u << 20)
#define MAX_CHUNK    256u

nlm_status evaluator_open(evaluator *e, nlm_model *model, nlm_error *err) {
    *e = (evaluator){0};
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(model, &info, err));
    e->n_vocab = (size_t)info.n_vocab;
    e->chunk = LOGITS_BYTES / (e->n_vocab * sizeof(float));
    if (e->chunk < 1) e->chunk = 1;
    if (e->chunk > MAX_CHUNK) e->chunk = MAX_CHUNK;
    e->logits = malloc(e->chunk * e->n_vocab * sizeof *e->logits);
    if (!e->logits) return nlm_fail(err, NLM_OUT_OF_MEMORY, "logits", "no memory for %zu rows", e->chunk);
    return nlm_session_create(model, &e->session, err);
}

void evaluator_close(evaluator *e) {
    nlm_session_destroy(e->session);
    free(e->logits);
}

nlm_status evaluator_encode(const nlm_model *model, const char *name, const nlm_str *text, uint32_t flags,
                            nlm_ids *ids, nlm_error *err) {
    const char *data = text->data ? text->data : "";
    NLM_TRY(nlm_encode(model, data, text->length, flags, NULL, 0, &ids->count, err));
    if (ids->count == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, name, "the text is empty");
    ids->data = calloc(ids->count, sizeof *ids->data);
    if (!ids->data) return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory for %zu tokens", ids->count);
    return nlm_encode(model, data, text->length, flags, ids->data, ids->count, &ids->count, err);
}

nlm_status evaluator_windows(const nlm_model *model, perplexity_options *options, nlm_error *err) {
    nlm_model_info info = {.struct_size = sizeof info};
    int32_t ids[4] = {-1};
    size_t count = 0;
    NLM_TRY(nlm_model_describe(model, &info, err));
    NLM_TRY(nlm_encode(model, "", 0, NLM_TEXT_BOS, ids, 4, &count, err));
    options->bos = count > 0 && ids[0] == info.bos ? info.bos : -1;
    if (options->window == 0)
        options->window = info.context_length < EVALUATOR_WINDOW ? info.context_length : EVALUATOR_WINDOW;
    if (options->stride == 0) options->stride = options->window / 2;
    return NLM_OK;
}

static size_t chunk_length(const evaluator *e, size_t from, size_t end) {
    return end - from < e->chunk ? end - from : e->chunk;
}

static nlm_status write_rows(evaluator *e, const int32_t *ids, size_t count, nlm_npy_writer *writer, nlm_error *err) {
    for (size_t from = 0; from < count; from += e->chunk) {
        const size_t n = chunk_length(e, from, count);
        NLM_TRY(nlm_session_extend_logits(e->session, ids + from, n, e->logits, err));
        NLM_TRY(nlm_npy_write_rows(writer, e->logits, n, err));
    }
    return nlm_npy_finish(writer, err);
}

nlm_status evaluate_logits(evaluator *e, const int32_t *ids, size_t count, const char *path, nlm_error *err) {
    nlm_npy_writer *writer = NULL;
    nlm_interrupt_begin_files();
    nlm_status status = nlm_npy_create(path, count, e->n_vocab, &writer, err);
    if (status == NLM_OK) status = write_rows(e, ids, count, writer, err);
    nlm_npy_destroy(writer);
    return nlm_interrupt_end_files(status);
}

/* -ln softmax(logits)[id] */
static double negative_log_likelihood(const float *logits, size_t n, int32_t id) {
    float greatest = -INFINITY; /* without fmax: GCC 12 for AArch64 fails (an internal error) to vectorise it here */
    for (size_t i = 0; i < n; i++) greatest = logits[i] > greatest ? logits[i] : greatest;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)logits[i] - (double)greatest);
    return log(sum) + (double)greatest - (double)logits[id];
}

static void add_score(perplexity *out, double loss) {
    out->sum += loss;
    out->sum_squares += loss * loss;
    out->n_scored++;
}

double perplexity_value(const perplexity *p) {
    return exp(p->sum / (double)p->n_scored);
}

double perplexity_error(const perplexity *p) {
    const double n = (double)p->n_scored, mean = p->sum / n, variance = p->sum_squares / n - mean * mean;
    return p->n_scored > 1 && variance > 0 ? perplexity_value(p) * sqrt(variance / (n - 1)) : 0;
}

/* Feeds ids[from..end) after what the session holds and scores what they predict: ids[i + 1] after ids[i],
 * from ids[first] on. */
static nlm_status score(evaluator *e, const int32_t *ids, size_t from, size_t end, size_t first, perplexity *out,
                        nlm_error *err) {
    for (size_t n; from < end; from += n) {
        n = chunk_length(e, from, end);
        NLM_TRY(nlm_session_extend_logits(e->session, ids + from, n, e->logits, err));
        for (size_t i = 0; i < n; i++) {
            const size_t next = from + i + 1;
            if (next < first || next >= end) continue;
            add_score(out, negative_log_likelihood(e->logits + i * e->n_vocab, e->n_vocab, ids[next]));
        }
    }
    return NLM_OK;
}

/* The window ids[from..end), of which those from `first` on are to be scored. */
static nlm_status score_window(evaluator *e, const int32_t *ids, size_t from, size_t end, size_t first, int32_t bos,
                               perplexity *out, nlm_error *err) {
    NLM_TRY(nlm_session_reset(e->session, err));
    out->n_windows++;
    if (bos >= 0) {
        NLM_TRY(nlm_session_extend_logits(e->session, &bos, 1, e->logits, err));
        if (first <= from) add_score(out, negative_log_likelihood(e->logits, e->n_vocab, ids[from]));
    }
    return score(e, ids, from, end, first, out, err);
}

nlm_status evaluate_perplexity(evaluator *e, const int32_t *ids, size_t count, const perplexity_options *options,
                               perplexity *out, nlm_error *err) {
    *out = (perplexity){0};
    const size_t held = options->window - (options->bos >= 0 ? 1 : 0);
    size_t scored = 0; /* ids before this one are done */
    for (size_t from = 0; scored < count; from += options->stride) {
        const size_t end = count - from < held ? count : from + held;
        NLM_TRY(score_window(e, ids, from, end, scored, options->bos, out, err));
        scored = end;
    }
    return NLM_OK;
}

nlm_status evaluate_chunks(evaluator *e, const int32_t *ids, size_t count, const perplexity_options *options,
                           perplexity *out, nlm_error *err) {
    const size_t window = options->window;
    *out = (perplexity){0};
    int32_t *chunk = calloc(window, sizeof *chunk);
    if (!chunk) return nlm_fail(err, NLM_OUT_OF_MEMORY, "chunk", "no memory for %zu tokens", window);
    nlm_status status = NLM_OK;
    for (size_t from = 0; status == NLM_OK && count - from >= window; from += window) {
        memcpy(chunk, ids + from, window * sizeof *chunk);
        if (options->bos >= 0) chunk[0] = options->bos;
        out->n_windows++;
        status = nlm_session_reset(e->session, err);
        if (status == NLM_OK) status = score(e, chunk, 0, window, window / 2 + 1, out, err);
    }
    free(chunk);
    return status;
}
