/* What the stand-in libcuda.so.1 has beside the driver's functions: for the other stand-ins, and for their tests. */
#ifndef EMU_STANDINS_H
#define EMU_STANDINS_H

#include <stddef.h>
#include <stdint.h>

#include "cuda/api/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

struct emu_device {
    int count;      /* of devices */
    int capability; /* 90 */
    size_t total_bytes, used_bytes;
    uint64_t clock_ns; /* how long its stream worked, by the clock of its events */
};

/* False if there is no such device. Needs no cuInit. */
int emu_cuda_device(int ordinal, struct emu_device *out);

/* Work of a library: `run` is called when its turn comes, with device memory open; what it returns other than
 * CUDA_SUCCESS is an error of the context; a dry device does not call it. `drop` is called once, when it is not
 * needed any more, or refused. */
CUresult emu_cuda_enqueue(CUstream stream, CUresult (*run)(void *data), void (*drop)(void *data), void *data);

/* Counts a call of a library among the driver's: not CUDA_SUCCESS if EMU_CUDA_FAIL_CALL says that it fails. */
CUresult emu_cuda_call(const char *name);

/* A line for the log. */
void emu_cuda_tell(const char *text);

/* For `run`: whether all of it is memory of the stream's device, as 0 bytes always are; and that it was written to.
 */
int emu_cuda_is_memory(const void *base, size_t bytes);
void emu_cuda_written(const void *base, size_t bytes);

/* For `run`: whether all of it was written to; if not, the log is told what `what` read. */
int emu_cuda_is_written(const void *base, size_t bytes, const char *what);

/* Forgets everything; the next cuInit reads the environment again. */
void emu_cuda_reset(void);

size_t emu_cuda_count_nodes(CUgraph graph);

#ifdef __cplusplus
}
#endif

#endif
