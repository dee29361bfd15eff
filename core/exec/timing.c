/* The profile of a stream device: events stand around each step and are read when the run is over, so that nothing
 * waits in between. */
#include "base/status.h"
#include "exec/program_impl.h"

nlm_status nlm_timing_create(nlm_program *program, nlm_queue *queue, uint32_t n_steps, nlm_error *err) {
    const nlm_device_v1 *api = &queue->device->api;
    if (!program->env.profile || !api->event_elapsed) return NLM_OK;
    queue->timed_steps = nlm_arena_array(&program->arena, n_steps, sizeof *queue->timed_steps);
    queue->events = nlm_arena_array(&program->arena, 2 * (size_t)n_steps, sizeof *queue->events);
    if (!queue->timed_steps || !queue->events) {
        queue->events = NULL;
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_program_create", "no memory for a profile");
    }
    for (uint32_t i = 0; i < 2 * n_steps; i++) {
        const nlm_status status = api->event_create(api->self, NLM_EVENT_TIMING, &queue->events[i], err);
        if (status != NLM_OK) queue->events[i] = NULL;
        NLM_TRY(nlm_status_prefix(status, err, "events of %s", queue->device->backend));
        queue->n_events = i + 1;
    }
    return NLM_OK;
}

void nlm_timing_destroy(nlm_queue *queue) {
    for (uint32_t i = 0; i < queue->n_events; i++) {
        queue->device->api.event_destroy(queue->device->api.self, queue->events[i]);
    }
    queue->n_events = 0;
}

nlm_status nlm_timing_run(nlm_program *program, nlm_queue *queue, uint32_t step, nlm_error *err) {
    const nlm_device_v1 *api = &queue->device->api;
    void **events = &queue->events[2 * (size_t)queue->n_timed];
    NLM_TRY(api->event_record(api->self, queue->region->stream, events[0], err));
    NLM_TRY(nlm_queue_step(program, queue, step, err));
    NLM_TRY(api->event_record(api->self, queue->region->stream, events[1], err));
    queue->timed_steps[queue->n_timed++] = step;
    return NLM_OK;
}

nlm_status nlm_timing_collect(const nlm_program *program, nlm_queue *queue, nlm_error *err) {
    const nlm_device_v1 *api = &queue->device->api;
    for (uint32_t i = 0; i < queue->n_timed; i++) {
        uint64_t ns = 0;
        NLM_TRY(
            nlm_status_prefix(api->event_elapsed(api->self, queue->events[2 * i], queue->events[2 * i + 1], &ns, err),
                              err, "the profile of %s", queue->device->backend));
        nlm_step_profile(program, &program->steps[queue->timed_steps[i]], ns);
    }
    return NLM_OK;
}
