// A launch from its first block to its last: whose turn it is, how threads begin and end, and how a fault ends it.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace emu {

machine the;

// Backward jumps of a thread before it counts as one that never ends; giving way counts as several.
constexpr uint64_t MAX_STEPS = 64u << 20, STEPS_OF_YIELD = 1024;
constexpr size_t LOCAL_BYTES = 64 << 10;
constexpr unsigned AHEAD_LINES = 2;

static std::vector<fiber *> &pool = *new std::vector<fiber *>; // lives as long as the process
static void *main_stack;

// Warps with a ready lane; and the lanes of one warp whose turn it is, in the order in which they run.
struct place_of_warp {
    block *in;
    unsigned index;
};
static std::vector<place_of_warp> ready_warps;
static fiber *turn[32];
static unsigned turn_at, turn_end;

void make_ready(fiber *f) {
    f->where = state::ready;
    warp &w = f->in->warps[f->warp];
    w.ready |= 1u << f->lane;
    if (w.is_listed) return;
    w.is_listed = true;
    ready_warps.push_back({f->in, f->warp});
}

static void begin_turn() {
    const size_t i = draw_below(ready_warps.size());
    const place_of_warp place = ready_warps[i];
    ready_warps[i] = ready_warps.back();
    ready_warps.pop_back();
    warp &w = place.in->warps[place.index];
    turn_at = turn_end = 0;
    for (uint32_t lanes = w.ready; lanes; lanes &= lanes - 1) {
        const unsigned at = draw_below(turn_end + 1);
        turn[turn_end++] = turn[at];
        turn[at] = place.in->threads[place.index * 32 + static_cast<unsigned>(__builtin_ctz(lanes))];
    }
    w.ready = 0;
    w.is_listed = false;
}

// What the next threads begin with is fetched: their stacks are in no cache near.
static fiber *next_fiber() {
    while (turn_at == turn_end) {
        while (land_by_lot(ready_warps.empty())) {}
        if (ready_warps.empty()) return nullptr;
        begin_turn();
    }
    fiber *next = turn[turn_at++];
    if (turn_at + 1 < turn_end) __builtin_prefetch(&turn[turn_at + 1]->stack_pointer, 1);
    if (turn_at < turn_end) {
        const char *stack = static_cast<const char *>(turn[turn_at]->stack_pointer);
        for (unsigned line = 0; line < AHEAD_LINES; line++) __builtin_prefetch(stack + line * 64, 1);
    }
    return next;
}

static void switch_from(void **save) {
    fiber *next = next_fiber();
    if (next && next == the.running && save == &next->stack_pointer) return;
    the.running = next;
    the.self = next;
    fiber_switch(save, next ? next->stack_pointer : main_stack);
}

void wait_here(state where, unsigned place) {
    fiber *f = the.running;
    f->where = where;
    f->place = place;
    switch_from(&f->stack_pointer);
}

void yield() {
    fiber *f = the.running;
    f->steps_left -= std::min(f->steps_left, STEPS_OF_YIELD);
    make_ready(f);
    switch_from(&f->stack_pointer);
}

void yield_by_lot() {
    if ((draw() & 3) == 0) yield();
}

static void describe(unsigned place, const char *what) {
    const fiber *f = the.running;
    int n = std::snprintf(the.why, the.why_bytes, "kernel %s", the.kernel->name);
    const auto more = [&] { return n < 0 || static_cast<size_t>(n) >= the.why_bytes ? 0 : static_cast<size_t>(n); };
    if (f) {
        n += std::snprintf(the.why + more(), the.why_bytes - more(), ", block (%u,%u,%u), thread (%u,%u,%u)",
                           f->ctaid.x, f->ctaid.y, f->ctaid.z, f->tid.x, f->tid.y, f->tid.z);
    }
    const unsigned line = place & ((1u << EMU_LINE_BITS) - 1);
    if (line && the.kernel->files) {
        n += std::snprintf(the.why + more(), the.why_bytes - more(), ", %s:%u",
                           the.kernel->files[place >> EMU_LINE_BITS], line);
    }
    std::snprintf(the.why + more(), the.why_bytes - more(), ": %s", what);
}

void fault(unsigned place, const char *format, ...) {
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    describe(place, what);
    the.has_failed = true;
    static void *abandoned;
    if (the.running) fiber_switch(&abandoned, main_stack);
    std::abort(); // a fault outside a launch is one of the emulator's own
}

__attribute__((noreturn)) static void out_of_steps(unsigned place) {
    fault(place, "the thread does not come to an end");
}

