/* What nlm-eval computes of an open model. */
#ifndef NLM_EVAL_EVAL_H
#define NLM_EVAL_EVAL_H

#include <nlm/nlm.h>
#include "common/input.h"

/* A session that is fed in chunks, each with the logits of its tokens. */
typedef struct evaluator {
    nlm_session *session;
    size_t n_vocab;
    size_t chunk;  /* tokens at once */
    float *logits; /* [chunk, n_vocab] */
} evaluator;

/* Of the model's one session. */
nlm_status evaluator_open(evaluator *e, nlm_model *model, nlm_error *err);
void evaluator_close(evaluator *e);

/* Writes the logits after each of ids[0..count): float32 [count, n_vocab] as .npy, chunk by chunk. */
nlm_status evaluate_logits(evaluator *e, const int32_t *ids, size_t count, const char *path, nlm_error *err);

typedef struct perplexity_options {
    size_t window; /* tokens a window, BOS included */
    size_t stride; /* tokens from one window's beginning to the next, less than a window */
    int32_t bos;   /* stands before each window; -1: none */
} perplexity_options;

/* Appends the ids of a text, which is not empty; `name` stands for it in errors, flags are nlm_encode's. */
nlm_status evaluator_encode(const nlm_model *model, const char *name, const nlm_str *text, uint32_t flags,
                            nlm_ids *ids, nlm_error *err);
#define EVALUATOR_WINDOW 1024
/* What is in *options where it is not 0: windows of the model's context, at most EVALUATOR_WINDOW, and strides of
 * half a window; and BOS, if the model wants it before a text. */
nlm_status evaluator_windows(const nlm_model *model, perplexity_options *options, nlm_error *err);

typedef struct perplexity {
    double sum, sum_squares; /* of -ln p, float64 */
    size_t n_scored, n_windows;
} perplexity;

/* Every token is scored once, in the first window that holds it and a token (or BOS) before it; a token's
 * context is what stands before it in that window. So after the first window a token has between
 * window - stride and window - 1 tokens before it. */
nlm_status evaluate_perplexity(evaluator *e, const int32_t *ids, size_t count, const perplexity_options *options,
                               perplexity *out, nlm_error *err);
/* As llama-perplexity does it: windows do not overlap, the first token of each is BOS if there is one, in place of
 * what stood there, and the second half is scored. What fills no window is left out; the stride is not used. */
nlm_status evaluate_chunks(evaluator *e, const int32_t *ids, size_t count, const perplexity_options *options,
                           perplexity *out, nlm_error *err);

/* exp of the mean, and the standard error of that. */
double perplexity_value(const perplexity *p);
double perplexity_error(const perplexity *p);

#endif
