/* What the other stand-ins ask the driver for. */
#include "standins.h"

#include "driver.h"

API CUresult emu_cuda_enqueue(CUstream named, CUresult (*run)(void *data), void (*drop)(void *data), void *data) {
    const std::shared_ptr<void> kept(data, drop);
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<stream> to = find_stream(named, c.here);
    if (!to) return CUDA_ERROR_INVALID_HANDLE;
    return enqueue_action(to, {[=] { return setup.is_dry ? CUDA_SUCCESS : run(kept.get()); }, 0});
}

API int emu_cuda_is_memory(const void *base, size_t bytes) {
    return bytes == 0 || is_device_memory(reinterpret_cast<CUdeviceptr>(base), bytes, working_device());
}

API void emu_cuda_written(const void *base, size_t bytes) {
    emu_memory_written(base, bytes);
}

API CUresult emu_cuda_call(const char *name) {
    const call c(BEFORE_INIT, name);
    return c.failed;
}

API void emu_cuda_tell(const char *text) {
    log_line("%s", text);
}

API int emu_cuda_is_written(const void *base, size_t bytes, const char *what) {
    size_t first = 0;
    if (bytes == 0 || emu_memory_is_written(base, bytes, &first)) return 1;
    log_line("%s reads %zu bytes of memory; nothing was written to the one at %zu", what, bytes, first);
    return 0;
}