// The first thing that runs on a fiber's stack.
static void thread_main() {
    the.kernel->run(the.launch->params);
    fiber *f = the.running;
    if (!f->copies.empty()) fault(f->copies[0].place, "ends with copies that it did not wait for");
    if (f->n_bulk) fault(f->bulk_place, "ends with a bulk copy that it did not wait for");
    f->where = state::done;
    leave_barriers(f);
    check_exit(f);
    switch_from(&f->stack_pointer);
    std::abort();
}

static void start_thread(block *b, unsigned index) {
    const emu_dim &n = the.n_threads;
    fiber *f;
    if (pool.empty()) {
        f = new fiber();
        f->local_base = static_cast<char *>(std::malloc(LOCAL_BYTES));
    } else {
        f = pool.back();
        pool.pop_back();
    }
    f->tid = {index % n.x, index / n.x % n.y, index / n.x / n.y};
    f->ctaid = b->id;
    f->lane = index % 32;
    f->warp = index / 32;
    f->rank = b->rank;
    f->shared = b->window.base;
    f->local = f->local_base;
    f->local_end = f->local_base + LOCAL_BYTES;
    f->steps_left = MAX_STEPS;
    f->in = b;
    f->index = index;
    f->id = b->linear << THREAD_BITS | index;
    f->now = 0;
    f->has_arrived_at_cluster = false;
    f->has_waited = !the.unwaited_first;
    f->knows = f->fenced = f->observed = nullptr;
    f->copies.clear();
    f->copy_group = 0;
    f->copied = nullptr;
    f->n_bulk = f->bulk_group = 0;
    fiber_prepare(f, thread_main);
    b->threads.push_back(f);
    b->warps[f->warp].live |= 1u << f->lane;
    make_ready(f);
}

static block *start_block(emu_dim id, unsigned rank) {
    auto *b = new block();
    const emu_dim &grid = the.n_blocks, &n = the.n_threads;
    b->id = id;
    b->rank = rank;
    b->linear = id.x + grid.x * (id.y + grid.y * id.z);
    b->n_live = n.x * n.y * n.z;
    b->warps.resize((b->n_live + 31) / 32);
    window_open(b, the.kernel->dynamic_shared_offset + the.launch->dynamic_shared_bytes);
    for (unsigned t = 0; t < n.x * n.y * n.z; t++) start_thread(b, t);
    return b;
}

static void end_block(block *b) {
    for (fiber *f : b->threads) pool.push_back(f);
    window_close(b);
    delete b;
}

static const char *const state_names[] = {"ready", "a barrier of the block", "a collective of the warp",
                                          "the cluster's barrier", "its end"};

// Nobody is ready and somebody has not ended.
static void tell_deadlock() {
    fiber *waiting = nullptr, *other = nullptr;
    for (block *b : the.current->blocks) {
        for (fiber *f : b->threads) {
            if (!waiting && f->where != state::done) waiting = f;
        }
    }
    for (fiber *f : waiting->in->threads) {
        const bool is_elsewhere = f->where != waiting->where || f->place != waiting->place;
        if (!other && is_elsewhere) other = f;
    }
    char what[200], more[80] = "";
    if (other && other->where != state::done) {
        std::snprintf(more, sizeof more, " (line %u)", other->place & ((1u << EMU_LINE_BITS) - 1));
    }
    std::snprintf(what, sizeof what, "waits for ever at %s%s%s%s", state_names[static_cast<int>(waiting->where)],
                  other ? "; another thread is at " : "", other ? state_names[static_cast<int>(other->where)] : "",
                  more);
    the.running = waiting;
    describe(waiting->place, what);
    the.has_failed = true;
}

static void run_cluster(unsigned linear) {
    cluster c = {};
    const emu_dim &n = the.n_cluster;
    const emu_dim clusters = {the.n_blocks.x / n.x, the.n_blocks.y / n.y, the.n_blocks.z / n.z};
    const emu_dim at = {linear % clusters.x, linear / clusters.x % clusters.y, linear / clusters.x / clusters.y};
    c.first = c.floor = c.previous_floor = the.next;
    the.current = &c;
    ready_warps.clear();
    turn_at = turn_end = 0;
    for (unsigned rank = 0; rank < n.x * n.y * n.z; rank++) {
        const emu_dim id = {at.x * n.x + rank % n.x, at.y * n.y + rank / n.x % n.y, at.z * n.z + rank / n.x / n.y};
        block *b = start_block(id, rank);
        c.blocks.push_back(b);
        c.n_live += b->n_live;
    }
    switch_from(&main_stack);
    if (!the.has_failed && c.n_live) tell_deadlock();
    the.running = nullptr;
    transactions_end_cluster();
    race_end_cluster();
    order_end_cluster();
    if (the.counts_traffic) traffic_end_cluster();
    for (block *b : c.blocks) end_block(b);
    the.current = nullptr;
}

