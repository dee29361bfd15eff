// Memory that kernels may touch, with its shadow: regions of global memory, windows of blocks, local memory.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace emu {

constexpr size_t ALIGN = 64, WINDOW_STEP = 4096;
constexpr unsigned LOCAL_GAP = 64; // between the frames of functions

// Sorted by base. It outlives what is destroyed at the process's end, as variables of modules do.
static std::vector<memory *> &regions = *new std::vector<memory *>;
static memory *recent[64]; // by bits of the address
static std::vector<memory> free_windows;

static void *pages(size_t bytes) {
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fault(0, "no memory for the shadow of %zu bytes", bytes);
    return p;
}

// Bits are read eight bytes at a time, so there is room behind the last.
static void shadow_open(memory &m) {
    m.bits_bytes = m.end / 8 + 16;
    m.cells_bytes = (m.end / 4 + 1) * sizeof(cell);
    m.written = static_cast<uint8_t *>(pages(m.bits_bytes));
    m.cells = static_cast<cell *>(pages(m.cells_bytes));
}

static void shadow_close(memory &m) {
    munmap(m.written, m.bits_bytes);
    munmap(m.cells, m.cells_bytes);
    if (m.valid) munmap(m.valid, m.bits_bytes);
}

static uint64_t bits_at(const uint8_t *bits, size_t offset, unsigned n) {
    uint64_t word;
    std::memcpy(&word, bits + offset / 8, sizeof word);
    return word >> (offset & 7) & ((uint64_t{1} << n) - 1);
}

static void set_bits(uint8_t *bits, size_t offset, size_t n) {
    for (; n && offset & 7; offset++, n--)
        bits[offset / 8] = static_cast<uint8_t>(bits[offset / 8] | 1 << (offset & 7));
    std::memset(bits + offset / 8, 0xff, n / 8);
    offset += n / 8 * 8;
    for (n %= 8; n; offset++, n--) bits[offset / 8] = static_cast<uint8_t>(bits[offset / 8] | 1 << (offset & 7));
}

static void clear_bits(uint8_t *bits, size_t offset, size_t n) {
    for (; n; offset++, n--) bits[offset / 8] = static_cast<uint8_t>(bits[offset / 8] & ~(1 << (offset & 7)));
}

static size_t first_clear(const uint8_t *bits, size_t offset, size_t n) {
    for (size_t i = 0; i < n;) {
        const bool is_byte = !((offset + i) & 7) && n - i >= 8;
        if (is_byte && bits[(offset + i) / 8] == 0xff) {
            i += 8;
        } else if (bits[(offset + i) / 8] >> ((offset + i) & 7) & 1) {
            i++;
        } else {
            return i;
        }
    }
    return n;
}

static memory *region_at(const char *p) {
    memory *&slot = recent[reinterpret_cast<uintptr_t>(p) >> 14 & 63];
    if (slot && p >= slot->base && p < slot->base + slot->end) return slot;
    const auto it = std::upper_bound(regions.begin(), regions.end(), p,
                                     [](const char *a, const memory *m) { return a < m->base + m->begin; });
    if (it == regions.begin()) return nullptr;
    memory *m = *(it - 1);
    if (p >= m->base + m->end) return nullptr;
    return slot = m;
}

bool is_global(const char *p) {
    return region_at(p);
}

static const char *verb(unsigned access) {
    return access & EMU_WRITE ? access & EMU_CHAIN ? "an atomic operation" : "a store" : "a load";
}

