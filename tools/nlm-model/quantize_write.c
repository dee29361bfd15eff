/* Writing a quantised model: tensor by tensor and piece by piece, rows in parallel, each measured as it is made. */
#include "base/status.h"
#include "common/interrupt.h"
#include "importance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILE_TYPE "general.file_type"
#define VERSION   "general.quantization_version"
#define IMATRIX   "quantize.imatrix."

enum { QUANTIZATION_VERSION = 2, UNIT_ELEMENTS = 4096 }; /* whole blocks of every type */

/* What one thread does at a time: elements of one row. Sums over them are added up in the order of units, so that no
 * bit depends on the number of threads. */
typedef struct unit {
    int64_t row, col, first, count; /* of the tensor, and within the piece */
    double error, power;
    nlm_status status;
} unit;

typedef struct writing {
    quantize_plan *plan;
    nlm_pool *pool;
    float *values, *decoded; /* [NLM_SOURCE_ELEMENTS] of the piece, before and after */
    unit *units;             /* [NLM_SOURCE_ELEMENTS] */
    size_t n_units;
    quantized *tensor; /* the one at hand */
    void *out;
    double row_error, row_power, error, power; /* of a row that pieces share, and of all rows */
} writing;

typedef struct made {
    writing *w;
    quantized *tensor;
} made;

/* ---- one piece ---------------------------------------------------------------------------- */

static void measure(const quantized *q, unit *u, const float *values, const float *decoded) {
    u->error = u->power = 0;
    for (int64_t i = 0; i < u->count; i++) {
        const double weight = q->weights ? (double)q->weights[u->col + i] : 1;
        const double value = (double)values[i], miss = (double)decoded[i] - value;
        u->error += weight * miss * miss;
        u->power += weight * value * value;
    }
}

static nlm_status make_unit(const writing *w, unit *u, nlm_error *err) {
    const quantized *q = w->tensor;
    const nlm_dtype from = q->from->tensor.dtype;
    const uint64_t at = (uint64_t)(u->row * q->cols + u->col);
    float *values = w->values + u->first, *decoded = w->decoded + u->first;
    char *out = (char *)w->out + nlm_dtype_row_bytes(q->to, (uint64_t)u->first);
    nlm_decode_row(from, (const char *)q->from->tensor.data + nlm_dtype_row_bytes(from, at), values, u->count);
    NLM_TRY(q->weights ? nlm_quantize_row_weighted(q->to, values, q->weights + u->col, out, u->count, err)
                       : nlm_quantize_row(q->to, values, out, u->count, err));
    nlm_decode_row(q->to, out, decoded, u->count);
    measure(q, u, values, decoded);
    return NLM_OK;
}

static void make_units(void *user, uint32_t ith, uint32_t nth) {
    writing *w = user;
    for (size_t i = ith; i < w->n_units; i += nth) w->units[i].status = make_unit(w, &w->units[i], NULL);
}

static void cut_into_units(writing *w, int64_t first, int64_t count) {
    const int64_t cols = w->tensor->cols;
    w->n_units = 0;
    for (int64_t done = 0, some; done < count; done += some) {
        const int64_t col = (first + done) % cols;
        some = cols - col;
        if (some > UNIT_ELEMENTS) some = UNIT_ELEMENTS;
        if (some > count - done) some = count - done;
        w->units[w->n_units++] = (unit){.row = (first + done) / cols, .col = col, .first = done, .count = some};
    }
}

static double relative(double error, double power) {
    return error > 0 ? sqrt(error / power) : 0;
}

static void end_row(writing *w, int64_t row) {
    quantize_error *told = &w->tensor->error;
    const double value = relative(w->row_error, w->row_power);
    if (value > told->worst_row) {
        told->worst_row = value;
        told->row = row;
    }
    w->error += w->row_error;
    w->power += w->row_power;
    w->row_error = w->row_power = 0;
    if (row == w->tensor->rows - 1) told->whole = relative(w->error, w->power);
}

/* The first unit that failed, once more, for its sentence. */
static nlm_status tell_failure(const writing *w, unit *u, nlm_error *err) {
    const nlm_status status = make_unit(w, u, err);
    return nlm_status_prefix(status, err, "'%s' as %s, row %lld from element %lld on", w->tensor->name,
                             nlm_dtype_name(w->tensor->to), (long long)u->row, (long long)u->col);
}

