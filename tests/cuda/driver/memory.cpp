/* Device memory: address space of its own that the host cannot touch, and pinned host memory, which both can. */
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "driver.h"

namespace {

enum : size_t {
    ARENA_BYTES = size_t{1} << 38, /* of addresses, for each device; next to none of it is ever backed */
    PAGE = 4096,
    ALIGNMENT = 256,         /* what the driver promises, and no more */
    FILLED = size_t{1} << 24 /* larger allocations are not filled with what looks like NaNs: it would take time */
};

struct allocation {
    context_ref owner;
    size_t bytes;
    char *pages; /* where its pages begin; behind them is one that nobody may touch */
    size_t page_bytes;
};

struct arena {
    char *base = nullptr;
    size_t next = 0; /* addresses are used once until all have been */
    size_t used = 0;
    bool is_open = false;
    std::map<uintptr_t, allocation> live;
};

struct pinned {
    context_ref owner;
    size_t bytes, room;
    unsigned flags;
};

std::vector<arena> arenas;
std::map<uintptr_t, pinned> pinned_memory;

size_t round_up(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

/* Where `room` bytes are free: behind the last allocation, or from the start again. */
char *find_room(arena &in, size_t room) {
    size_t at = in.next;
    for (int round = 0; round < 2; round++, at = 0) {
        for (const auto &[base, one] : in.live) {
            const size_t begin = static_cast<size_t>(one.pages - in.base);
            const size_t end = begin + one.page_bytes + PAGE;
            if (end <= at) continue;
            if (begin >= at + room) break;
            at = end;
        }
        if (at + room > ARENA_BYTES) continue;
        in.next = at + room;
        return in.base + at;
    }
    return nullptr;
}

void close_pages(const allocation &one) {
    mprotect(one.pages, one.page_bytes, PROT_NONE);
}

void drop(arena &from, std::map<uintptr_t, allocation>::iterator at) {
    const allocation one = at->second;
    emu_memory_remove(reinterpret_cast<void *>(at->first));
    close_pages(one);
    madvise(one.pages, one.page_bytes, MADV_DONTNEED);
    from.used -= one.bytes;
    from.live.erase(at);
}

void drop(std::map<uintptr_t, pinned>::iterator at) {
    void *base = reinterpret_cast<void *>(at->first);
    emu_memory_remove(base);
    munmap(base, at->second.room);
    pinned_memory.erase(at);
}

/* The entry that these bytes are part of. */
template <typename map>
typename map::iterator find_around(map &in, uintptr_t base, size_t bytes) {
    auto at = in.upper_bound(base);
    if (at == in.begin()) return in.end();
    --at;
    const size_t offset = base - at->first;
    return offset <= at->second.bytes && bytes <= at->second.bytes - offset ? at : in.end();
}

} // namespace

CUresult reserve_memory() {
    arenas.resize(static_cast<size_t>(setup.n_devices));
    for (arena &one : arenas) {
        if (one.base) continue;
        void *base = mmap(nullptr, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
        one.base = static_cast<char *>(base);
    }
    return CUDA_SUCCESS;
}

CUresult allocate(const context_ref &owner, size_t bytes, CUdeviceptr *out) {
    if (!out || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    arena &in = arenas[static_cast<size_t>(owner->ordinal)];
    if (bytes > setup.device_bytes - in.used) return CUDA_ERROR_OUT_OF_MEMORY;
    const size_t page_bytes = round_up(bytes, PAGE);
    char *pages = find_room(in, page_bytes + PAGE);
    if (!pages || mprotect(pages, page_bytes, PROT_READ | PROT_WRITE) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes <= FILLED) memset(pages, 0xff, page_bytes);
    /* Its end is as near to the page behind it as the alignment lets it be. */
    char *base = pages + (page_bytes - bytes) / ALIGNMENT * ALIGNMENT;
    const allocation one = {owner, bytes, pages, page_bytes};
    if (!in.is_open) close_pages(one);
    in.live[reinterpret_cast<uintptr_t>(base)] = one;
    in.used += bytes;
    emu_memory_add(base, bytes);
    *out = reinterpret_cast<CUdeviceptr>(base);
    return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr memory) {
    for (arena &from : arenas) {
        const auto at = from.live.find(memory);
        if (at == from.live.end()) continue;
        drop(from, at);
        return CUDA_SUCCESS;
    }
    log_line("cuMemFree of what is no allocation: %#llx", static_cast<unsigned long long>(memory));
    return CUDA_ERROR_INVALID_VALUE;
}

size_t memory_used(int ordinal) {
    return static_cast<size_t>(ordinal) < arenas.size() ? arenas[static_cast<size_t>(ordinal)].used : 0;
}

size_t drop_memory(const context *owner, size_t *out_bytes) {
    size_t n = 0;
    *out_bytes = 0;
    for (arena &from : arenas) {
        for (auto at = from.live.begin(); at != from.live.end();) {
            const auto next = std::next(at);
            if (at->second.owner.get() == owner) {
                n++;
                *out_bytes += at->second.bytes;
                drop(from, at);
            }
            at = next;
        }
    }
    for (auto at = pinned_memory.begin(); at != pinned_memory.end();) {
        const auto next = std::next(at);
        if (at->second.owner.get() == owner) {
            n++;
            *out_bytes += at->second.bytes;
            drop(at);
        }
        at = next;
    }
    return n;
}

bool is_device_memory(CUdeviceptr base, size_t bytes, int ordinal) {
    arena &in = arenas[static_cast<size_t>(ordinal)];
    if (find_around(in.live, base, bytes) != in.live.end()) return true;
    const auto at = find_around(pinned_memory, base, bytes);
    return at != pinned_memory.end() && (at->second.flags & CU_MEMHOSTALLOC_DEVICEMAP) != 0;
}

bool is_pinned(const void *base, size_t bytes) {
    return find_around(pinned_memory, reinterpret_cast<uintptr_t>(base), bytes) != pinned_memory.end();
}

bool is_arena(const void *pointer) {
    const auto at = reinterpret_cast<uintptr_t>(pointer);
    return std::any_of(arenas.begin(), arenas.end(),
                       [&](const arena &one) { return at - reinterpret_cast<uintptr_t>(one.base) < ARENA_BYTES; });
}

void open_memory(int ordinal) {
    arena &in = arenas[static_cast<size_t>(ordinal)];
    if (in.is_open) return;
    in.is_open = true;
    for (const auto &[base, one] : in.live) mprotect(one.pages, one.page_bytes, PROT_READ | PROT_WRITE);
}

opened::~opened() {
    for (arena &in : arenas) {
        if (!in.is_open) continue;
        in.is_open = false;
        for (const auto &[base, one] : in.live) close_pages(one);
    }
}

API CUresult cuMemGetInfo_v2(size_t *out_free, size_t *out_total) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out_free || !out_total) return CUDA_ERROR_INVALID_VALUE;
    *out_total = setup.device_bytes;
    *out_free = setup.device_bytes - memory_used(c.here->ordinal);
    return CUDA_SUCCESS;
}

API CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    return allocate(c.here, bytes, out);
}

