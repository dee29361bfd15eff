/* Capture of streams as graphs, and graphs. Work is recorded with what it comes after; what would wait, or tie the
 * capture to work outside it, breaks it. */
#include <algorithm>

#include "driver.h"
#include "standins.h"

namespace {

std::vector<std::shared_ptr<capture>> &captures = *new std::vector<std::shared_ptr<capture>>;

void end(capture &over) {
    for (const std::shared_ptr<stream> &member : over.members) member->captured = {};
    over.members.clear();
    over.is_over = true;
    const auto is_it = [&](const std::shared_ptr<capture> &one) { return one.get() == &over; };
    captures.erase(std::remove_if(captures.begin(), captures.end(), is_it), captures.end());
}

CUresult broken_with(capture &broken, CUresult result) {
    broken.is_broken = true;
    return result;
}

/* The stream waits for an event: it becomes part of the capture the event is of. */
CUresult wait_in_capture(const std::shared_ptr<stream> &to, const place &awaited) {
    place &mine = to->captured;
    if (!awaited.in) return broken_with(*mine.in, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    if (awaited.in->is_over) {
        if (mine.in) mine.in->is_broken = true;
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    if (to == to->owner->legacy) return broken_with(*awaited.in, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (mine.in && mine.in != awaited.in) {
        mine.in->is_broken = true;
        return broken_with(*awaited.in, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (!mine.in) {
        mine.in = awaited.in;
        mine.in->members.push_back(to);
    }
    mine.after.insert(awaited.after.begin(), awaited.after.end());
    return CUDA_SUCCESS;
}

/* Whether all that was recorded comes before the end of the stream that the capture began in. */
bool is_joined(const capture &over) {
    std::vector<size_t> next(over.origin->captured.after.begin(), over.origin->captured.after.end());
    std::set<size_t> before(next.begin(), next.end());
    while (!next.empty()) {
        const size_t i = next.back();
        next.pop_back();
        for (const size_t j : over.recorded->nodes[i].after) {
            if (before.insert(j).second) next.push_back(j);
        }
    }
    return std::all_of(over.members.begin(), over.members.end(), [&](const std::shared_ptr<stream> &member) {
        const std::set<size_t> &after = member->captured.after;
        return std::includes(before.begin(), before.end(), after.begin(), after.end());
    });
}

} // namespace

CUresult capture_work(const std::shared_ptr<stream> &to, const work &what) {
    const std::shared_ptr<capture> in = to->captured.in;
    if (in && in->is_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    switch (what.what) {
        case work::WAIT: return wait_in_capture(to, what.at->captured);
        case work::RECORD: what.at->captured = to->captured; return CUDA_SUCCESS;
        case work::GRAPH:
            log_line("the stand-in does not capture the launch of a graph");
            return broken_with(*in, CUDA_ERROR_NOT_SUPPORTED);
        case work::RUN: break;
    }
    std::vector<node> &nodes = in->recorded->nodes;
    nodes.push_back({what.does, to->captured.after});
    to->captured.after = {nodes.size() - 1};
    return CUDA_SUCCESS;
}

void break_capture(capture &broken) {
    broken.is_broken = true;
}

void leave_capture(stream &gone) {
    const std::shared_ptr<capture> left = gone.captured.in;
    if (!left) return;
    left->is_broken = true;
    if (left->origin == &gone) end(*left);
}

CUresult break_own_captures() {
    CUresult result = CUDA_SUCCESS;
    for (const std::shared_ptr<capture> &one : captures) {
        if (one->is_relaxed || one->by != std::this_thread::get_id()) continue;
        result = broken_with(*one, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result;
}

CUresult break_captures_of(const context *owner, bool is_blocking_only) {
    CUresult result = CUDA_SUCCESS;
    for (const std::shared_ptr<capture> &one : captures) {
        const bool is_touched =
            std::any_of(one->members.begin(), one->members.end(), [&](const std::shared_ptr<stream> &member) {
                return member->owner.get() == owner && (member->is_blocking || !is_blocking_only);
            });
        if (!is_touched) continue;
        result = broken_with(
            *one, is_blocking_only ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result;
}

void forget_captures(const context *owner) {
    const std::vector<std::shared_ptr<capture>> before = captures;
    for (const std::shared_ptr<capture> &one : before) {
        if (one->recorded->owner.get() == owner) end(*one);
    }
}

API CUresult cuStreamBeginCapture_v2(CUstream named, int mode) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
        log_line("the stand-in does not know captures of mode %d", mode);
        return CUDA_ERROR_INVALID_VALUE;
    }
    const std::shared_ptr<stream> origin = find_stream(named, c.here);
    if (!origin) return CUDA_ERROR_INVALID_HANDLE;
    if (origin == c.here->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (origin->captured.in) return CUDA_ERROR_ILLEGAL_STATE;
    const std::shared_ptr<capture> made = std::make_shared<capture>();
    made->recorded = std::make_shared<graph>();
    made->recorded->owner = c.here;
    made->origin = origin.get();
    made->by = std::this_thread::get_id();
    made->is_relaxed = mode == CU_STREAM_CAPTURE_MODE_RELAXED;
    made->members = {origin};
    origin->captured = {made, {}};
    captures.push_back(made);
    return CUDA_SUCCESS;
}

API CUresult cuStreamEndCapture(CUstream named, CUgraph *out) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<stream> origin = find_stream(named, c.here);
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    *out = nullptr;
    if (!origin) return CUDA_ERROR_INVALID_HANDLE;
    const std::shared_ptr<capture> over = origin->captured.in;
    if (!over) return CUDA_ERROR_ILLEGAL_STATE;
    if (over->origin != origin.get()) return broken_with(*over, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    if (!over->is_relaxed && over->by != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult result = CUDA_SUCCESS;
    if (!is_joined(*over)) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    if (over->is_broken) result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    end(*over);
    if (result == CUDA_SUCCESS) *out = all.graphs.add(over->recorded);
    return result;
}

API CUresult cuStreamIsCapturing(CUstream named, int *out_status) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<stream> asked = find_stream(named, c.here);
    if (!out_status) return CUDA_ERROR_INVALID_VALUE;
    if (!asked) return CUDA_ERROR_INVALID_HANDLE;
    *out_status = CU_STREAM_CAPTURE_STATUS_NONE;
    if (asked == c.here->legacy) return break_captures_of(c.here.get(), true);
    const capture *in = asked->captured.in.get();
    if (in) *out_status = in->is_broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph named, unsigned long long flags) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<graph> from = all.graphs.find(named);
    if (!out || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (!from || from->owner != c.here) return CUDA_ERROR_INVALID_HANDLE;
    const std::shared_ptr<graph_exec> made = std::make_shared<graph_exec>();
    made->owner = c.here;
    made->nodes = from->nodes;
    *out = all.execs.add(made);
    return CUDA_SUCCESS;
}

API CUresult cuGraphLaunch(CUgraphExec named, CUstream in) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    work what{};
    what.what = work::GRAPH;
    what.exec = all.execs.find(named);
    const std::shared_ptr<stream> to = find_stream(in, c.here);
    if (!to || !what.exec || what.exec->owner != c.here) return CUDA_ERROR_INVALID_HANDLE;
    return enqueue(to, what);
}

API CUresult cuGraphExecDestroy(CUgraphExec named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    return all.execs.take(named) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API CUresult cuGraphDestroy(CUgraph named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    return all.graphs.take(named) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API size_t emu_cuda_count_nodes(CUgraph named) {
    const call c(INITIALISED);
    const std::shared_ptr<graph> asked = all.graphs.find(named);
    return asked ? asked->nodes.size() : 0;
}