static void atomic_sum(unsigned place) {
    if (the.check_sums) fault(place, "an atomic sum of floats, whose bits depend on the order of threads");
}

static void fill_table() {
    the.atomic_sum = atomic_sum;
    the.grid_wait = grid_wait;
    the.grid_release = grid_release;
    the.generic = generic;
    the.shared = shared;
    the.window = window;
    the.fence = fence;
    the.local_enter = local_enter;
    the.barrier = barrier;
    the.barrier_arrive = barrier_arrive;
    the.barrier_reduce = barrier_reduce;
    the.cluster_arrive = cluster_arrive;
    the.cluster_wait = cluster_wait;
    the.warp_sync = warp_sync;
    the.collective = collective;
    the.async_copy = async_copy_start;
    the.async_commit = async_commit;
    the.async_wait = async_wait;
    the.mbarrier_init = mbarrier_init;
    the.mbarrier_invalidate = mbarrier_invalidate;
    the.mbarrier_arrive = mbarrier_arrive;
    the.mbarrier_expect = mbarrier_expect;
    the.mbarrier_test = mbarrier_test;
    the.bulk_load = bulk_load;
    the.bulk_store = bulk_store;
    the.bulk_commit = bulk_commit;
    the.bulk_wait = bulk_wait;
    the.store_async = store_async;
    the.yield = yield;
    the.out_of_steps = out_of_steps;
    the.fault = fault;
}

static void read_checks() {
    const char *letters = std::getenv("EMU_CHECKS");
    const auto has = [&](char letter) { return !letters || std::strchr(letters, letter); };
    the.check_bounds = has('b');
    the.check_unwritten = has('u');
    the.check_races = has('r');
    the.check_exits = has('x');
    the.check_sums = has('a');
    const char *traffic_file = std::getenv("EMU_TRAFFIC");
    the.counts_traffic = traffic_file && *traffic_file;
}

static bool is_impossible(const emu_launch *launch) {
    const emu_dim &g = the.n_blocks, &b = the.n_threads, &c = the.n_cluster;
    const uint64_t threads = static_cast<uint64_t>(b.x) * b.y * b.z;
    const uint64_t blocks = static_cast<uint64_t>(g.x) * g.y * g.z;
    const char *what = nullptr;
    if (!threads || threads > launch->kernel->max_threads || threads > 1u << THREAD_BITS) what = "threads in a block";
    if (!blocks || blocks > MAX_BLOCKS || g.x % c.x || g.y % c.y || g.z % c.z) what = "blocks in the grid";
    if (what) std::snprintf(the.why, the.why_bytes, "kernel %s: cannot have so many %s", launch->kernel->name, what);
    return what;
}

} // namespace emu

extern "C" emu_engine *emu_engine_table() {
    if (!emu::the.generic) emu::fill_table();
    return &emu::the;
}

extern "C" int emu_run(const emu_launch *launch, char *why, size_t why_bytes) {
    using namespace emu;
    const emu_dim &c = launch->cluster;
    the.n_blocks = launch->grid;
    the.n_threads = launch->block;
    the.n_cluster = {std::max(c.x, 1u), std::max(c.y, 1u), std::max(c.z, 1u)};
    the.kernel = launch->kernel;
    the.dynamic_shared_bytes = launch->dynamic_shared_bytes;
    the.launch = launch;
    the.why = why;
    the.why_bytes = why_bytes;
    the.has_failed = false;
    if (is_impossible(launch)) return -1;
    read_checks();
    the.random = launch->seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
    if (!the.random) the.random = 1;
    if (!the.next || the.next > MAX_SEGMENT / 2) {
        forget_accesses();
        the.next = 1;
    }
    early_begin_launch(launch->is_early);
    the.launch_first = the.next;
    const unsigned n_clusters =
        the.n_blocks.x * the.n_blocks.y * the.n_blocks.z / (the.n_cluster.x * the.n_cluster.y * the.n_cluster.z);
    std::vector<unsigned> order(n_clusters);
    for (unsigned i = 0; i < n_clusters; i++) order[i] = i;
    for (unsigned i = n_clusters; i > 1; i--) std::swap(order[i - 1], order[draw_below(i)]);
    for (unsigned i = 0; i < n_clusters && !the.has_failed; i++) run_cluster(order[i]);
    early_end_launch();
    race_end_launch();
    order_end_launch();
    if (the.counts_traffic) traffic_end_launch();
    return the.has_failed ? -1 : 0;
}
