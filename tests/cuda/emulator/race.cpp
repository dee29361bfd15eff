// Data races: each word remembers who wrote and who read it last, and an access that does not come after the
// conflicting ones is a race in whatever order the threads happened to run.
#include "machine.h"

namespace emu {

// Of a word's write: the segment, or the number of its four bytes' cells. Of its read: the segment of the only
// reader since the write, or the first of a chain of readers.
constexpr uint32_t SPLIT = 1u << 31, CHAIN = 1u << 31, STRONG = 1u << 30, NUMBER = STRONG - 1;

struct reader {
    thread_id id;
    segment last;
    uint32_t is_strong, is_warp; // is_warp: several lanes of the warp of `id`
    uint32_t next;
};

// Chains and cells of bytes; those of shared memory go with the cluster, those of global memory with the launch.
struct store {
    std::vector<reader> readers{{}};
    std::vector<cell> bytes{{}};
    std::vector<cell *> chained, split;
    uint32_t free_reader = 0;
};
static store of_windows, of_regions;

static const char *space(const memory &m) {
    return m.owner ? "shared" : "global";
}

[[noreturn]] static void tell(const memory &m, unsigned access, const char *with, thread_id other, unsigned place) {
    const unsigned in_block = other & ((1u << THREAD_BITS) - 1), linear = other >> THREAD_BITS;
    const emu_dim &grid = the.n_blocks;
    fault(place, "a %s races with a %s of thread %u of block (%u,%u,%u): %s memory, and nothing orders them",
          access & EMU_WRITE ? "write" : "read", with, in_block, linear % grid.x, linear / grid.x % grid.y,
          linear / grid.x / grid.y, space(m));
}

static thread_id owner_of(segment s) {
    return the.owners[s - the.launch_first] & ~(1u << 31);
}

// Several lanes of a warp read: known only if the whole warp is.
static bool is_reader_known(fiber *f, const reader &r) {
    if (r.last < the.launch_first) return true;
    if (!r.is_warp) return is_known(f, r.last);
    const block *b = f->in;
    const uint32_t linear = r.id >> THREAD_BITS;
    if (linear == b->linear && r.last < b->floor) return true;
    if (r.id >> WARP_BITS == f->id >> WARP_BITS) return r.last < b->warps[f->warp].floor;
    if (r.last >= the.current->first && r.last < the.current->previous_floor) return true;
    if (r.last >= the.current->first && r.last < the.current->floor) return is_known(f, r.last);
    if (!f->knows) return false;
    for (const auto &known : *f->knows) {
        const bool is_warp = known.first == key_of(group::warp, r.id >> WARP_BITS);
        if ((is_warp || known.first == key_of(group::block, linear)) && r.last < known.second) return true;
    }
    return false;
}

static uint32_t add_reader(store &s, const reader &r) {
    uint32_t i = s.free_reader;
    if (i) {
        s.free_reader = s.readers[i].next;
        s.readers[i] = r;
    } else {
        i = static_cast<uint32_t>(s.readers.size());
        s.readers.push_back(r);
    }
    return i;
}

static void drop_readers(store &s, cell &c) {
    if (c.read & CHAIN) {
        for (uint32_t i = c.read & NUMBER, next; i; i = next) {
            next = s.readers[i].next;
            s.readers[i].next = s.free_reader;
            s.free_reader = i;
        }
    }
    c.read = 0;
}

// Adds the running thread to the readers of a cell, and leaves out whom it comes after.
static void note_read(store &s, cell &c, bool is_strong) {
    fiber *f = the.running;
    const segment now = segment_now(f);
    const uint32_t mark = now | (is_strong ? STRONG : 0);
    if (!(c.read & CHAIN)) {
        const segment old = c.read & NUMBER;
        if (old < the.launch_first || (is_known(f, old) && (!is_strong || c.read & STRONG))) {
            c.read = mark;
            return;
        }
        if (owner_of(old) == f->id) return; // a plain read stands for the strong one too
        const uint32_t first = add_reader(s, {owner_of(old), old, c.read & STRONG, 0, 0});
        c.read = CHAIN | first;
        const bool is_of_byte = &c >= s.bytes.data() && &c < s.bytes.data() + s.bytes.size();
        if (!is_of_byte) s.chained.push_back(&c);
    }
    for (uint32_t i = c.read & NUMBER; i; i = s.readers[i].next) {
        reader &r = s.readers[i];
        if (r.id >> WARP_BITS == f->id >> WARP_BITS) {
            r.is_warp |= r.id != f->id;
            r.last = now;
            r.is_strong &= is_strong ? STRONG : 0;
            return;
        }
    }
    // The chain is cut where this reader comes after all of it, as after a barrier.
    bool is_after_all = true;
    for (uint32_t i = c.read & NUMBER; i && is_after_all; i = s.readers[i].next) {
        is_after_all = is_reader_known(f, s.readers[i]);
    }
    if (is_after_all && !is_strong) {
        drop_readers(s, c);
        c.read = mark;
        return;
    }
    const reader own{f->id, now, is_strong ? STRONG : 0, 0, c.read & NUMBER};
    c.read = CHAIN | add_reader(s, own);
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
    for (uint32_t i = c.read & NUMBER; i; i = s.readers[i].next) {
        const reader &r = s.readers[i];
        if (is_strong && r.is_strong) continue;
        if (!r.is_warp && r.id == f->id) continue;
        if (!is_reader_known(f, r)) tell(m, access, "read", r.id, place);
    }
}

static void check_cell(memory &m, store &s, cell &c, unsigned access, unsigned place) {
    fiber *f = the.running;
    const segment now = segment_now(f), wrote = c.write & NUMBER;
    const bool is_strong = access & EMU_STRONG;
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
        for (uint32_t r = c.read & CHAIN ? c.read & NUMBER : 0; r; r = s.readers[r].next) {
            reader copy = s.readers[r];
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
    for (cell *c : s.split) *c = {0, 0};
    s.chained.clear();
    s.split.clear();
    s.readers.resize(1);
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
