/* What translated PTX stands on: the engine's table, addresses, and the arithmetic that C has not. */
#ifndef EMU_RUNTIME_H
#define EMU_RUNTIME_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine.h"

#define RUNTIME static inline __attribute__((unused))

/* Of this module's shared object; set when it is attached. */
static struct emu_engine *E;

/* At a jump back, and at the end of a function that has local memory. */
#define STEP(place) \
    if (E->self->steps_left-- == 0) E->out_of_steps(place)
#define LEAVE E->self->local = local_

/* Initial values of floating-point variables are given as bits. */
union bits_f32 {
    uint32_t bits;
    float value;
};
union bits_f64 {
    uint64_t bits;
    double value;
};

RUNTIME float as_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
RUNTIME uint32_t as_u32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
RUNTIME double as_f64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
RUNTIME uint64_t as_u64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Addresses. A generic one is the host's; a shared one is an offset in the window of the block. */
RUNTIME int is_shared(uint64_t generic) {
    return generic - (uint64_t)(uintptr_t)E->self->shared < EMU_OFFSET_MASK;
}
RUNTIME int is_local(uint64_t generic) {
    const uint64_t base = (uint64_t)(uintptr_t)E->self->local_base;
    return generic >= base && generic < (uint64_t)(uintptr_t)E->self->local;
}
RUNTIME uint64_t generic_to_shared(uint64_t generic, unsigned place) {
    if (!is_shared(generic)) E->fault(place, "takes an address that is not of the block's shared memory for one");
    return generic - (uint64_t)(uintptr_t)E->self->shared;
}
RUNTIME uint64_t shared_to_generic(uint64_t shared) {
    const uint32_t rank = (uint32_t)shared >> EMU_RANK_SHIFT;
    char *window = rank ? E->window(rank - 1, 0) : E->self->shared;
    return (uint64_t)(uintptr_t)window + (shared & EMU_OFFSET_MASK);
}
RUNTIME uint64_t mapa_shared(uint64_t shared, uint32_t rank, unsigned place) {
    E->window(rank, place);
    return (shared & EMU_OFFSET_MASK) | (uint64_t)(rank + 1) << EMU_RANK_SHIFT;
}
RUNTIME uint64_t mapa_generic(uint64_t generic, uint32_t rank, unsigned place) {
    return (uint64_t)(uintptr_t)E->window(rank, place) + generic_to_shared(generic, place);
}
RUNTIME uint32_t rank_of(uint64_t shared) {
    const uint32_t rank = (uint32_t)shared >> EMU_RANK_SHIFT;
    return rank ? rank - 1 : E->self->rank;
}
RUNTIME char *local_at(uint64_t address, unsigned bytes, unsigned place) {
    char *p = (char *)(uintptr_t)address;
    if (p < E->self->local_base || p + bytes > E->self->local) E->fault(place, "leaves its local memory");
    if (address % bytes) E->fault(place, "local memory at an address that is no multiple of %u", bytes);
    return p;
}

/* Where a block stands among clusters. */
RUNTIME struct emu_dim cluster_ctaid(void) {
    const struct emu_dim at = E->self->ctaid, n = E->n_cluster;
    return (struct emu_dim){at.x % n.x, at.y % n.y, at.z % n.z};
}
RUNTIME struct emu_dim clusterid(void) {
    const struct emu_dim at = E->self->ctaid, n = E->n_cluster;
    return (struct emu_dim){at.x / n.x, at.y / n.y, at.z / n.z};
}
RUNTIME struct emu_dim nclusterid(void) {
    const struct emu_dim all = E->n_blocks, n = E->n_cluster;
    return (struct emu_dim){all.x / n.x, all.y / n.y, all.z / n.z};
}
RUNTIME uint32_t n_warps(void) {
    return (E->n_threads.x * E->n_threads.y * E->n_threads.z + 31) / 32;
}
/* Clocks go on, and a thread that watches one gives way. */
RUNTIME uint64_t next_clock(void) {
    static uint64_t now;
    E->yield();
    return now += 32;
}

#include "runtime_float.h"
#include "runtime_integer.h"
#include "runtime_matrix.h"
#include "runtime_warp.h"

#endif
