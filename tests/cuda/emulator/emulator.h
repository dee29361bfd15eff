/* Runs the PTX of CUDA kernels on a CPU, one fiber for each CUDA thread, and checks what they do to memory.
 *
 * One launch at a time; the caller serialises. Environment:
 *   EMU_CHECKS  letters of the checks that are made; all when unset
 *               b  bounds and alignment     u  reads of memory nothing was written to
 *               r  data races               x  exits of blocks that others still read from
 *               a  atomic sums of floats, whose bits depend on the order of threads
 *   EMU_TRAFFIC a file to which each launch adds what its warps asked of memory (traffic.cpp)
 *   EMU_CACHE   folder of translated modules; by default one of the user's own under TMPDIR */
#ifndef EMU_EMULATOR_H
#define EMU_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emu_dim {
    unsigned x, y, z;
};

/* Where a __shared__ variable stands in the window of its block. */
struct emu_shared {
    unsigned offset, bytes;
};

struct emu_kernel {
    const char *name;
    void (*run)(const void *const *params);
    unsigned static_shared_bytes; /* as a GPU packs them, for the limits of a launch */
    unsigned n_params;
    const unsigned short *param_bytes;
    unsigned max_threads; /* of a block: .maxntid, or 1024 */
    unsigned cluster[3];  /* .reqnctapercluster, or 0 */
    /* The emulator's own placing of the variables, with room between them. */
    const struct emu_shared *shared;
    unsigned n_shared;
    unsigned dynamic_shared_offset;
    const char *const *files; /* of the source, for sentences */
};

/* A __device__ or __constant__ variable of a module. */
struct emu_variable {
    const char *name;
    void *memory;
    size_t bytes;
};

struct emu_module {
    const struct emu_kernel *kernels;
    size_t n_kernels;
    const struct emu_variable *variables;
    size_t n_variables;
};

struct emu_launch {
    const struct emu_kernel *kernel;
    const void *const *params; /* one pointer for each parameter, to its value */
    struct emu_dim grid, block;
    struct emu_dim cluster; /* in blocks; 0 as 1 */
    unsigned dynamic_shared_bytes;
    uint64_t seed;     /* draws the order of blocks and threads */
    unsigned is_early; /* with programmatic stream serialisation: it begins before the launch before it is over */
};

/* Translates and compiles `ptx`, once for each text: translations are kept in EMU_CACHE. The module's variables are
 * memory that kernels may touch until it is closed. NULL, and a sentence in `why`, on failure. */
const struct emu_module *emu_module_open(const char *ptx, char *why, size_t why_bytes);
void emu_module_close(const struct emu_module *module);

/* Device memory that kernels may touch. Fresh memory counts as uninitialised. Regions do not overlap. */
void emu_memory_add(void *base, size_t bytes);
void emu_memory_remove(void *base);

/* The host, or a copy engine, wrote these bytes. */
void emu_memory_written(const void *base, size_t bytes);

/* Whether something was written to all of these bytes; else the offset of the first to which nothing was. */
int emu_memory_is_written(const void *base, size_t bytes, size_t *out_first_unwritten);

/* Runs a grid to its end: 0; or -1 and one sentence in `why` that says kernel, block, thread, file:line and what. */
int emu_run(const struct emu_launch *launch, char *why, size_t why_bytes);

#ifdef __cplusplus
}
#endif
#endif