// A sentence about the bytes that lie outside of every variable.
[[noreturn]] static void tell_outside(const memory &m, size_t offset, unsigned bytes, unsigned access,
                                      unsigned place) {
    const emu_kernel *k = the.kernel;
    const unsigned n = k->n_shared, dynamic = k->dynamic_shared_offset;
    if (!m.owner) {
        fault(place, "%s of %u bytes at byte %zu of a buffer of %zu", verb(access), bytes, offset - m.begin,
              m.end - m.begin);
    }
    for (unsigned i = 0; i < n; i++) {
        const emu_shared &v = k->shared[i];
        if (offset + 32 >= v.offset && offset < v.offset + v.bytes + 32) {
            fault(place, "%s of %u bytes at byte %ld of a shared variable of %u", verb(access), bytes,
                  static_cast<long>(offset) - static_cast<long>(v.offset), v.bytes);
        }
    }
    fault(place, "%s of %u bytes at byte %ld of dynamic shared memory of %u", verb(access), bytes,
          static_cast<long>(offset) - static_cast<long>(dynamic), the.launch->dynamic_shared_bytes);
}

[[noreturn]] static void tell_unwritten(const memory &m, size_t offset, unsigned bytes, unsigned access,
                                        unsigned place) {
    const char *p = m.base + offset;
    if (m.owner) {
        for (const fiber *f : m.owner->threads) {
            for (const async_copy &copy : f->copies) {
                if (copy.to >= p + bytes || p >= copy.to + copy.bytes) continue;
                fault(place, "%s of shared memory whose copy by thread %u (line %u) was not waited for", verb(access),
                      f->index, copy.place & ((1u << EMU_LINE_BITS) - 1));
            }
        }
    }
    fault(place, "%s of %s memory that nothing was written to", verb(access), m.owner ? "shared" : "global");
}

static void check(memory &m, size_t offset, unsigned bytes, unsigned access, unsigned place) {
    if (m.valid ? ~bits_at(m.valid, offset, bytes) << (64 - bytes) : offset < m.begin || offset + bytes > m.end) {
        tell_outside(m, offset, bytes, access, place);
    }
    if (access & EMU_STRONG) strong_access(m.base + offset, access);
    if (the.check_unwritten) {
        if ((!(access & EMU_WRITE) || access & EMU_CHAIN) && ~bits_at(m.written, offset, bytes) << (64 - bytes)) {
            tell_unwritten(m, offset, bytes, access, place);
        }
        if (access & EMU_WRITE) set_bits(m.written, offset, bytes);
    }
    if (the.check_races) race_check(m, offset, bytes, access, place);
}

static char *in_window(block *b, size_t offset, unsigned bytes, unsigned access, unsigned place) {
    fiber *f = the.running;
    if (b != f->in && the.check_exits) {
        if (!b->n_live) fault(place, "touches shared memory of block %u of the cluster, which has ended", b->rank);
        if (the.current->floor == the.current->first) {
            fault(place, "touches shared memory of block %u of the cluster, which need not have begun", b->rank);
        }
        const segment now = segment_now(f);
        auto &all = b->remote_accesses;
        if (all.empty() || all.back().when != now) all.push_back({now, f->in->rank, place});
    }
    if (offset + bytes > b->window.end) tell_outside(b->window, offset, bytes, access, place);
    if (the.check_bounds) check(b->window, offset, bytes, access, place);
    return b->window.base + offset;
}

static void check_alignment(uint64_t address, unsigned bytes, unsigned access, unsigned place) {
    if (address & (bytes - 1)) {
        fault(place, "%s of %u bytes at an address that is no multiple of %u", verb(access), bytes, bytes);
    }
}

// Other threads may come between at every access that they could see.
static void after(unsigned access) {
    if (!(access & EMU_STRONG)) return;
    fiber *f = the.running;
    if (f->fenced && access & EMU_WRITE) f->now = 0;
}

char *shared(uint32_t address, unsigned bytes, unsigned access, unsigned place) {
    if (access & EMU_STRONG) yield_by_lot();
    check_alignment(address, bytes, access, place);
    fiber *f = the.running;
    const unsigned rank = address >> EMU_RANK_SHIFT;
    if (rank > the.current->blocks.size()) fault(place, "a shared address of block %u of the cluster", rank - 1);
    block *b = rank ? the.current->blocks[rank - 1] : f->in;
    if (the.counts_traffic) traffic(address, bytes, true, access, place, __builtin_return_address(0));
    char *p = in_window(b, address & EMU_OFFSET_MASK, bytes, access, place);
    after(access);
    return p;
}

