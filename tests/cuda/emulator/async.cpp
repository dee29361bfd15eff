// cp.async: a copy lands when its thread waits for it, which is the latest that hardware may take.
#include <cstring>

#include "machine.h"

namespace emu {

void async_copy_start(uint32_t to, uint64_t from, unsigned bytes, unsigned source_bytes, unsigned place) {
    fiber *f = the.running;
    if (source_bytes > bytes) fault(place, "a copy of %u bytes from a source of %u", bytes, source_bytes);
    const char *source = source_bytes == bytes ? generic(from, bytes, EMU_READ, place) : nullptr;
    if (source_bytes && !source) { // a part, which need not be a power of two
        for (unsigned i = 0; i < source_bytes; i++) source = generic(from + i, 1, EMU_READ, place) - i;
    }
    char *target = shared_begin_write(to, bytes, place);
    f->copies.push_back({target, source, bytes, source_bytes, f->copy_group, place});
}

void async_commit() {
    the.running->copy_group++;
}

static void land(const async_copy &copy) {
    if (copy.source_bytes) std::memcpy(copy.to, copy.from, copy.source_bytes);
    std::memset(copy.to + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    shared_end_write(copy.to, copy.bytes, copy.place);
}

// All but the last `n_left` groups; with ~0 also copies that were not committed.
void async_wait(unsigned n_left) {
    fiber *f = the.running;
    size_t kept = 0;
    for (const async_copy &copy : f->copies) {
        if (n_left == ~0u || copy.group + n_left < f->copy_group) {
            land(copy);
        } else {
            f->copies[kept++] = copy;
        }
    }
    f->copies.resize(kept);
}

} // namespace emu
