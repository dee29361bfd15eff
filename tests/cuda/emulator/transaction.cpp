// Barriers in shared memory that count arrivals and bytes, and the copies that a machine beside the threads makes:
// each lands at some moment drawn by lot, or when nothing else can go on.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "machine.h"

namespace emu {

constexpr unsigned MAX_ARRIVALS = (1u << 20) - 1, PIECE = 16;

struct counting_barrier {
    unsigned expected, pending;
    int64_t bytes; // that are expected and have not come
    uint64_t phase;
    knowledge_ptr arrived, completed;
};

// A copy under way. From memory, or of the bytes of a register.
struct transaction {
    char *to;
    const char *from;
    unsigned bytes, place;
    char *barrier; // or NULL: of a group of its thread
    fiber *thread;
    unsigned group;
    knowledge_ptr known; // to its thread, when it began
    bool has_waited;     // its thread, by then
    char value[PIECE];
};

static std::unordered_map<const char *, counting_barrier> barriers;
static std::vector<transaction> under_way;
static thread_id next_copier;

static counting_barrier &find(const char *p, unsigned place) {
    const auto it = barriers.find(p);
    if (it == barriers.end()) fault(place, "a barrier of shared memory that was not initialised");
    return it->second;
}

// All operations but the first are strong: to them the initialisation must have happened before.
static char *object(uint32_t address, unsigned place) {
    return shared(address, 8, EMU_WRITE | EMU_STRONG | EMU_CHAIN, place);
}

void mbarrier_init(uint32_t address, unsigned count, unsigned place) {
    if (!count || count > MAX_ARRIVALS) fault(place, "a barrier of %u arrivals", count);
    char *p = shared(address, 8, EMU_WRITE, place);
    std::memset(p, 0, 8);
    barriers[p] = {count, count, 0, 0, nullptr, nullptr};
}

void mbarrier_invalidate(uint32_t address, unsigned place) {
    char *p = shared(address, 8, EMU_WRITE, place);
    find(p, place);
    barriers.erase(p);
}

static void turn_phase(counting_barrier &b) {
    if (b.pending || b.bytes) return;
    b.pending = b.expected;
    b.phase++;
    b.completed = join(b.completed, b.arrived);
    b.arrived = nullptr;
}

uint64_t mbarrier_arrive(uint32_t address, unsigned count, unsigned bytes, unsigned place) {
    counting_barrier &b = find(object(address, place), place);
    fiber *f = the.running;
    if (count > b.pending) fault(place, "%u arrivals at a barrier that waits for %u", count, b.pending);
    if (the.check_races) b.arrived = join(b.arrived, all_known(f));
    f->now = 0;
    const uint64_t phase = b.phase;
    b.bytes += bytes;
    b.pending -= count;
    turn_phase(b);
    return phase;
}

void mbarrier_expect(uint32_t address, unsigned bytes, unsigned place) {
    find(object(address, place), place).bytes += bytes;
}

int mbarrier_test(uint32_t address, uint64_t phase, unsigned is_parity, unsigned place) {
    char *p = object(address, place);
    const auto is_over = [&] {
        const uint64_t now = find(p, place).phase;
        return is_parity ? (now & 1) != (phase & 1) : now != phase;
    };
    if (!is_over()) yield();
    if (!is_over()) return 0;
    fiber *f = the.running;
    f->now = 0;
    learn(f, find(p, place).completed);
    return 1;
}

// Checks a copy's accesses as those of a thread that knows what its thread knew.
static void check_pieces(const transaction &t) {
    static block nowhere;
    static fiber copier;
    nowhere.linear = ~0u;
    nowhere.warps.resize(1);
    copier.in = &nowhere;
    copier.ctaid = t.thread->ctaid;
    copier.tid = t.thread->tid;
    copier.id = FIRST_COPIER + next_copier++ % FIRST_COPIER;
    copier.knows = t.known;
    copier.has_waited = t.has_waited;
    copier.now = 0;
    the.current->has_copies = true;
    fiber *const before = the.running;
    the.running = &copier;
    for (unsigned at = 0; at < t.bytes; at += PIECE) {
        const unsigned n = std::min(PIECE, t.bytes - at);
        if (t.from) check_at(t.from + at, n, EMU_READ, t.place);
        check_at(t.to + at, n, EMU_WRITE, t.place);
    }
    the.running = before;
    auto own = std::make_shared<knowledge>(knowledge{{key_of(group::thread, copier.id), the.next}});
    const knowledge_ptr known = the.check_races ? join(t.known, own) : nullptr;
    if (t.barrier) {
        counting_barrier &b = find(t.barrier, t.place);
        b.arrived = join(b.arrived, known);
        b.bytes -= t.bytes;
        turn_phase(b);
    } else {
        t.thread->copied = join(t.thread->copied, known);
    }
}

static void land(size_t i) {
    const transaction t = under_way[i];
    under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(i));
    check_pieces(t);
    std::memcpy(t.to, t.from ? t.from : t.value, t.bytes);
}

