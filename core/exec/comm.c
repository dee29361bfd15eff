/* Sums over ranks, where a program has them. */
#include "exec/comm.h"

#include "base/status.h"
#include "exec/program_impl.h"
#include "tensor/dtype.h"

/* The result of a copy, which is summed where it stands. */
nlm_status nlm_comm_run(nlm_program *program, const nlm_item *item, nlm_error *err) {
    const nlm_comm *comm = program->env.comm;
    const nlm_step *step = &program->steps[item->first];
    const nlm_tensor *y = step->args.copy.y;
    nlm_queue *queue = &program->queues[item->device];
    nlm_place_v1 at = {.address = y->data};
    const nlm_device *device = NULL;
    void *stream = NULL;
    if (queue->device) {
        device = queue->device;
        stream = queue->region->stream;
        at.buffer = y->buffer;
        if (y->buffer) at.offset = (uint64_t)((char *)y->data - queue->region->address);
        queue->has_pending = true;
    }
    const uint64_t row_elements = nlm_tensor_bytes(y) / (uint64_t)y->shape[0] / sizeof(float);
    const uint64_t count = (uint64_t)nlm_rows_of(y, program->live_rows) * row_elements;
    return nlm_status_prefix(comm->sum(comm->self, device, stream, &at, count, err), err,
                             "sum over %u ranks, layer %d, on %s", comm->n_ranks, (int)step->layer,
                             step->device->backend);
}

void nlm_comm_fail(const nlm_program *program) {
    if (program->has_sums) program->env.comm->give_up(program->env.comm->self);
}
