/* What the parts of nlm-model quantize hand on: each tensor, what it becomes, and what that costs. */
#ifndef NLM_MODEL_QUANTIZE_H
#define NLM_MODEL_QUANTIZE_H

#include "base/arena.h"
#include "base/threads.h"
#include "commands.h"
#include "common/json.h"
#include "tensor/dtype.h"

/* Square roots of sums of squares, of the error over that of the values; 0 where there is no error. */
typedef struct quantize_error {
    double whole;
    double worst_row; /* the greatest of a row */
    int64_t row;      /* the first that has it */
} quantize_error;

typedef struct quantized {
    const nlm_gguf_tensor *from;
    const char *name;
    const char *note; /* why it is not of --type; "" */
    nlm_dtype to;
    bool is_made; /* else the bytes are the file's */
    int64_t rows, cols;
    uint64_t bytes;
    const float *weights; /* [cols] how much an error counts, or NULL: each as much */
    quantize_error error;
} quantized;

/* The name of --type and its kin; NULL: no type that a matrix can have. */
const nlm_dtype_info *quantize_type(const char *name);
void quantize_type_list(nlm_str *out);
/* general.file_type as llama.cpp numbers it. */
uint32_t quantize_file_type(nlm_dtype dtype);

typedef struct quantize_types {
    nlm_dtype type, embedding, head; /* of all matrices, and of two of them */
} quantize_types;

/* Names of types, or NULL: the head is q6_k at least, and so is an embedding that is the head too. */
quantize_types quantize_choose(const nlm_gguf *gguf, const char *type, const char *embedding, const char *head);

typedef struct quantize_plan {
    nlm_arena arena;
    const nlm_gguf *gguf;
    quantize_types types;
    quantized *tensors; /* as the file has them */
    size_t count;
    size_t n_lossy;                      /* of those made, that were quantised before */
    const struct importance *importance; /* what their weights are from; or NULL */
} quantize_plan;

/* What each tensor of the file becomes. Errors UNSUPPORTED (a tensor of a type that is not read), OUT_OF_MEMORY. */
nlm_status quantize_plan_make(const nlm_gguf *gguf, const quantize_types *types, quantize_plan *out, nlm_error *err);
void quantize_plan_release(quantize_plan *plan);

/* Writes the file, metadata and all, with `threads` as nlm_pool_options has them, and fills in the errors. Ctrl-C
 * ends it with CANCELLED and leaves nothing. Errors NUMERIC (a value that is not finite or too large: tensor and
 * row), and those of writing. */
nlm_status quantize_write(quantize_plan *plan, const char *path, uint32_t threads, nlm_error *err);

/* The perplexity of a text, before and after; 0: not asked for. */
typedef struct quantize_perplexity {
    double before, before_error, after, after_error;
    size_t tokens;
} quantize_perplexity;

/* value and error of the model in `path`, as nlm-eval --text gives them. */
nlm_status quantize_measure(const char *path, const quantize_options *options, double *out_value, double *out_error,
                            size_t *out_tokens, nlm_error *err);

void quantize_report(nlm_str *out, const quantize_plan *plan, const char *path, const quantize_perplexity *text);
void quantize_report_json(nlm_json *json, const quantize_plan *plan, const char *path,
                          const quantize_perplexity *text);

#endif
