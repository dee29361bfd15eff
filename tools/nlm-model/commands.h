/* The commands of nlm-model. Each returns what to exit with and has told its errors. */
#ifndef NLM_MODEL_COMMANDS_H
#define NLM_MODEL_COMMANDS_H

#include "common/options.h"
#include "format/gguf.h"

typedef struct inspect_options {
    bool tensors; /* list them */
    bool json;
    bool has_no_mmap; /* of verify too */
} inspect_options;

typedef struct convert_options {
    const char *dtype; /* NULL: as they are */
    double shard_gb;   /* tensors of one file of a folder, at most */
} convert_options;

typedef struct quantize_options {
    const char *type, *embedding_type, *head_type; /* NULL: not given */
    const char *text;                              /* whose perplexity is measured; or NULL */
    const char *calibrate;                         /* a text that tells how much columns count; or NULL */
    const char *importance;                        /* where that is written; or NULL */
    const char *backend;
    int64_t threads;
    bool json;
} quantize_options;

int inspect_model(const nlm_command *command, const nlm_gguf *gguf, const inspect_options *options);
int verify_model(const nlm_command *command, const nlm_gguf *gguf);
int convert_model(const nlm_command *command, const char *in, const char *out, const convert_options *options);
int quantize_model(const nlm_command *command, const char *in, const char *out, const quantize_options *options);

#endif
