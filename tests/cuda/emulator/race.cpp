// Data races: each word remembers who wrote and who read it last, and an access that does not come after the
// conflicting ones is a race in whatever order the threads happened to run.
#include <algorithm>

#include "machine.h"

namespace emu {

// Of a word's write: the segment, or the number of its four bytes' cells. Of its read: the segment of the only
// reader since the write, or the first of a chain of readers.
constexpr uint32_t SPLIT = 1u << 31, CHAIN = 1u << 31, STRONG = 1u << 30, NUMBER = STRONG - 1;

// Whose reads an entry of a chain stands for: a thread's, those of its warp, or those of its block. Entries of the
// cluster that runs stand first; of each block of earlier clusters there is one.
enum class readers : uint8_t { thread, warp, block };

struct reader {
    thread_id id;
    segment last;
    readers of;
    bool is_strong;
    uint32_t next;
};

// Chains and cells of bytes; those of shared memory go with the cluster, those of global memory with the launch.
struct store {
    std::vector<reader> chains{{}};
    std::vector<cell> bytes{{}};
    std::vector<cell *> chained, split;
    uint32_t free_reader = 0;
};
static store of_windows, of_regions;

static const char *space(const memory &m) {
    return m.owner ? "shared" : "global";
}

[[noreturn]] static void tell(const memory &m, unsigned access, const char *with, thread_id other, unsigned place) {
    const char *kind = access & EMU_WRITE ? "write" : "read";
    if (other >= FIRST_COPIER)
        fault(place, "a %s races with a %s of a copy that nobody waited for: %s memory", kind, with, space(m));
    const unsigned in_block = other & ((1u << THREAD_BITS) - 1), linear = other >> THREAD_BITS;
    const emu_dim &grid = the.n_blocks;
    fault(place, "a %s races with a %s of thread %u of block (%u,%u,%u): %s memory, and nothing orders them", kind,
          with, in_block, linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y, space(m));
}

static thread_id owner_of(segment s) {
    return the.owners[s - the.launch_first] & ~(1u << 31);
}

// Several lanes or warps read: known only if the whole of them is.
static bool is_reader_known(fiber *f, const reader &r) {
    if (r.last < the.launch_first) return true;
    if (r.of == readers::thread) return is_known(f, r.last);
    const uint32_t linear = r.id >> THREAD_BITS, its_warp = r.id >> WARP_BITS;
    if (r.last >= the.current->first) {
        if (linear == f->in->linear && r.last < f->in->floor) return true;
        if (its_warp == f->id >> WARP_BITS && r.last < f->in->warps[f->warp].floor) return true;
        if (r.last < the.current->previous_floor) return true;
        if (r.last < the.current->floor) return is_known(f, r.last);
    }
    const bool is_of_warp = r.of == readers::warp && r.last < known_until(f, key_of(group::warp, its_warp));
    return is_of_warp || r.last < known_until(f, key_of(group::block, linear));
}

static uint32_t add_reader(store &s, const reader &r) {
    uint32_t i = s.free_reader;
    if (i) {
        s.free_reader = s.chains[i].next;
        s.chains[i] = r;
    } else {
        i = static_cast<uint32_t>(s.chains.size());
        s.chains.push_back(r);
    }
    return i;
}

static void drop_readers(store &s, cell &c) {
    if (c.read & CHAIN) {
        for (uint32_t i = c.read & NUMBER, next; i; i = next) {
            next = s.chains[i].next;
            s.chains[i].next = s.free_reader;
            s.free_reader = i;
        }
    }
    c.read = 0;
}

// The entries of the cluster before become one of each block.
static void fold(store &s, cell &c) {
    uint32_t *link = nullptr, next;
    for (uint32_t i = c.read & NUMBER; i && s.chains[i].of != readers::block; i = next) {
        next = s.chains[i].next;
        reader &r = s.chains[i];
        r.of = readers::block;
        if (next && s.chains[next].of != readers::block && s.chains[next].id >> THREAD_BITS == r.id >> THREAD_BITS) {
            reader &other = s.chains[next]; // takes this one in
            other.last = std::max(other.last, r.last);
            other.is_strong &= r.is_strong;
            (link ? *link : c.read) = next | (link ? 0 : CHAIN);
            r.next = s.free_reader;
            s.free_reader = i;
        } else {
            link = &r.next;
        }
    }
}

// Adds the running thread to the readers of a cell, and leaves out whom it comes after.
static void note_read(store &s, cell &c, bool is_strong) {
    fiber *f = the.running;
    const segment now = segment_now(f);
    if (!(c.read & CHAIN)) {
        const segment old = c.read & NUMBER;
        if (old < the.launch_first || ((!is_strong || c.read & STRONG) && is_known(f, old))) {
            c.read = now | (is_strong ? STRONG : 0);
            return;
        }
        if (owner_of(old) == f->id) return; // a plain read stands for the strong one too
        const bool is_of_byte = &c >= s.bytes.data() && &c < s.bytes.data() + s.bytes.size();
        if (!is_of_byte) s.chained.push_back(&c);
        c.read = CHAIN | add_reader(s, {owner_of(old), old, readers::thread, (c.read & STRONG) != 0, 0});
    }
    reader *first = &s.chains[c.read & NUMBER];
    if (first->last < the.current->first && first->of != readers::block) {
        fold(s, c);
        first = &s.chains[c.read & NUMBER];
    }
    bool is_after_all = !is_strong;
    for (uint32_t i = c.read & NUMBER; i; i = s.chains[i].next) {
        reader &r = s.chains[i];
        if (r.of == readers::block) {
            is_after_all = false;
            break;
        }
        if (r.id >> WARP_BITS == f->id >> WARP_BITS) {
            if (r.id != f->id) r.of = readers::warp;
            r.last = now;
            r.is_strong &= is_strong;
            return;
        }
        is_after_all = is_after_all && is_reader_known(f, r);
    }
    if (is_after_all) { // as after a barrier
        drop_readers(s, c);
        c.read = now;
        return;
    }
    c.read = CHAIN | add_reader(s, {f->id, now, readers::thread, is_strong, c.read & NUMBER});
}

static void check_readers(memory &m, store &s, cell &c, unsigned access, unsigned place) {
    fiber *f = the.running;
    const bool is_strong = access & EMU_STRONG;
    if (!(c.read & CHAIN)) {
        const segment old = c.read & NUMBER;
        if (!old || old < the.launch_first || (is_strong && c.read & STRONG)) return;
        if (!is_known(f, old)) tell(m, access, "read", owner_of(old), place);
        return;
    }
    for (uint32_t i = c.read & NUMBER; i; i = s.chains[i].next) {
        const reader &r = s.chains[i];
        if (is_strong && r.is_strong) continue;
        if (!is_reader_known(f, r)) tell(m, access, "read", r.id, place);
    }
}

static void check_cell(memory &m, store &s, cell &c, unsigned access, unsigned place) {
    fiber *f = the.running;
    const segment now = segment_now(f), wrote = c.write & NUMBER;
    const bool is_strong = access & EMU_STRONG;
    if (!f->has_waited && !m.owner) early_check(wrote, access, place);
    if (wrote != now && wrote >= the.launch_first && !(is_strong && c.write & STRONG) && !is_known(f, wrote)) {
        tell(m, access, c.write & STRONG ? "strong write" : "write", owner_of(wrote), place);
    }
    if (!(access & EMU_WRITE)) {
        note_read(s, c, is_strong);
        return;
    }
    if (c.read) check_readers(m, s, c, access, place);
    c.write = now | (is_strong ? STRONG : 0);
    if (c.read && !is_strong) drop_readers(s, c);
}

static cell *split(store &s, cell &c) {
    if (c.write & SPLIT) return &s.bytes[c.write & NUMBER];
    const uint32_t first = static_cast<uint32_t>(s.bytes.size());
    cell whole = c;
    if (whole.read & CHAIN) whole.read &= ~CHAIN; // each byte has its own chain: rebuilt below
    for (unsigned i = 0; i < 4; i++) {
        uint32_t chain = 0;
        for (uint32_t r = c.read & CHAIN ? c.read & NUMBER : 0; r; r = s.chains[r].next) {
            reader copy = s.chains[r];
            copy.next = chain;
            chain = add_reader(s, copy);
        }
        s.bytes.push_back({c.write, c.read & CHAIN ? CHAIN | chain : c.read});
    }
    drop_readers(s, c);
    s.split.push_back(&c);
    c.write = SPLIT | first;
    return &s.bytes[first];
}

void race_check(memory &m, size_t offset, unsigned bytes, unsigned access, unsigned place) {
    store &s = m.owner ? of_windows : of_regions;
    cell *c = &m.cells[offset / 4];
    const segment now = the.running->now;
    if (bytes >= 4) {
        for (unsigned i = 0; i < bytes / 4; i++, c++) {
            // In the same segment as before: nothing new.
            const uint32_t mark = now | (access & EMU_STRONG ? STRONG : 0);
            if (now && c->write == mark && !c->read) continue;
            if (now && c->read == mark && !(access & EMU_WRITE) && !(c->write & SPLIT)) continue;
            if (c->read & CHAIN && !access && (c->write & NUMBER) < the.launch_first && !(c->write & SPLIT)) {
                reader &r = s.chains[c->read & NUMBER];
                if (r.id >> WARP_BITS == the.running->id >> WARP_BITS && r.of == readers::warp && !r.is_strong) {
                    r.last = segment_now(the.running);
                    continue;
                }
            }
            if (!(c->write & SPLIT)) {
                check_cell(m, s, *c, access, place);
                continue;
            }
            const uint32_t first = c->write & NUMBER;
            for (unsigned b = 0; b < 4; b++) check_cell(m, s, s.bytes[first + b], access, place);
        }
        return;
    }
    split(s, *c);
    const uint32_t first = c->write & NUMBER;
    for (unsigned b = offset & 3; b < (offset & 3) + bytes; b++) check_cell(m, s, s.bytes[first + b], access, place);
}

static void clear(store &s) {
    for (cell *c : s.chained) c->read = 0;
    for (cell *c : s.split) {
        const cell *bytes = &s.bytes[c->write & NUMBER];
        segment last = 0;
        for (unsigned b = 0; b < 4; b++) last = std::max(last, bytes[b].write & NUMBER);
        *c = {&s == &of_regions ? last : 0, 0};
    }
    s.chained.clear();
    s.split.clear();
    s.chains.resize(1);
    s.bytes.resize(1);
    s.free_reader = 0;
}

void race_end_cluster() {
    clear(of_windows);
}

void race_end_launch() {
    clear(of_regions);
}

} // namespace emu
