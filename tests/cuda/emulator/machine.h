// The state of a launch: threads as fibers, blocks, the cluster that runs, and who knows of whose accesses.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine.h"

namespace emu {

// Time is counted in segments. A thread's accesses between two of its synchronising operations are one segment, and
// segments are numbered as they begin, over all threads. "A thread knows another up to n" means: what the other did
// in segments below n happened before.
using segment = uint32_t;
constexpr segment MAX_SEGMENT = 1u << 30;

// A thread of the grid: its block above, its index in the block below.
using thread_id = uint32_t;
constexpr unsigned THREAD_BITS = 10, WARP_BITS = 5, MAX_BLOCKS = 1u << 20;
constexpr thread_id FIRST_COPIER = 1u << 30; // copies have numbers that no thread has

enum class group : uint64_t { thread, warp, block, exact };
inline uint64_t key_of(group g, uint32_t id) {
    return static_cast<uint64_t>(g) << 32 | id;
}

// What a thread learnt of others by other means than barriers of its block or cluster: sorted by key.
using knowledge = std::vector<std::pair<uint64_t, segment>>;
using knowledge_ptr = std::shared_ptr<const knowledge>;
knowledge_ptr join(const knowledge_ptr &a, const knowledge_ptr &b);

// A pending cp.async of a thread.
struct async_copy {
    char *to;
    const char *from;
    unsigned bytes, source_bytes, group, place;
};

enum class state { ready, at_barrier, at_warp, at_cluster, done };

struct block;

struct fiber : emu_thread {
    void *stack_pointer;
    char *stack;
    state where;
    unsigned place, barrier; // what it waits at
    block *in;
    unsigned index;
    thread_id id;
    segment now; // the segment it is in, or 0 when the next access begins one
    bool has_arrived_at_cluster;
    bool has_waited; // for the launches before this one, which are over
    uint32_t reduced;
    knowledge_ptr knows, fenced, observed;
    unsigned fenced_scope;
    std::vector<async_copy> copies;
    unsigned copy_group;
    knowledge_ptr copied; // by bulk copies of its groups
    unsigned n_bulk, bulk_group, bulk_place;
    char *local_end;
};

// Shadow of four bytes of memory: who wrote and who read them last. See race.cpp.
struct cell {
    uint32_t write, read;
};

// Memory with its shadow: a region of global memory, or the window of a block.
struct memory {
    char *base = nullptr; // of the shadow: a multiple of 64
    size_t begin = 0, end = 0;
    uint8_t *written = nullptr; // a bit for each byte
    uint8_t *valid = nullptr;   // the same; NULL where all of [begin, end) is
    cell *cells = nullptr;
    size_t cells_bytes = 0, bits_bytes = 0;
    block *owner = nullptr;
};

struct named_barrier {
    unsigned arrived, expected, n_waiting;
    uint32_t value[3];
    std::vector<unsigned> site_of_warp; // where a lane of the warp waits, or 0
    std::vector<std::pair<fiber *, knowledge_ptr>> arrivals;
};

// Lanes that gather for a collective.
struct gathering {
    emu_collective *compute;
    uint32_t mask, arrived;
    unsigned place;
    void *lanes[32];
};

struct warp {
    uint32_t ready, live;
    bool is_listed;
    segment floor; // each lane knows each up to here
    std::vector<gathering> gatherings;
};

// An access to a block's window from another block of the cluster.
struct remote_access {
    segment when;
    unsigned rank, place;
};

struct block {
    emu_dim id;
    unsigned rank, linear, n_live;
    segment floor; // each thread knows each up to here
    memory window;
    named_barrier barriers[16];
    std::vector<warp> warps;
    std::vector<fiber *> threads;
    std::vector<remote_access> remote_accesses; // that none of the threads that ended came after
};

struct cluster {
    std::vector<block *> blocks;
    unsigned n_live, n_arrived;
    segment first, floor, previous_floor;
    bool has_copies; // that a machine beside the threads made
};

struct machine : emu_engine {
    fiber *running;
    cluster *current;
    segment next, launch_first;
    segment unwaited_first; // of an early launch: where the first of those begins that need not be over; else 0
    bool has_waited, has_released_early; // some thread has waited; one let the next launch begin before it waited
    std::vector<thread_id> owners;       // of each segment of this launch
    bool check_bounds, check_unwritten, check_races, check_exits, check_sums;
    bool counts_traffic;
    bool has_failed;
    char *why;
    size_t why_bytes;
    const emu_launch *launch;
};
extern machine the;

inline uint64_t draw() { // xorshift
    the.random ^= the.random << 13;
    the.random ^= the.random >> 7;
    the.random ^= the.random << 17;
    return the.random;
}
inline unsigned draw_below(size_t n) {
    return static_cast<unsigned>((draw() >> 32) * n >> 32);
}

// fiber.cpp
void fiber_prepare(fiber *f, void (*entry)());
void fiber_switch(void **save, void *load);
void fiber_release(fiber *f);

// schedule.cpp
void make_ready(fiber *f);
void wait_here(state where, unsigned place); // until somebody makes the running fiber ready
void yield();
void yield_by_lot();
void fault(unsigned place, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

// barrier.cpp
void barrier(unsigned id, unsigned count, unsigned is_aligned, unsigned place);
void barrier_arrive(unsigned id, unsigned count, unsigned place);
unsigned barrier_reduce(unsigned id, unsigned count, unsigned reduction, unsigned value, unsigned place);
void cluster_arrive(unsigned is_relaxed, unsigned place);
void cluster_wait(unsigned place);
void warp_sync(uint32_t mask, unsigned place);
void collective(emu_collective *compute, uint32_t mask, void *lane, unsigned place);
void leave_barriers(fiber *f); // it ends

// order.cpp
segment segment_now(fiber *f);
bool is_known(fiber *f, segment s);
segment known_until(const fiber *f, uint64_t key); // of what it learnt
knowledge_ptr all_known(const fiber *f);           // with its own accesses so far
void learn(fiber *f, const knowledge_ptr &k);
void fence(unsigned scope);
void strong_access(const char *p, unsigned access);
void order_end_cluster();
void order_end_launch();

// memory.cpp
char *generic(uint64_t address, unsigned bytes, unsigned access, unsigned place);
char *shared(uint32_t address, unsigned bytes, unsigned access, unsigned place);
char *window(unsigned rank, unsigned place);
void *local_enter(unsigned bytes, unsigned alignment, unsigned place);
void check_exit(fiber *f); // nobody may still access the window of a block that ends
void window_open(block *b, unsigned bytes);
void window_close(block *b);
void forget_accesses(); // of all memory, when segments begin anew
bool is_global(const char *p);
char *shared_begin_write(uint32_t address, unsigned bytes, unsigned place); // nothing is there until the end
void shared_end_write(char *p, unsigned bytes, unsigned place);

void check_at(const char *p, unsigned bytes, unsigned access, unsigned place); // anywhere but local memory
char *whereabouts_shared(uint32_t address, unsigned place);                    // unchecked

// race.cpp
void race_check(memory &m, size_t offset, unsigned bytes, unsigned access, unsigned place);
void race_end_cluster();
void race_end_launch();

// early.cpp
void early_begin_launch(bool is_early); // before launch_first is this one's
void early_check(segment wrote, unsigned access, unsigned place);
void early_end_launch();
void grid_wait();
void grid_release();

// traffic.cpp; site: tells accesses of one line apart
void traffic(uint64_t address, unsigned bytes, bool is_shared, unsigned access, unsigned place, const void *site);
void traffic_end_cluster();
void traffic_end_launch();

// async.cpp
void async_copy_start(uint32_t to, uint64_t from, unsigned bytes, unsigned source_bytes, unsigned place);
void async_commit();
void async_wait(unsigned n_left);

// transaction.cpp
void mbarrier_init(uint32_t address, unsigned count, unsigned place);
void mbarrier_invalidate(uint32_t address, unsigned place);
uint64_t mbarrier_arrive(uint32_t address, unsigned count, unsigned bytes, unsigned place);
void mbarrier_expect(uint32_t address, unsigned bytes, unsigned place);
int mbarrier_test(uint32_t address, uint64_t phase, unsigned is_parity, unsigned place);
void bulk_load(uint32_t to, uint64_t from, unsigned is_from_shared, unsigned bytes, uint32_t barrier, unsigned place);
void bulk_store(uint64_t to, uint32_t from, unsigned bytes, unsigned place);
void bulk_commit();
void bulk_wait(unsigned n_left);
void store_async(uint32_t to, const void *value, unsigned bytes, uint32_t barrier, unsigned place);
bool land_by_lot(bool is_idle);
void transactions_end_cluster();

} // namespace emu
