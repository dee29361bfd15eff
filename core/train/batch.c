/* Batches of a dataset: which windows of the stream they are, and their rows. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
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

/* ---- memory ------------------------------------------------------------------------------------------- */

static int32_t most_history(const nlm_batch_shape *shape) {
    return (shape->burn_in + shape->length - 1) / shape->length;
}

static bool take_memory(nlm_train_batch *batch, const nlm_batch_shape *shape, bool has_lanes) {
    const size_t tokens = (size_t)shape->rows * (size_t)shape->length, seqs = (size_t)shape->max_seqs;
    int32_t *memory = calloc(3 * tokens + 3 * seqs + 1, sizeof *memory);
    if (!memory) return false;
    *batch = (nlm_train_batch){
        .ids = memory, .labels = memory + tokens, .pos = memory + 2 * tokens, .seq_start = memory + 3 * tokens};
    if (has_lanes) batch->from = batch->seq_start + seqs + 1, batch->to = batch->from + seqs;
    return true;
}

nlm_status nlm_train_batch_create(const nlm_batch_shape *shape, nlm_train_batch **out, nlm_error *err) {
    const int32_t n_history = most_history(shape);
    const bool has_lanes = nlm_batch_lanes(shape) > 0;
    nlm_train_batch *batches = calloc((size_t)n_history + 2, sizeof *batches); /* the last: where memory ends */
    bool is_there = batches != NULL;
    for (int32_t i = 0; is_there && i <= n_history; i++) is_there = take_memory(&batches[i], shape, has_lanes);
    if (!is_there) {
        nlm_train_batch_destroy(batches);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_train_batch", "no memory for %d rows of %d tokens", shape->rows,
                        shape->length);
    }
    if (n_history > 0) batches->history = batches + 1;
    *out = batches;
    return NLM_OK;
}

void nlm_train_batch_destroy(nlm_train_batch *batch) {
    for (nlm_train_batch *b = batch; b && b->ids; b++) free(b->ids);
    free(batch);
}

/* ---- rows --------------------------------------------------------------------------------------------- */

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

/* A sequence that begins anew: `count` tokens from the file's token `from` on, of a document that ends at `end`. */
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
    if (out->from) out->from[out->n_seqs] = out->to[out->n_seqs] = -1;
    out->n_tokens += count;
    out->seq_start[++out->n_seqs] = out->n_tokens;
}

/* Of the split, [*out_from, returned). */
static uint64_t window_end(const nlm_split *split, uint64_t window, uint64_t length, uint64_t *out_from) {
    const uint64_t tokens = nlm_split_tokens(split);
    *out_from = window * length;
    return tokens - *out_from > length ? *out_from + length : tokens;
}

