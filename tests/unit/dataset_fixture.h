/* What tests of the dataset share: texts in a folder of their own, and a tokenizer whose ids are bytes. */
#ifndef NLM_TESTS_DATASET_FIXTURE_H
#define NLM_TESTS_DATASET_FIXTURE_H

#include "train/dataset.h"
#include "unit/check.h"
#include "unit/temporary.h"
#include "unit/tokenizer_fixture.h"

#include <sys/stat.h>

enum { BYTE_BOS = 256, BYTE_EOS, BYTE_START, BYTE_END, BYTE_VOCAB };

/* Ids 0 to 255 are the bytes; then <s>, </s>, <|im_start|> and <|im_end|>. */
static inline nlm_tokenizer *byte_tokenizer(bool adds_bos, bool has_eos) {
    static const vocab_token tokens[] = {{"<s>", 3, 0}, {"</s>", 3, 0}, {"<|im_start|>", 3, 0}, {"<|im_end|>", 3, 0}};
    static const char *const merges[] = {"Q Z"};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    nlm_error err = NLM_ERROR_INIT;
    vocab_string(&v, "tokenizer.ggml.model", "gpt2");
    vocab_string(&v, "tokenizer.ggml.pre", "gpt-2");
    vocab_tokens(&v, false, true, tokens, COUNT(tokens));
    vocab_strings(&v, "tokenizer.ggml.merges", merges, COUNT(merges));
    vocab_number(&v, "tokenizer.ggml.bos_token_id", BYTE_BOS);
    if (has_eos) vocab_number(&v, "tokenizer.ggml.eos_token_id", BYTE_EOS);
    vocab_flag(&v, "tokenizer.ggml.add_bos_token", adds_bos);
    if (vocab_open(&v, &tokenizer, &err) != NLM_OK) printf(" [%s] ", err.msg);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    return tokenizer;
}

/* Two folders: of text, and of token files. */
typedef struct dataset_rig {
    temporary text, cache;
    nlm_tokenizer *tokenizer;
    nlm_dataset_options options; /* of the whole folder */
    const char *paths[1];
    nlm_error err; /* of the last opening */
} dataset_rig;

static inline void rig_make(dataset_rig *rig, nlm_tokenizer *take_tokenizer) {
    *rig = (dataset_rig){.tokenizer = take_tokenizer};
    CU_ASSERT_FATAL(temporary_make(&rig->text) && temporary_make(&rig->cache));
    rig->paths[0] = rig->text.folder;
    rig->options =
        (nlm_dataset_options){.paths = rig->paths, .n_paths = 1, .cache_folder = rig->cache.folder, .seed = 1};
}

static inline void rig_remove(dataset_rig *rig) {
    temporary_remove(&rig->text);
    temporary_remove(&rig->cache);
    nlm_tokenizer_destroy(rig->tokenizer);
}

static inline void rig_write(dataset_rig *rig, const char *name, const void *data, size_t length) {
    FILE *file = fopen(temporary_path(&rig->text, name), "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL_FATAL(fwrite(data, 1, length, file), length);
    fclose(file);
}

static inline void rig_puts(dataset_rig *rig, const char *name, const char *text) {
    rig_write(rig, name, text, strlen(text));
}

static inline nlm_status rig_try(dataset_rig *rig, nlm_dataset **out) {
    rig->err = (nlm_error)NLM_ERROR_INIT;
    return nlm_dataset_open(rig->tokenizer, &rig->options, out, &rig->err);
}

static inline nlm_dataset *rig_open(dataset_rig *rig) {
    nlm_dataset *dataset = NULL;
    const nlm_status status = rig_try(rig, &dataset);
    if (status != NLM_OK) printf(" [%s: %s] ", rig->err.where, rig->err.msg);
    CU_ASSERT_EQUAL_FATAL(status, NLM_OK);
    return dataset;
}

static inline void batch_make(nlm_train_batch *batch, const nlm_batch_shape *shape) {
    const size_t n = (size_t)shape->rows * (size_t)shape->length;
    *batch = (nlm_train_batch){.ids = calloc(n, 4),
                               .labels = calloc(n, 4),
                               .pos = calloc(n, 4),
                               .seq_start = calloc((size_t)shape->max_seqs + 1, 4)};
    if (!batch->ids || !batch->labels || !batch->pos || !batch->seq_start) abort();
}

static inline void batch_release(nlm_train_batch *batch) {
    free(batch->ids);
    free(batch->labels);
    free(batch->pos);
    free(batch->seq_start);
}

/* An id of the byte tokenizer as it reads. */
static inline void put_id(nlm_str *out, int32_t id) {
    static const char *const names[] = {"{s}", "{/s}", "{start}", "{end}"};
    if (id < 0) {
        nlm_str_puts(out, "_");
    } else if (id >= BYTE_BOS) {
        nlm_str_puts(out, names[id - BYTE_BOS]);
    } else {
        nlm_str_printf(out, "%c", (int)id);
    }
}

/* Up to 2000 tokens of training, each document in order, with a bar between two; *out_labels the same of the labels.
 */
static inline nlm_str documents_of(const nlm_dataset *dataset, nlm_str *out_labels) {
    const nlm_batch_shape shape = {.rows = 1, .length = 2000, .max_seqs = 100};
    nlm_train_batch batch;
    nlm_str text = {0};
    batch_make(&batch, &shape);
    nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, 0, &batch);
    nlm_str_puts(&text, "");
    for (int32_t s = 0; s < batch.n_seqs; s++) {
        if (s > 0) nlm_str_puts(&text, "|");
        for (int32_t t = batch.seq_start[s]; t < batch.seq_start[s + 1]; t++) {
            put_id(&text, batch.ids[t]);
            if (out_labels) put_id(out_labels, batch.labels[t]);
        }
    }
    batch_release(&batch);
    return text;
}

/* The tokens of the first document, with a ~ where those that count for the loss begin and where they end. */
static inline nlm_str mark_counted(const nlm_dataset *dataset) {
    const nlm_batch_shape shape = {.rows = 1, .length = 2000, .max_seqs = 1};
    nlm_train_batch batch;
    nlm_str out = {0};
    bool is_counted = false;
    batch_make(&batch, &shape);
    nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, 0, &batch);
    for (int32_t t = 0; t < batch.n_tokens; t++) {
        if (t > 0 && is_counted != (batch.labels[t - 1] >= 0)) nlm_str_puts(&out, "~");
        is_counted = t > 0 && batch.labels[t - 1] >= 0;
        put_id(&out, batch.ids[t]);
    }
    if (is_counted) nlm_str_puts(&out, "~");
    batch_release(&batch);
    return out;
}

#endif
