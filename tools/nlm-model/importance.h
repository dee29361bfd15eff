/* How much each column of a matrix counts: the mean square of what the model multiplies it by. */
#ifndef NLM_MODEL_IMPORTANCE_H
#define NLM_MODEL_IMPORTANCE_H

#include "quantize.h"

typedef struct importance_item {
    const char *name; /* of the weight */
    int64_t cols;
    double *squares; /* [cols] sums over all tokens */
    float *weights;  /* [cols] */
} importance_item;

typedef struct importance {
    nlm_arena arena;
    importance_item *items;
    size_t count;
    uint64_t n_tokens, n_chunks;
} importance;

/* Runs the text of options->calibrate through the model in `path`, in windows of IMPORTANCE_WINDOW tokens (or the
 * model's context) that do not overlap, each after BOS where the model wants it. Errors those of opening and running
 * a model, INVALID_ARGUMENT (the text is empty), NUMERIC (a value is not finite). */
#define IMPORTANCE_WINDOW 512
nlm_status importance_collect(const char *path, const quantize_options *options, importance *out, nlm_error *err);
void importance_release(importance *found);

/* Gives the plan's tensors the weights of the columns. One that no matmul has read has none. */
void importance_apply(const importance *found, quantize_plan *plan);
/* Writes the sums as llama.cpp's imatrix files of GGUF have them: NAME.in_sum2 and NAME.counts. */
nlm_status importance_save(const importance *found, const char *text, const char *path, nlm_error *err);

#endif