/* A row: the stream from `window` on, until it is full or has max_seqs sequences. */
static void add_row(const nlm_dataset *dataset, const nlm_split *split, uint64_t window, int32_t length,
                    int32_t max_seqs, nlm_train_batch *out) {
    uint64_t at, left = window_end(split, window, (uint64_t)length, &at) - at;
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

static void begin_batch(nlm_train_batch *out) {
    out->n_tokens = out->n_seqs = out->n_history = 0;
    out->n_counted = 0;
    out->seq_start[0] = 0;
}

/* ---- which windows they are --------------------------------------------------------------------------- */

typedef struct place {
    uint64_t window;
    bool goes_on;  /* from the window before it, which the row had in the batch before */
    int32_t share; /* sequences that the row may have */
} place;

/* Whether the window has more documents than a row may have sequences: then it is not read to its end. */
static bool ends_early(const nlm_split *split, const nlm_batch_shape *shape, uint64_t window, int32_t share) {
    uint64_t from;
    const uint64_t to = window_end(split, window, (uint64_t)shape->length, &from);
    return find_document(split, to - 1) - find_document(split, from) >= (uint64_t)share;
}

/* Each row has a stretch of windows for itself; a pass begins them all at another place. */
static bool find_carried(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                         uint64_t row, place *out) {
    const nlm_split *from = &dataset->splits[split];
    const uint64_t n_windows = count_windows(from, shape), n_batches = nlm_dataset_batches(dataset, split, shape);
    const uint64_t pass = index / n_batches, turn = index % n_batches, number = row * n_batches + turn;
    const uint64_t first = split == NLM_SPLIT_TRAIN ? nlm_shuffle(n_windows, dataset->seed, pass, 0) : 0;
    if (number >= n_windows) return false;
    *out = (place){.window = (first + number) % n_windows, .share = shape->max_seqs / shape->rows};
    out->goes_on = turn > 0 && out->window > 0 && !ends_early(from, shape, out->window - 1, out->share);
    return true;
}

/* False: the row is empty, and so are those behind it, or, where rows are carried, some of them. */
static bool find_place(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                       uint64_t row, int32_t n_seqs, place *out) {
    if (shape->carries) return find_carried(dataset, split, shape, index, row, out);
    const uint64_t n_windows = count_windows(&dataset->splits[split], shape);
    const uint64_t number = index * (uint64_t)shape->rows + row;
    const int32_t rows_behind = shape->rows - 1 - (int32_t)row; /* which get a sequence each at least */
    *out = (place){.window = number, .share = shape->max_seqs - n_seqs - rows_behind};
    if (split == NLM_SPLIT_TRAIN)
        out->window = nlm_shuffle(n_windows, dataset->seed, number / n_windows, number % n_windows);
    return split == NLM_SPLIT_TRAIN || number < n_windows;
}

/* ---- what is before them ------------------------------------------------------------------------------ */

/* A row's history for the states of its first sequence. */
typedef struct past {
    uint64_t first, count; /* tokens of the file */
    int32_t lane;
} past;

/* Says where the row's first sequence begins, and where its last one's state goes; the history that it has. */
static past place_states(const nlm_split *from, const nlm_batch_shape *shape, const place *place, int32_t lane,
                         int32_t first_seq, nlm_train_batch *out) {
    past p = {.lane = lane};
    const uint64_t at = place->window * (uint64_t)shape->length, document = find_document(from, at);
    const uint64_t behind = at - from->at[document];
    if (!place->goes_on) p.count = behind < (uint64_t)shape->burn_in ? behind : (uint64_t)shape->burn_in;
    p.first = from->first[document] + behind - p.count;
    if (behind > 0 && (place->goes_on || p.count > 0)) out->from[first_seq] = lane;
    if (shape->carries) out->to[out->n_seqs - 1] = lane;
    return p;
}

/* Part `part` of the histories, each in pieces as long as a row. */
static void add_history(const nlm_dataset *dataset, const nlm_batch_shape *shape, const past *past, int32_t part,
                        nlm_train_batch *out) {
    const uint64_t done = (uint64_t)part * (uint64_t)shape->length;
    if (past->count <= done) return;
    const uint64_t left = past->count - done;
    const int32_t count = left < (uint64_t)shape->length ? (int32_t)left : shape->length, s = out->n_seqs;
    add_sequence(&dataset->file, past->first + done, count, 0, out);
    out->from[s] = part > 0 ? past->lane : -1;
    out->to[s] = past->lane;
}

void nlm_dataset_batch(const nlm_dataset *dataset, int split, const nlm_batch_shape *shape, uint64_t index,
                       nlm_train_batch *out) {
    const nlm_split *from = &dataset->splits[split];
    const bool has_lanes = nlm_batch_lanes(shape) > 0, is_empty = count_windows(from, shape) == 0;
    const int32_t n_history = most_history(shape), first_lane = split == NLM_SPLIT_VALIDATION ? shape->rows : 0;
    begin_batch(out);
    for (int32_t i = 0; i < n_history; i++) begin_batch(&out->history[i]);
    if (split == NLM_SPLIT_VALIDATION && !is_empty) index %= nlm_dataset_batches(dataset, split, shape);
    for (int32_t row = 0; row < shape->rows && !is_empty; row++) {
        place place;
        const int32_t first_seq = out->n_seqs;
        if (!find_place(dataset, split, shape, index, (uint64_t)row, out->n_seqs, &place)) continue;
        add_row(dataset, from, place.window, shape->length, place.share, out);
        if (!has_lanes) continue;
        const past past = place_states(from, shape, &place, first_lane + row, first_seq, out);
        for (int32_t i = 0; i < n_history; i++) add_history(dataset, shape, &past, i, &out->history[i]);
    }
    fill_rest(shape, out);
    while (out->n_history < n_history && out->history[out->n_history].n_tokens > 0)
        fill_rest(shape, &out->history[out->n_history++]);
}