static nlm_status read_piece(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const made *m = user;
    writing *w = m->w;
    if (first == 0) {
        NLM_TRY(nlm_gguf_check_file(w->plan->gguf, err));
        w->tensor = m->tensor;
        w->row_error = w->row_power = w->error = w->power = 0;
    }
    w->out = out;
    cut_into_units(w, first, count);
    nlm_pool_run(w->pool, make_units, w);
    for (size_t i = 0; i < w->n_units; i++) {
        unit *u = &w->units[i];
        if (u->status != NLM_OK) return tell_failure(w, u, err);
        w->row_error += u->error;
        w->row_power += u->power;
        if (u->col + u->count == w->tensor->cols) end_row(w, u->row);
    }
    if (first + count == w->tensor->rows * w->tensor->cols) {
        nlm_gguf_drop_pages(w->plan->gguf, w->tensor->from->tensor.data, w->tensor->from->bytes);
    }
    return NLM_OK;
}

/* ---- the file ----------------------------------------------------------------------------- */

static bool is_key(const nlm_gguf_entry *entry, const char *key) {
    return entry->key.length == strlen(key) && memcmp(entry->key.data, key, strlen(key)) == 0;
}

static void add_metadata(const quantize_plan *plan, nlm_gguf_writer *w) {
    for (size_t i = 0; i < nlm_gguf_entry_count(plan->gguf); i++) {
        const nlm_gguf_entry *entry = nlm_gguf_entry_at(plan->gguf, i);
        const bool is_old_imatrix = plan->importance && entry->key.length > strlen(IMATRIX) &&
                                    memcmp(entry->key.data, IMATRIX, strlen(IMATRIX)) == 0;
        if (is_key(entry, FILE_TYPE) || is_key(entry, VERSION) || is_old_imatrix) continue;
        nlm_gguf_writer_entry(w, entry);
    }
    nlm_gguf_writer_u32(w, FILE_TYPE, quantize_file_type(plan->types.type));
    nlm_gguf_writer_u32(w, VERSION, QUANTIZATION_VERSION);
    if (!plan->importance) return;
    nlm_gguf_writer_u32(w, IMATRIX "entries_count", (uint32_t)plan->importance->count);
    nlm_gguf_writer_u32(w, IMATRIX "chunks_count", (uint32_t)plan->importance->n_chunks);
}

static nlm_status write_file(writing *w, made *sources, nlm_gguf_writer *writer, const char *path, nlm_error *err) {
    add_metadata(w->plan, writer);
    for (size_t i = 0; i < w->plan->count; i++) {
        quantized *q = &w->plan->tensors[i];
        const nlm_tensor *tensor = &q->from->tensor;
        sources[i] = (made){w, q};
        if (q->is_made)
            nlm_gguf_writer_source(writer, q->name, q->to, tensor->rank, tensor->shape,
                                   (nlm_tensor_source){read_piece, &sources[i]});
        else
            nlm_gguf_writer_tensor(writer, q->name, tensor);
    }
    nlm_interrupt_begin_files();
    return nlm_interrupt_end_files(nlm_gguf_writer_finish(writer, path, err));
}

nlm_status quantize_write(quantize_plan *plan, const char *path, uint32_t threads, nlm_error *err) {
    writing w = {.plan = plan};
    nlm_gguf_writer *writer = NULL;
    made *sources = calloc(plan->count + 1, sizeof *sources);
    w.values = malloc(NLM_SOURCE_ELEMENTS * sizeof *w.values);
    w.decoded = malloc(NLM_SOURCE_ELEMENTS * sizeof *w.decoded);
    w.units = malloc(NLM_SOURCE_ELEMENTS * sizeof *w.units);
    nlm_status status = sources && w.values && w.decoded && w.units
                            ? nlm_pool_create(&(nlm_pool_options){.threads = threads}, &w.pool, err)
                            : nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    if (status == NLM_OK) status = nlm_gguf_writer_create(&writer, err);
    if (status == NLM_OK) status = write_file(&w, sources, writer, path, err);
    nlm_gguf_writer_destroy(writer);
    if (w.pool) nlm_pool_destroy(w.pool);
    free(w.units);
    free(w.decoded);
    free(w.values);
    free(sources);
    return status;
}
