/* Streams that are as late and as unordered as CUDA lets them be. Nothing that is enqueued happens before something
 * waits or asks; then streams take turns by lot, one piece of work at a time. Order is that of each stream, of
 * events, and of the default stream with those that are not CU_STREAM_NON_BLOCKING. */
#include <algorithm>

#include "driver.h"

namespace {

enum { WORK_NS = 1000 }; /* what any work takes, by the clock that events show; then a nanosecond a byte */

/* Also those destroyed, while they have work. */
std::vector<std::shared_ptr<stream>> &streams = *new std::vector<std::shared_ptr<stream>>;
uint64_t n_tickets;
int working = 0; /* the device of the work that runs */

bool is_idle_before(const stream &one, uint64_t ticket) {
    return one.queue.empty() || one.queue.front().ticket > ticket;
}

/* Work of the default stream waits for all before it in blocking streams; theirs waits for all before it there. */
bool is_in_order(const stream &one, uint64_t ticket) {
    const stream *legacy = one.owner->legacy.get();
    if (&one != legacy) return !one.is_blocking || is_idle_before(*legacy, ticket);
    return std::all_of(streams.begin(), streams.end(), [&](const std::shared_ptr<stream> &other) {
        return other.get() == legacy || other->owner != one.owner || !other->is_blocking ||
               is_idle_before(*other, ticket);
    });
}

bool is_ready(const stream &one) {
    if (one.queue.empty()) return false;
    const work &first = one.queue.front();
    if (!is_in_order(one, first.ticket)) return false;
    if (first.what == work::WAIT) return first.at->n_reached >= first.turn;
    if (first.what == work::GRAPH) return first.exec->n_finished + 1 == first.turn;
    return true;
}

/* After something went wrong in a context nothing more happens there. */
void act(const context_ref &owner, const action &what) {
    owner->clock_ns += WORK_NS + what.bytes;
    if (owner->sticky != CUDA_SUCCESS) return;
    open_memory(owner->ordinal);
    working = owner->ordinal;
    owner->sticky = what.run();
}

/* One node of the graph whose predecessors are done; true when it was the last. */
bool step_graph(const context_ref &owner, graph_exec &exec) {
    if (exec.n_done == 0) exec.is_done.assign(exec.nodes.size(), false);
    std::vector<size_t> ready;
    for (size_t i = 0; i < exec.nodes.size(); i++) {
        const std::set<size_t> &after = exec.nodes[i].after;
        const bool is_free = std::all_of(after.begin(), after.end(), [&](size_t j) { return exec.is_done[j]; });
        if (!exec.is_done[i] && is_free) ready.push_back(i);
    }
    if (!ready.empty()) {
        const size_t chosen = ready[draw(ready.size())];
        act(owner, exec.nodes[chosen].what);
        exec.is_done[chosen] = true;
        exec.n_done++;
    }
    if (exec.n_done < exec.nodes.size()) return false;
    exec.n_done = 0;
    exec.n_finished++;
    return true;
}

void step(stream &one) {
    const work first = one.queue.front();
    switch (first.what) {
        case work::RUN: act(one.owner, first.does); break;
        case work::RECORD:
            one.owner->clock_ns += WORK_NS;
            if (first.turn <= first.at->n_reached) break; /* recorded again in a stream that was faster */
            first.at->n_reached = first.turn;
            first.at->reached_ns = one.owner->clock_ns;
            break;
        case work::WAIT: break;
        case work::GRAPH:
            if (!step_graph(one.owner, *first.exec)) return;
            break;
    }
    one.queue.pop_front();
}

void remove_destroyed() {
    const auto is_over = [](const std::shared_ptr<stream> &one) {
        return one.use_count() == 1 && one->queue.empty();
    };
    streams.erase(std::remove_if(streams.begin(), streams.end(), is_over), streams.end());
}

} // namespace

int working_device() {
    return working;
}

void add_stream(const std::shared_ptr<stream> &made) {
    streams.push_back(made);
}

void forget_streams(const context *owner) {
    const auto is_of = [&](const std::shared_ptr<stream> &one) { return one->owner.get() == owner; };
    for (const std::shared_ptr<stream> &one : streams) {
        if (is_of(one)) one->owner->legacy = nullptr; /* they own each other */
    }
    streams.erase(std::remove_if(streams.begin(), streams.end(), is_of), streams.end());
}