// Whether something landed. `is_idle`: no thread can go on.
bool land_by_lot(bool is_idle) {
    if (under_way.empty() || (!is_idle && (draw() & 7))) return false;
    land(draw_below(under_way.size()));
    return true;
}

static knowledge_ptr known_now(fiber *f) {
    const knowledge_ptr known = the.check_races ? all_known(f) : nullptr;
    f->now = 0;
    return known;
}

static void check_sizes(uint64_t to, uint64_t from, unsigned bytes, unsigned place) {
    if ((to | from | bytes) % PIECE || !bytes)
        fault(place, "a bulk copy of %u bytes: size and addresses in sixteens", bytes);
}

void bulk_load(uint32_t to, uint64_t from, unsigned is_from_shared, unsigned bytes, uint32_t barrier,
               unsigned place) {
    fiber *f = the.running;
    check_sizes(to, from, bytes, place);
    const char *source = is_from_shared ? whereabouts_shared(static_cast<uint32_t>(from), place)
                                        : reinterpret_cast<const char *>(static_cast<uintptr_t>(from));
    char *p = object(barrier, place);
    find(p, place);
    under_way.push_back(
        {whereabouts_shared(to, place), source, bytes, place, p, f, 0, known_now(f), f->has_waited, {}});
    yield_by_lot();
}

void bulk_store(uint64_t to, uint32_t from, unsigned bytes, unsigned place) {
    fiber *f = the.running;
    check_sizes(to, from, bytes, place);
    char *target = reinterpret_cast<char *>(static_cast<uintptr_t>(to));
    under_way.push_back({target,
                         whereabouts_shared(from, place),
                         bytes,
                         place,
                         nullptr,
                         f,
                         f->bulk_group,
                         known_now(f),
                         f->has_waited,
                         {}});
    f->n_bulk++;
    f->bulk_place = place;
}

void bulk_commit() {
    the.running->bulk_group++;
}

void bulk_wait(unsigned n_left) {
    fiber *f = the.running;
    unsigned n_under_way = 0;
    for (size_t i = 0; i < under_way.size();) {
        const transaction &t = under_way[i];
        const bool is_own = t.thread == f && !t.barrier;
        if (is_own && t.group + n_left < f->bulk_group) {
            land(i);
        } else {
            n_under_way += is_own;
            i++;
        }
    }
    if (n_left == 0) f->n_bulk = n_under_way;
    f->now = 0;
    learn(f, f->copied);
}

void store_async(uint32_t to, const void *value, unsigned bytes, uint32_t barrier, unsigned place) {
    fiber *f = the.running;
    char *p = object(barrier, place);
    find(p, place);
    transaction t = {whereabouts_shared(to, place), nullptr, bytes, place, p, f, 0, known_now(f), f->has_waited, {}};
    std::memcpy(t.value, value, bytes);
    under_way.push_back(t);
}

void transactions_end_cluster() {
    barriers.clear();
    under_way.clear();
}

} // namespace emu
