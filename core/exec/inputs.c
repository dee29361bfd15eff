/* The inputs of a run on their way to devices with memory of their own. All of them are one block with the counts of
 * live rows in front. Of what was sent last the host keeps a copy, and sends where that differs: nobody has to say
 * which rows of a block table have changed, and nobody can forget it. */
#include <string.h>

#include "base/status.h"
#include "exec/program_impl.h"
#include "tensor/dtype.h"

#define GRAIN_BYTES 256u   /* compared and sent as one */
#define GAP_BYTES   16384u /* moving so many bytes takes no longer than beginning another transfer */

/* The part of the block that is to be sent next; empty while from == to. */
typedef struct span {
    nlm_program *program;
    uint64_t from, to;
} span;

static nlm_status send_span(const span *s, nlm_error *err) {
    nlm_program *program = s->program;
    for (uint32_t d = 0; d < program->n_queues; d++) {
        nlm_queue *queue = &program->queues[d];
        const uint64_t to = s->to < queue->inputs_bytes ? s->to : queue->inputs_bytes;
        if (s->from >= to) continue;
        const nlm_device_v1 *api = &queue->device->api;
        queue->has_pending = true;
        NLM_TRY(nlm_status_prefix(api->upload(api->self, queue->region->stream, queue->inputs_buffer, s->from,
                                              program->sent + s->from, to - s->from, err),
                                  err, "upload of inputs, on %s", queue->device->backend));
    }
    return NLM_OK;
}

/* Appends bytes that have changed, of increasing offsets. */
static nlm_status add_part(span *s, uint64_t from, uint64_t to, nlm_error *err) {
    memcpy(s->program->sent + from, s->program->input_memory + from, to - from);
    if (s->from < s->to && from - s->to <= GAP_BYTES) {
        s->to = to;
        return NLM_OK;
    }
    NLM_TRY(send_span(s, err));
    s->from = from;
    s->to = to;
    return NLM_OK;
}

static nlm_status compare_part(span *s, uint64_t from, uint64_t to, nlm_error *err) {
    const nlm_program *program = s->program;
    while (from < to) {
        const uint64_t end = to - from < GRAIN_BYTES ? to : from + GRAIN_BYTES;
        if (memcmp(program->input_memory + from, program->sent + from, end - from) != 0) {
            NLM_TRY(add_part(s, from, end, err));
        }
        from = end;
    }
    return NLM_OK;
}

static nlm_status compare_live_rows(span *s, nlm_error *err) {
    const nlm_program *program = s->program;
    NLM_TRY(compare_part(s, 0, NLM_ROWS_KINDS * sizeof(int32_t), err));
    for (uint32_t i = 0; i < program->n_inputs; i++) {
        const nlm_program_input_info *input = &program->inputs[i];
        const uint64_t row_bytes = nlm_tensor_bytes(&input->tensor) / (uint64_t)input->tensor.shape[0];
        const uint64_t rows = (uint64_t)nlm_rows_of(&input->tensor, program->live_rows);
        NLM_TRY(compare_part(s, input->offset, input->offset + rows * row_bytes, err));
    }
    return NLM_OK;
}

nlm_status nlm_inputs_bring(nlm_program *program, nlm_error *err) {
    nlm_queue *queue = program->writer;
    if (!queue) return NLM_OK;
    for (uint32_t d = 0; d < program->n_queues; d++) { /* the others have what was sent */
        if (&program->queues[d] != queue && program->queues[d].inputs) program->is_sent = false;
    }
    const nlm_device_v1 *api = &queue->device->api;
    queue->has_pending = true;
    return nlm_status_prefix(api->download(api->self, queue->region->stream, queue->inputs_buffer, 0, program->sent,
                                           program->written_bytes, err),
                             err, "download of inputs, on %s", queue->device->backend);
}

nlm_status nlm_inputs_send(nlm_program *program, nlm_error *err) {
    if (!program->sent) return NLM_OK;
    span s = {.program = program};
    if (program->is_sent)
        NLM_TRY(compare_live_rows(&s, err));
    else
        NLM_TRY(add_part(&s, 0, program->input_bytes, err));
    program->is_sent = true;
    return send_span(&s, err);
}
