/* Events. Their times are those of a clock that only work moves. */
#include "driver.h"

namespace {

/* An event that can be asked about: one recorded in a capture cannot. */
CUresult find_event(CUevent named, std::shared_ptr<event> *out) {
    *out = all.events.find(named);
    if (!*out) return CUDA_ERROR_INVALID_HANDLE;
    if (!(*out)->captured.in) return CUDA_SUCCESS;
    break_capture(*(*out)->captured.in);
    return CUDA_ERROR_CAPTURED_EVENT;
}

bool is_reached(const event &one) {
    return one.n_reached >= one.n_recorded;
}

} // namespace

API CUresult cuEventCreate(CUevent *out, unsigned flags) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out || (flags & ~static_cast<unsigned>(CU_EVENT_DISABLE_TIMING)) != 0) return CUDA_ERROR_INVALID_VALUE;
    const std::shared_ptr<event> made = std::make_shared<event>();
    made->owner = c.here;
    made->is_timed = (flags & CU_EVENT_DISABLE_TIMING) == 0;
    *out = all.events.add(made);
    return CUDA_SUCCESS;
}

/* Work that names it keeps it. */
API CUresult cuEventDestroy_v2(CUevent named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    return all.events.take(named) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuEventRecord(CUevent named, CUstream in) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    work what{};
    what.what = work::RECORD;
    what.at = all.events.find(named);
    const std::shared_ptr<stream> to = find_stream(in, c.here);
    if (!to || !what.at || what.at->owner != c.here) return CUDA_ERROR_INVALID_HANDLE;
    return enqueue(to, what);
}

/* Something happens whenever it is asked, so that who asks again and again comes to an end. */
API CUresult cuEventQuery(CUevent named) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    std::shared_ptr<event> asked;
    const CUresult result = find_event(named, &asked);
    if (result != CUDA_SUCCESS) return result;
    const opened memory;
    if (!is_reached(*asked)) run_step();
    if (c.here->sticky != CUDA_SUCCESS) return c.here->sticky;
    return is_reached(*asked) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuEventSynchronize(CUevent named) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    std::shared_ptr<event> awaited;
    const CUresult result = find_event(named, &awaited);
    if (result != CUDA_SUCCESS) return result;
    run_until([&] { return is_reached(*awaited); });
    return c.here->sticky;
}

API CUresult cuEventElapsedTime(float *out_ms, CUevent from, CUevent to) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<event> first = all.events.find(from), last = all.events.find(to);
    if (!out_ms) return CUDA_ERROR_INVALID_VALUE;
    if (!first || !last || first->owner != last->owner) return CUDA_ERROR_INVALID_HANDLE;
    if (first->captured.in || last->captured.in) return CUDA_ERROR_INVALID_HANDLE;
    if (!first->is_timed || !last->is_timed) return CUDA_ERROR_INVALID_HANDLE;
    if (first->n_recorded == 0 || last->n_recorded == 0) return CUDA_ERROR_INVALID_HANDLE;
    if (!is_reached(*first) || !is_reached(*last)) return CUDA_ERROR_NOT_READY;
    const auto elapsed_ns = static_cast<int64_t>(last->reached_ns - first->reached_ns);
    *out_ms = static_cast<float>(static_cast<double>(elapsed_ns) * 1e-6);
    return CUDA_SUCCESS;
}