std::shared_ptr<stream> find_stream(CUstream named, const context_ref &owner) {
    if (!named) return owner->legacy;
    const std::shared_ptr<stream> found = all.streams.find(named);
    return found && found->owner == owner ? found : nullptr;
}

CUresult enqueue(const std::shared_ptr<stream> &to, work what) {
    if (to->captured.in) return capture_work(to, what);
    if (to == to->owner->legacy) {
        const CUresult broken = break_captures_of(to->owner.get(), true);
        if (broken != CUDA_SUCCESS) return broken;
    }
    if (what.what == work::GRAPH) what.turn = ++what.exec->n_launched;
    if (what.what == work::RECORD) {
        what.turn = ++what.at->n_recorded;
        what.at->captured = {};
    }
    if (what.what == work::WAIT) what.turn = what.at->n_recorded;
    what.ticket = ++n_tickets;
    to->queue.push_back(std::move(what));
    return CUDA_SUCCESS;
}

CUresult enqueue_action(const std::shared_ptr<stream> &to, action what) {
    work one{};
    one.what = work::RUN;
    one.does = std::move(what);
    return enqueue(to, std::move(one));
}

bool run_step() {
    std::vector<stream *> ready;
    for (const std::shared_ptr<stream> &one : streams) {
        if (is_ready(*one)) ready.push_back(one.get());
    }
    if (ready.empty()) return false;
    step(*ready[draw(ready.size())]);
    remove_destroyed();
    return true;
}

bool run_until(const std::function<bool()> &is_done) {
    const opened memory;
    while (!is_done()) {
        if (!run_step()) return is_done();
    }
    return true;
}

void finish(const context *owner) {
    run_until([&] {
        return std::all_of(streams.begin(), streams.end(), [&](const std::shared_ptr<stream> &one) {
            return one->owner.get() != owner || one->queue.empty();
        });
    });
}

void finish(const stream *which) {
    run_until([&] { return which->queue.empty(); });
}

API CUresult cuStreamCreate(CUstream *out, unsigned flags) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    const std::shared_ptr<stream> made = std::make_shared<stream>();
    made->owner = c.here;
    made->is_blocking = flags != CU_STREAM_NON_BLOCKING;
    add_stream(made);
    *out = all.streams.add(made);
    return CUDA_SUCCESS;
}

/* Returns at once; its work goes on. */
API CUresult cuStreamDestroy_v2(CUstream named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<stream> gone = named ? find_stream(named, c.here) : nullptr;
    if (!gone) return CUDA_ERROR_INVALID_HANDLE;
    leave_capture(*gone);
    all.streams.take(named);
    return CUDA_SUCCESS;
}

/* Waiting for a stream, or asking about it, has no place in a capture. */
static CUresult find_waitable(const call &c, CUstream named, std::shared_ptr<stream> *out) {
    *out = find_stream(named, c.here);
    if (!*out) return CUDA_ERROR_INVALID_HANDLE;
    if ((*out)->captured.in) {
        break_capture(*(*out)->captured.in);
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return *out == c.here->legacy ? break_captures_of(c.here.get(), true) : CUDA_SUCCESS;
}

API CUresult cuStreamSynchronize(CUstream named) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    std::shared_ptr<stream> waited;
    const CUresult result = find_waitable(c, named, &waited);
    if (result != CUDA_SUCCESS) return result;
    finish(waited.get());
    return c.here->sticky;
}

/* Something happens whenever it is asked, so that who asks again and again comes to an end. */
API CUresult cuStreamQuery(CUstream named) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    std::shared_ptr<stream> asked;
    const CUresult result = find_waitable(c, named, &asked);
    if (result != CUDA_SUCCESS) return result;
    const opened memory;
    if (!asked->queue.empty()) run_step();
    if (c.here->sticky != CUDA_SUCCESS) return c.here->sticky;
    return asked->queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuStreamWaitEvent(CUstream named, CUevent awaited, unsigned flags) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    work what{};
    what.what = work::WAIT;
    what.at = all.events.find(awaited);
    const std::shared_ptr<stream> to = find_stream(named, c.here);
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (!to || !what.at) return CUDA_ERROR_INVALID_HANDLE;
    if (!to->captured.in && what.at->captured.in) return capture_work(to, what);
    return enqueue(to, what);
}
