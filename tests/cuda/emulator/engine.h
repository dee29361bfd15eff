/* What translated kernels call. Their shared object gets the table once, by emu_attach. */
#ifndef EMU_ENGINE_H
#define EMU_ENGINE_H

#include "emulator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A place in the source: the file's index in the module's list above, the line below. */
#define EMU_LINE_BITS 20

/* A shared::cluster address: the block's rank + 1, or 0 for the own block, above the offset in its window. */
#define EMU_RANK_SHIFT  24
#define EMU_OFFSET_MASK ((1u << EMU_RANK_SHIFT) - 1)

/* What an access is. */
enum emu_access {
    EMU_READ = 0,
    EMU_WRITE = 1,
    EMU_STRONG = 2,  /* volatile, relaxed, atomic */
    EMU_ACQUIRE = 4, /* of strong ones */
    EMU_RELEASE = 8,
    EMU_CHAIN = 16, /* an atomic read-modify-write goes on with what others released by the same word */
};

enum emu_scope { EMU_CTA, EMU_CLUSTER, EMU_GPU };

/* The running CUDA thread. */
struct emu_thread {
    struct emu_dim tid, ctaid;
    unsigned lane, warp, rank; /* rank: of the block in its cluster */
    char *shared;              /* the block's window */
    char *local_base, *local;  /* the thread's local memory so far */
    uint64_t steps_left;
};

/* A collective is computed by the last lane that comes, for all lanes: lanes[i] is what lane i gave, for the lanes
 * of the mask. A sentence, or NULL. */
typedef const char *emu_collective(void *const *lanes, uint32_t mask);

enum emu_reduction { EMU_POPC, EMU_AND, EMU_OR };

struct emu_engine {
    struct emu_thread *self;
    struct emu_dim n_threads, n_blocks, n_cluster; /* of a block, of the grid, blocks of a cluster */
    const struct emu_kernel *kernel;
    unsigned dynamic_shared_bytes;
    uint64_t random;

    /* Memory: the host's address of `bytes` bytes that may be accessed so. `generic` are also global addresses. */
    char *(*generic)(uint64_t address, unsigned bytes, unsigned access, unsigned place);
    char *(*shared)(uint32_t address, unsigned bytes, unsigned access, unsigned place);
    char *(*window)(unsigned rank, unsigned place); /* of a block of the cluster */
    void (*fence)(unsigned scope);
    void *(*local_enter)(unsigned bytes, unsigned alignment, unsigned place);

    void (*barrier)(unsigned id, unsigned count, unsigned is_aligned, unsigned place);
    void (*barrier_arrive)(unsigned id, unsigned count, unsigned place);
    unsigned (*barrier_reduce)(unsigned id, unsigned count, unsigned reduction, unsigned value, unsigned place);
    void (*cluster_arrive)(unsigned is_relaxed, unsigned place);
    void (*cluster_wait)(unsigned place);
    void (*warp_sync)(uint32_t mask, unsigned place);
    void (*collective)(emu_collective *compute, uint32_t mask, void *lane, unsigned place);

    /* cp.async */
    void (*async_copy)(uint32_t to, uint64_t from, unsigned bytes, unsigned source_bytes, unsigned place);
    void (*async_commit)(void);
    void (*async_wait)(unsigned n_left);

    /* Barriers in shared memory; a phase's number is what an arrival gives. */
    void (*mbarrier_init)(uint32_t address, unsigned count, unsigned place);
    void (*mbarrier_invalidate)(uint32_t address, unsigned place);
    uint64_t (*mbarrier_arrive)(uint32_t address, unsigned count, unsigned bytes, unsigned place);
    void (*mbarrier_expect)(uint32_t address, unsigned bytes, unsigned place);
    int (*mbarrier_test)(uint32_t address, uint64_t phase, unsigned is_parity, unsigned place);

    /* cp.async.bulk, st.async */
    void (*bulk_load)(uint32_t to, uint64_t from, unsigned is_from_shared, unsigned bytes, uint32_t barrier,
                      unsigned place);
    void (*bulk_store)(uint64_t to, uint32_t from, unsigned bytes, unsigned place);
    void (*bulk_commit)(void);
    void (*bulk_wait)(unsigned n_left);
    void (*store_async)(uint32_t to, const void *value, unsigned bytes, uint32_t barrier, unsigned place);

    /* griddepcontrol: until it waits, a thread of an early launch may touch nothing of what launches before write. */
    void (*grid_wait)(void);
    void (*grid_release)(void);

    void (*atomic_sum)(unsigned place); /* of floats: its bits are as the threads come */
    void (*yield)(void);
    void (*out_of_steps)(unsigned place) __attribute__((noreturn));
    void (*fault)(unsigned place, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
};

#ifdef __cplusplus
}
#endif
#endif
