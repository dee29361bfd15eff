// Data races: each word remembers who wrote and who read it last, and an access that does not come after the
// conflicting ones is a race in whatever order the threads happened to run.
#include <algorithm>

#include "machine.h"

namespace emu {

// Of a word's write: the segment, or the number of its four bytes' cells. Of its read: the segment of the only
// reader since the write, or the first of a chain of readers. Of what a warp read: the segment of the read noted
// last, with OF_WARP where several of its lanes did.
constexpr uint32_t SPLIT = 1u << 31, CHAIN = 1u << 31, OF_WARP = 1u << 31, STRONG = 1u << 30, NUMBER = STRONG - 1;

// The reads of a block. Those of the cluster that runs stand first, each with a number for every warp, 0 for one that
// did not read; what blocks of earlier clusters read is known by the last of it.
struct reader {
    uint32_t block;  // its linear index
    segment cluster; // the first segment of the cluster that runs, 0 for an earlier one
    uint32_t reads;  // where the warps' numbers begin, or the last segment
    segment latest;  // of the read noted last: whether all may be known
    bool is_strong;  // of an earlier cluster's block: all its reads were
    uint32_t next;
};

// Chains and cells of bytes; those of shared memory go with the cluster, those of global memory with the launch.
struct store {
    std::vector<reader> chains{{}};
    std::vector<uint32_t> warps; // of blocks in chains: as many as a block has
    std::vector<cell> bytes{{}};
    std::vector<cell *> chained, split;
    std::vector<uint32_t> free_warps;
    uint32_t free_reader = 0;
};
static store of_windows, of_regions;

static size_t n_warps() {
    return the.current->blocks[0]->warps.size();
}

// A copy counts as a block of its own.
static uint32_t block_of(thread_id id) {
    return id >= FIRST_COPIER ? id : id >> THREAD_BITS;
}

static uint32_t warp_of(thread_id id) {
    return id >= FIRST_COPIER ? 0 : id >> WARP_BITS & ((1u << (THREAD_BITS - WARP_BITS)) - 1);
}

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

// Several lanes read: known only if the whole warp is.
static bool is_warp_known(fiber *f, uint32_t block, uint32_t warp, uint32_t read) {
    const segment last = read & NUMBER;
    if (!(read & OF_WARP)) return is_known(f, last);
    const bool is_of_own_block = block == f->in->linear;
    if (last >= the.current->first) {
        if (is_of_own_block && (last < f->in->floor || (warp == f->warp && last < f->in->warps[warp].floor)))
            return true;
        if (last < the.current->previous_floor) return true;
        if (last < the.current->floor) return is_known(f, last);
    }
    return last < known_until(f, key_of(group::warp, block << (THREAD_BITS - WARP_BITS) | warp)) ||
           last < known_until(f, key_of(group::block, block));
}

// The first warp of a block that read and that the running thread does not come after; strong reads may be left out.
static const uint32_t *find_unknown(const store &s, const reader &r, bool without_strong) {
    fiber *f = the.running;
    const uint32_t *reads = &s.warps[r.reads];
    for (uint32_t w = 0; w < n_warps(); w++) {
        if (!reads[w] || (without_strong && reads[w] & STRONG)) continue;
        if (!is_warp_known(f, r.block, w, reads[w])) return &reads[w];
    }
    return nullptr;
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

static uint32_t take_warps(store &s) {
    uint32_t at = static_cast<uint32_t>(s.warps.size());
    if (s.free_warps.empty()) {
        s.warps.resize(at + n_warps());
    } else {
        at = s.free_warps.back();
        s.free_warps.pop_back();
    }
    return at;
}

// Adds a block of the cluster that runs, of which one thread read.
static uint32_t add_block(store &s, thread_id id, uint32_t read, uint32_t next) {
    const uint32_t at = take_warps(s);
    std::fill_n(&s.warps[at], n_warps(), 0);
    s.warps[at + warp_of(id)] = read;
    return add_reader(s, {block_of(id), the.current->first, at, read & NUMBER, false, next});
}

static void free_reader(store &s, uint32_t i) {
    reader &r = s.chains[i];
    if (r.cluster) s.free_warps.push_back(r.reads);
    r.next = s.free_reader;
    s.free_reader = i;
}

static void drop_readers(store &s, cell &c) {
    if (c.read & CHAIN) {
        for (uint32_t i = c.read & NUMBER, next; i; i = next) {
            next = s.chains[i].next;
            free_reader(s, i);
        }
    }
    c.read = 0;
}

// The cluster is over: of each of its blocks the last read stays.
static void fold(store &s, cell &c) {
    for (uint32_t i = c.read & NUMBER; i && s.chains[i].cluster; i = s.chains[i].next) {
        reader &r = s.chains[i];
        const uint32_t *reads = &s.warps[r.reads];
        segment last = 0;
        r.is_strong = true;
        for (size_t w = 0; w < n_warps(); w++) {
            last = std::max(last, reads[w] & NUMBER);
            r.is_strong &= !reads[w] || reads[w] & STRONG;
        }
        s.free_warps.push_back(r.reads);
        r.cluster = 0;
        r.reads = last;
    }
}

// The chain of what a cell's only reader did.
static uint32_t chain_of(store &s, uint32_t read) {
    const segment last = read & NUMBER;
    const thread_id owner = owner_of(last);
    if (last >= the.current->first) return add_block(s, owner, read, 0);
    return add_reader(s, {block_of(owner), 0, last, last, (read & STRONG) != 0, 0});
}

// Adds the running thread to the readers of a cell, and leaves out whom it comes after.
static void note_read(store &s, cell &c, bool is_strong) {
    fiber *f = the.running;
    const segment now = segment_now(f);
    const uint32_t mark = now | (is_strong ? STRONG : 0);
    if (!(c.read & CHAIN)) {
        const segment old = c.read & NUMBER;
        if (old < the.launch_first || ((!is_strong || c.read & STRONG) && is_known(f, old))) {
            c.read = mark;
            return;
        }
        if (owner_of(old) == f->id) return; // a plain read stands for the strong one too
        const bool is_of_byte = &c >= s.bytes.data() && &c < s.bytes.data() + s.bytes.size();
        if (!is_of_byte) s.chained.push_back(&c);
        c.read = CHAIN | chain_of(s, c.read);
    }
    const segment cluster = s.chains[c.read & NUMBER].cluster;
    if (cluster && cluster != the.current->first) fold(s, c);
    uint32_t *own = nullptr;
    bool is_after_all = !is_strong;
    for (uint32_t i = c.read & NUMBER; i; i = s.chains[i].next) {
        reader &r = s.chains[i];
        if (!r.cluster) {
            is_after_all = false;
            break;
        }
        if (r.block == block_of(f->id)) {
            own = &s.warps[r.reads + warp_of(f->id)];
            r.latest = now;
            if (*own) {
                const bool is_of_warp = *own & OF_WARP || owner_of(*own & NUMBER) != f->id;
                *own = now | (is_of_warp ? OF_WARP : 0) | (*own & mark & STRONG);
                return;
            }
        }
        is_after_all = is_after_all && !find_unknown(s, r, false);
    }
    if (is_after_all) { // as after a barrier
        drop_readers(s, c);
        c.read = mark;
    } else if (own) {
        *own = mark;
    } else {
        c.read = CHAIN | add_block(s, f->id, mark, c.read & NUMBER);
    }
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
        if (r.cluster) {
            const uint32_t *unknown = find_unknown(s, r, is_strong);
            if (unknown) tell(m, access, "read", owner_of(*unknown & NUMBER), place);
        } else if (!(is_strong && r.is_strong) && r.reads >= known_until(f, key_of(group::block, r.block))) {
            tell(m, access, "read", owner_of(r.reads), place);
        }
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

// Each byte has a chain of its own.
static uint32_t copy_chain(store &s, uint32_t from) {
    uint32_t first = 0, last = 0;
    for (uint32_t i = from; i; i = s.chains[i].next) {
        reader copy = s.chains[i];
        copy.next = 0;
        if (copy.cluster) {
            const uint32_t reads = take_warps(s);
            std::copy_n(&s.warps[copy.reads], n_warps(), &s.warps[reads]);
            copy.reads = reads;
        }
        const uint32_t at = add_reader(s, copy);
        (last ? s.chains[last].next : first) = at;
        last = at;
    }
    return first;
}

static cell *split(store &s, cell &c) {
    if (c.write & SPLIT) return &s.bytes[c.write & NUMBER];
    const uint32_t first = static_cast<uint32_t>(s.bytes.size());
    for (unsigned i = 0; i < 4; i++) {
        s.bytes.push_back({c.write, c.read & CHAIN ? CHAIN | copy_chain(s, c.read & NUMBER) : c.read});
    }
    drop_readers(s, c);
    s.split.push_back(&c);
    c.write = SPLIT | first;
    return &s.bytes[first];
}

// What is plainly known to the running thread: what came before the launch, and before a barrier of a block that is
// alone.
struct horizon {
    segment launch, first, floor;
    bool has(segment s) const {
        return s < launch || (s >= first && s < floor);
    }
};

static horizon horizon_now() {
    const bool is_alone = the.current->blocks.size() == 1 && !the.current->has_copies;
    return {the.launch_first, the.current->first, is_alone ? the.running->in->floor : 0};
}

// Nearly all accesses: plain ones that come after all before them, or read what others of the block also read.
// Whether this is one, which is then noted.
static bool check_plain(store &s, cell &c, bool is_write, segment now, const horizon &known) {
    fiber *f = the.running;
    const segment wrote = c.write;
    if (wrote & (SPLIT | STRONG) || (wrote != now && !known.has(wrote))) return false;
    if (!(c.read & CHAIN)) {
        const segment old = c.read;
        if (old & STRONG || (old != now && !known.has(old))) return false;
        (is_write ? c.write : c.read) = now;
        if (is_write) c.read = 0;
        return true;
    }
    reader &r = s.chains[c.read & NUMBER];
    if (is_write || r.cluster != known.first || r.block != f->in->linear || known.has(r.latest)) return false;
    uint32_t &own = s.warps[r.reads + f->warp];
    if (own & STRONG) return false;
    const bool is_of_warp = own && (own & OF_WARP || owner_of(own) != f->id);
    own = now | (is_of_warp ? OF_WARP : 0);
    r.latest = now;
    return true;
}

void race_check(memory &m, size_t offset, unsigned bytes, unsigned access, unsigned place) {
    store &s = m.owner ? of_windows : of_regions;
    cell *c = &m.cells[offset / 4];
    fiber *f = the.running;
    const segment now = segment_now(f);
    const bool is_write = access & EMU_WRITE;
    const bool is_plain = access <= EMU_WRITE && f->id < FIRST_COPIER && (f->has_waited || m.owner);
    const horizon known = horizon_now();
    if (bytes < 4) split(s, *c);
    for (unsigned i = 0; i < bytes; i += 4, c++) {
        if (is_plain && check_plain(s, *c, is_write, now, known)) continue;
        if (!(c->write & SPLIT)) {
            check_cell(m, s, *c, access, place);
            continue;
        }
        const uint32_t first = c->write & NUMBER, from = bytes < 4 ? offset & 3 : 0,
                       to = bytes < 4 ? from + bytes : 4;
        for (uint32_t b = from; b < to; b++) {
            if (is_plain && check_plain(s, s.bytes[first + b], is_write, now, known)) continue;
            check_cell(m, s, s.bytes[first + b], access, place);
        }
    }
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
    s.warps.clear();
    s.free_warps.clear();
    s.free_reader = 0;
}

void race_end_cluster() {
    clear(of_windows);
}

void race_end_launch() {
    clear(of_regions);
}

} // namespace emu