char *shared_begin_write(uint32_t address, unsigned bytes, unsigned place) {
    char *p = shared(address, bytes, EMU_WRITE, place);
    memory &m = the.running->in->window;
    clear_bits(m.written, static_cast<size_t>(p - m.base), bytes);
    std::memset(p, 0xff, bytes);
    return p;
}

void shared_end_write(char *p, unsigned bytes, unsigned place) {
    memory &m = the.running->in->window;
    if (the.check_bounds) check(m, static_cast<size_t>(p - m.base), bytes, EMU_WRITE, place);
}

char *whereabouts_shared(uint32_t address, unsigned place) {
    const unsigned rank = address >> EMU_RANK_SHIFT;
    char *base = rank ? window(rank - 1, place) : the.running->in->window.base;
    return base + (address & EMU_OFFSET_MASK);
}

void check_at(const char *p, unsigned bytes, unsigned access, unsigned place) {
    memory *m = region_at(p);
    for (block *b : the.current->blocks) {
        if (p >= b->window.base && p < b->window.base + b->window.end) m = &b->window;
    }
    if (!m)
        fault(place, "%s of %u bytes at %p, which is no device memory", verb(access), bytes,
              static_cast<const void *>(p));
    if (m->owner && !m->owner->n_live) fault(place, "a copy touches shared memory of a block that has ended");
    if (the.check_bounds) check(*m, static_cast<size_t>(p - m->base), bytes, access, place);
}

char *window(unsigned rank, unsigned place) {
    if (rank >= the.current->blocks.size()) {
        fault(place, "block %u of a cluster of %zu", rank, the.current->blocks.size());
    }
    return the.current->blocks[rank]->window.base;
}

char *generic(uint64_t address, unsigned bytes, unsigned access, unsigned place) {
    if (access & EMU_STRONG) yield_by_lot();
    check_alignment(address, bytes, access, place);
    fiber *f = the.running;
    char *p = reinterpret_cast<char *>(static_cast<uintptr_t>(address));
    if (memory *m = region_at(p)) {
        if (the.counts_traffic) traffic(address, bytes, false, access, place, __builtin_return_address(0));
        if (the.check_bounds) check(*m, static_cast<size_t>(p - m->base), bytes, access, place);
        after(access);
        return p;
    }
    for (block *b : the.current->blocks) {
        if (p < b->window.base || p >= b->window.base + b->window.end) continue;
        in_window(b, static_cast<size_t>(p - b->window.base), bytes, access, place);
        after(access);
        return p;
    }
    if (p >= f->local_base && p + bytes <= f->local) return p;
    // Of no buffer: say which is near.
    const auto it = std::upper_bound(regions.begin(), regions.end(), p,
                                     [](const char *a, const memory *m) { return a < m->base; });
    constexpr size_t NEAR = 4096;
    memory *before = it == regions.begin() ? nullptr : *(it - 1), *behind = it == regions.end() ? nullptr : *it;
    const size_t past = before ? static_cast<size_t>(p - before->base) - before->end : NEAR;
    const size_t short_of = behind ? static_cast<size_t>(behind->base + behind->begin - p) : NEAR;
    if (short_of < NEAR && short_of < past) {
        fault(place, "%s of %u bytes, %zu bytes before a buffer of %zu", verb(access), bytes, short_of,
              behind->end - behind->begin);
    }
    if (past < NEAR) tell_outside(*before, static_cast<size_t>(p - before->base), bytes, access, place);
    fault(place, "%s of %u bytes at %p, which is no device memory", verb(access), bytes, static_cast<void *>(p));
}

void *local_enter(unsigned bytes, unsigned alignment, unsigned place) {
    fiber *f = the.running;
    const uintptr_t top = reinterpret_cast<uintptr_t>(f->local) + LOCAL_GAP;
    char *frame = f->local + (LOCAL_GAP + (-top & (alignment - 1)));
    if (frame + bytes > f->local_end) fault(place, "more local memory than the test device gives a thread");
    std::memset(f->local, 0xff, static_cast<size_t>(frame + bytes - f->local));
    f->local = frame + bytes;
    return frame;
}