API CUresult cuMemFree_v2(CUdeviceptr memory) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    finish(c.here.get());
    if (c.here->sticky != CUDA_SUCCESS) return c.here->sticky;
    return release(memory);
}

API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP;
    if (!out || bytes == 0 || (flags & ~known) != 0) return CUDA_ERROR_INVALID_VALUE;
    const size_t room = round_up(bytes, PAGE);
    void *base = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
    pinned_memory[reinterpret_cast<uintptr_t>(base)] = {c.here, bytes, room, flags};
    emu_memory_add(base, bytes);
    emu_memory_written(base, bytes); /* the host may write to it unseen */
    *out = base;
    return CUDA_SUCCESS;
}

API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *memory, unsigned flags) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const auto at = find_around(pinned_memory, reinterpret_cast<uintptr_t>(memory), 1);
    if (!out || flags != 0 || at == pinned_memory.end()) return CUDA_ERROR_INVALID_VALUE;
    if ((at->second.flags & CU_MEMHOSTALLOC_DEVICEMAP) == 0) return CUDA_ERROR_INVALID_VALUE;
    *out = reinterpret_cast<CUdeviceptr>(memory);
    return CUDA_SUCCESS;
}

/* Waits for nothing: work that still names it fails when it runs. */
API CUresult cuMemFreeHost(void *memory) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const auto at = pinned_memory.find(reinterpret_cast<uintptr_t>(memory));
    if (at == pinned_memory.end()) return CUDA_ERROR_INVALID_VALUE;
    drop(at);
    return CUDA_SUCCESS;
}
