/* Rows of a weight, read in the other side's order, turned into its numbers, and written in its type. */
#include "model/hf_stream.h"

#include <math.h>
#include <string.h>
#include "base/status.h"
#include "tensor/dtype.h"

void nlm_hf_stream_shape(nlm_hf_stream *stream, int rank, const int64_t *shape) {
    stream->rows = shape[0];
    stream->cols = 1;
    for (int d = 1; d < rank; d++) stream->cols *= shape[d];
}

/* Which row of the source is row `row` of the target. RoPE turns elements 2i and 2i + 1 of a head in a GGUF, and i
 * and i + half in transformers. */
static int64_t source_row(const nlm_hf_stream *s, int64_t row) {
    if (s->head_rows == 0) return row;
    const int64_t half = s->head_rows / 2, at = row % s->head_rows, head = row - at;
    return head + (s->is_import ? at / 2 + at % 2 * half : at % half * 2 + at / half);
}

/* -exp(log) and back. */
static nlm_status change_form(const nlm_hf_stream *s, float *values, int64_t count, nlm_error *err) {
    if (!(s->form & NLM_WEIGHT_HF_LOG)) return NLM_OK;
    for (int64_t i = 0; i < count; i++) {
        if (!s->is_import && !(values[i] < 0)) {
            return nlm_fail(err, NLM_NUMERIC, __func__, "'%s' holds %g, which is no -exp(x)", s->name,
                            (double)values[i]);
        }
        values[i] = s->is_import ? -expf(values[i]) : logf(-values[i]);
    }
    return NLM_OK;
}

/* Elements that stand side by side in both. */
static int64_t run_length(const nlm_hf_stream *s) {
    return s->head_rows > 0 ? s->cols : s->rows * s->cols;
}

/* Elements of the source from `first` on, which begins a block (rows and pieces are whole blocks), as f32. */
static void decode(const nlm_hf_stream *s, int64_t from, int64_t count, float *out) {
    const uint64_t first = (uint64_t)from;
    nlm_decode_row(s->from, (const char *)s->data + nlm_dtype_row_bytes(s->from, first), out, count);
}

/* Nothing but the order of rows changes: not a bit of a number does. */
static void copy(const nlm_hf_stream *s, int64_t from, int64_t count, void *out) {
    const uint64_t element = nlm_dtype_row_bytes(s->from, 1);
    memcpy(out, (const char *)s->data + (uint64_t)from * element, (size_t)((uint64_t)count * element));
}

static nlm_status read_rows(const nlm_hf_stream *s, int64_t first, int64_t count, void *out, nlm_error *err) {
    const bool is_copy = s->from == s->to && !(s->form & NLM_WEIGHT_HF_LOG);
    const uint64_t element = nlm_dtype_row_bytes(s->to, 1);
    const int64_t length = run_length(s);
    for (int64_t done = 0, some; done < count; done += some) {
        const int64_t at = first + done, col = at % length, from = source_row(s, at / length) * length + col;
        some = length - col < count - done ? length - col : count - done;
        if (is_copy)
            copy(s, from, some, (char *)out + (uint64_t)done * element);
        else
            decode(s, from, some, s->scratch + done);
    }
    if (is_copy) return NLM_OK;
    NLM_TRY(change_form(s, s->scratch, count, err));
    const nlm_status status = nlm_quantize_row(s->to, s->scratch, out, count, err);
    return nlm_status_prefix(status, err, "'%s' as %s", s->name, nlm_dtype_name(s->to));
}

static nlm_status read_stream(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const nlm_hf_stream *s = user;
    if (first == 0) NLM_TRY(s->check(s->owner, err));
    NLM_TRY(read_rows(s, first, count, out, err));
    if (first + count == s->rows * s->cols) s->drop(s->owner, s->dropped);
    return NLM_OK;
}

nlm_tensor_source nlm_hf_stream_source(nlm_hf_stream *stream) {
    return (nlm_tensor_source){read_stream, stream};
}