void check_exit(fiber *f) {
    auto &left = f->in->remote_accesses;
    const auto comes_before = [f](const remote_access &r) { return is_known(f, r.when); };
    left.erase(std::remove_if(left.begin(), left.end(), comes_before), left.end());
    if (f->in->n_live || left.empty()) return;
    fault(left[0].place,
          "its block ends, and nothing makes that come after block %u of the cluster reads or writes here",
          left[0].rank);
}

void window_open(block *b, unsigned bytes) {
    const emu_kernel *k = the.kernel;
    memory m;
    const size_t room = (bytes + WINDOW_STEP - 1) / WINDOW_STEP * WINDOW_STEP + WINDOW_STEP;
    if (!free_windows.empty() && free_windows.back().end != room) {
        for (memory &old : free_windows) {
            shadow_close(old);
            munmap(old.base, old.end);
        }
        free_windows.clear();
    }
    if (free_windows.empty()) {
        m.end = room;
        m.base = static_cast<char *>(pages(room));
        shadow_open(m);
        m.valid = static_cast<uint8_t *>(pages(m.bits_bytes));
    } else {
        m = free_windows.back();
        free_windows.pop_back();
        std::memset(m.written, 0, m.bits_bytes);
        std::memset(m.valid, 0, m.bits_bytes);
        std::memset(m.cells, 0, m.cells_bytes);
    }
    std::memset(m.base, 0xff, m.end);
    for (unsigned i = 0; i < k->n_shared; i++) set_bits(m.valid, k->shared[i].offset, k->shared[i].bytes);
    set_bits(m.valid, k->dynamic_shared_offset, the.launch->dynamic_shared_bytes);
    m.owner = b;
    b->window = m;
}

void window_close(block *b) {
    free_windows.push_back(b->window);
}

void forget_accesses() {
    for (memory *m : regions) madvise(m->cells, m->cells_bytes, MADV_DONTNEED);
}

} // namespace emu

extern "C" void emu_memory_add(void *base, size_t bytes) {
    using namespace emu;
    auto *m = new memory();
    const auto address = reinterpret_cast<uintptr_t>(base);
    m->begin = address % ALIGN;
    m->base = static_cast<char *>(base) - m->begin;
    m->end = m->begin + bytes;
    shadow_open(*m);
    const auto at = std::upper_bound(regions.begin(), regions.end(), m,
                                     [](const memory *a, const memory *c) { return a->base < c->base; });
    regions.insert(at, m);
}

extern "C" void emu_memory_remove(void *base) {
    using namespace emu;
    for (size_t i = 0; i < regions.size(); i++) {
        memory *m = regions[i];
        if (m->base + m->begin != base) continue;
        for (memory *&slot : recent) slot = slot == m ? nullptr : slot;
        regions.erase(regions.begin() + static_cast<std::ptrdiff_t>(i));
        shadow_close(*m);
        delete m;
        return;
    }
}

extern "C" void emu_memory_written(const void *base, size_t bytes) {
    using namespace emu;
    const char *p = static_cast<const char *>(base);
    memory *m = bytes ? region_at(p) : nullptr;
    if (!m) return;
    const size_t offset = static_cast<size_t>(p - m->base);
    set_bits(m->written, offset, std::min(bytes, m->end - offset));
}

extern "C" int emu_memory_is_written(const void *base, size_t bytes, size_t *out_first_unwritten) {
    using namespace emu;
    const char *p = static_cast<const char *>(base);
    memory *m = bytes ? region_at(p) : nullptr;
    const size_t offset = m ? static_cast<size_t>(p - m->base) : 0;
    const size_t n = m ? first_clear(m->written, offset, std::min(bytes, m->end - offset)) : 0;
    if (n == bytes) return 1;
    *out_first_unwritten = n;
    return 0;
}
