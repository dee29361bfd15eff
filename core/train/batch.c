/* Batches of a dataset: which windows of the stream they are, and their rows. */
#include <string.h>

#include "train/dataset_impl.h"
#include "train/shuffle.h"

static uint64_t count_windows(const nlm_split *split, const nlm_batch_shape *shape) {
    const uint64_t tokens = nlm_split_tokens(split), length = (uint64_t)shape->length;
    return tokens / length + (tokens % length != 0);
}

uint64_t nlm_dataset_batches(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape) {
    const uint64_t windows = count_windows(&dataset->splits[split], shape), rows = (uint64_t)shape->rows;
    return windows / rows + (windows % rows != 0);
}

/* The document that holds token `at` of the split, which is below its tokens. */
static uint64_t find_document(const nlm_split *split, uint64_t at) {
    uint64_t low = 0, high = split->n_documents;
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (split->at[middle] <= at) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A sequence: `count` tokens from the file's token `from` on, of a document that ends at `end`. */
static void add_sequence(const nlm_token_file *file, uint64_t from, int32_t count, uint64_t end,
                         nlm_train_batch *out) {
    for (int32_t i = 0; i < count; i++) {
        const uint64_t next = from + (uint64_t)i + 1;
        const bool has_label = next < end && nlm_token_counts(file, next);
        const int32_t t = out->n_tokens + i;
        out->ids[t] = nlm_token_at(file, next - 1);
        out->labels[t] = has_label ? nlm_token_at(file, next) : -1;
        out->pos[t] = i;
        out->n_counted += has_label;
    }
    out->n_tokens += count;
    out->seq_start[++out->n_seqs] = out->n_tokens;
}

/* A row: the stream from `window` on, until it is full or has max_seqs sequences. */
static void add_row(const nlm_dataset *dataset, const nlm_split *split, uint64_t window, int32_t length,
                    int32_t max_seqs, nlm_train_batch *out) {
    uint64_t at = window * (uint64_t)length, left = nlm_split_tokens(split) - at;
    if (left > (uint64_t)length) left = (uint64_t)length;
    uint64_t document = find_document(split, at);
    for (int32_t i = 0; i < max_seqs && left > 0; i++, document++) {
        const uint64_t of_document = split->at[document + 1] - at;
        const uint64_t count = of_document < left ? of_document : left;
        const uint64_t end = split->first[document] + split->at[document + 1] - split->at[document];
        add_sequence(&dataset->file, end - of_document, (int32_t)count, end, out);
        at += count;
        left -= count;
    }
}

/* Behind the rows: what an op that looked there would find. */
static void fill_rest(const nlm_batch_shape *shape, nlm_train_batch *out) {
    for (int32_t t = out->n_tokens; t < shape->rows * shape->length; t++) {
        out->ids[t] = out->pos[t] = 0;
        out->labels[t] = -1;
    }
    for (int32_t s = out->n_seqs + 1; s <= shape->max_seqs; s++) out->seq_start[s] = out->n_tokens;
}

void nlm_dataset_batch(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                       nlm_train_batch *out) {
    const nlm_split *from = &dataset->splits[split];
    const uint64_t n_windows = count_windows(from, shape), rows = (uint64_t)shape->rows;
    out->n_tokens = out->n_seqs = 0;
    out->n_counted = 0;
    out->seq_start[0] = 0;
    if (split == NLM_SPLIT_VALIDATION && n_windows > 0) index %= nlm_dataset_batches(dataset, split, shape);
    for (uint64_t row = 0; row < rows && n_windows > 0; row++) {
        const uint64_t number = index * rows + row;
        if (split == NLM_SPLIT_VALIDATION && number >= n_windows) break;
        const uint64_t window = split == NLM_SPLIT_VALIDATION
                                    ? number
                                    : nlm_shuffle(n_windows, dataset->seed, number / n_windows, number % n_windows);
        const int32_t rows_behind = shape->rows - 1 - (int32_t)row; /* which get a sequence each at least */
        add_row(dataset, from, window, shape->length, shape->max_seqs - out->n_seqs - rows_behind, out);
    }
    fill_rest(shape, out);
}
