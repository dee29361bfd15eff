/* How calls begin and end: initialisation, contexts, and what is left in one that is released. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

#include "driver.h"
#include "standins.h"

objects &all = *new objects; /* never destroyed: calls come until the process is gone */

namespace {

struct state {
    std::mutex lock;
    std::atomic<pid_t> process{0}; /* that has called cuInit; its children cannot use what it has */
    uint64_t n_calls = 0;
    std::map<uintptr_t, context_ref> contexts;
    std::map<int, CUcontext> primary;
};
state &driver = *new state;

thread_local CUcontext current;

bool is_child() {
    const pid_t process = driver.process;
    return process != 0 && process != getpid();
}

/* The call that is to fail. */
CUresult count_call(const char *called) {
    if (strncmp(called, setup.fail_name.c_str(), setup.fail_name.size()) != 0) return CUDA_SUCCESS;
    if (setup.fail_call == 0 || ++driver.n_calls != setup.fail_call) return CUDA_SUCCESS;
    const char *name = nullptr;
    cuGetErrorName(setup.fail_code, &name);
    log_line("call %llu, %s, fails as EMU_CUDA_FAIL_CALL says: %s", static_cast<unsigned long long>(driver.n_calls),
             called, name ? name : "?");
    return setup.fail_code;
}

/* Ends a context, and tells what its user has left in it. */
void destroy(CUcontext named) {
    const auto at = driver.contexts.find(reinterpret_cast<uintptr_t>(named));
    const context_ref ended = at->second;
    finish(ended.get());
    forget_captures(ended.get());
    size_t bytes = 0;
    const struct {
        const char *what;
        size_t n;
    } left[] = {
        {"allocations", drop_memory(ended.get(), &bytes)}, {"streams", all.streams.drop(ended.get())},
        {"events", all.events.drop(ended.get())},          {"modules", all.modules.drop(ended.get())},
        {"graphs", all.graphs.drop(ended.get())},          {"graph executables", all.execs.drop(ended.get())},
    };
    all.functions.drop(ended.get());
    forget_streams(ended.get());
    for (const auto &kind : left) {
        if (kind.n != 0) log_line("device %d: %zu %s left in its context", ended->ordinal, kind.n, kind.what);
    }
    if (bytes != 0) log_line("device %d: %zu bytes left in its context", ended->ordinal, bytes);
    driver.contexts.erase(at);
    driver.primary.erase(ended->ordinal);
}

void tell_at_exit() {
    if (is_child()) return;
    const std::lock_guard<std::mutex> held(driver.lock);
    for (const auto &[named, left] : driver.contexts) {
        log_line("device %d: its context is retained %u times at exit", left->ordinal, left->n_retained);
    }
}

} // namespace

uintptr_t next_handle() {
    static uintptr_t last = 4096;
    return last += 16;
}

context_ref find_context(CUcontext named) {
    const auto at = driver.contexts.find(reinterpret_cast<uintptr_t>(named));
    return at == driver.contexts.end() ? nullptr : at->second;
}

context_ref current_context() {
    return find_context(current);
}

call::call(call_kind kind, const char *name) {
    if (is_child()) {
        failed = CUDA_ERROR_NOT_INITIALIZED;
        return;
    }
    held_ = std::unique_lock<std::mutex>(driver.lock);
    if (kind != BEFORE_INIT && driver.process == 0) {
        failed = CUDA_ERROR_NOT_INITIALIZED;
        return;
    }
    failed = count_call(name);
    if (failed != CUDA_SUCCESS || kind == BEFORE_INIT || kind == INITIALISED) return;
    here = current_context();
    if (!here) {
        failed = current ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
    } else if (here->sticky != CUDA_SUCCESS) {
        failed = here->sticky;
    } else if (kind == SYNCHRONISES) {
        failed = break_own_captures();
    }
}

API CUresult cuInit(unsigned flags) {
    if (is_child()) return CUDA_ERROR_NOT_INITIALIZED;
    const std::lock_guard<std::mutex> held(driver.lock);
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (driver.process == 0) {
        CUresult result = read_settings();
        if (result == CUDA_SUCCESS) result = reserve_memory();
        if (result != CUDA_SUCCESS) return result;
    }
    const CUresult result = count_call(__func__);
    if (result != CUDA_SUCCESS || driver.process != 0) return result;
    static const int told = atexit(tell_at_exit);
    driver.process = told == 0 ? getpid() : 0;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (device < 0 || device >= setup.n_devices) return CUDA_ERROR_INVALID_DEVICE;
    CUcontext &named = driver.primary[device];
    if (!named) {
        const context_ref made = std::make_shared<context>();
        made->ordinal = device;
        made->legacy = std::make_shared<stream>();
        made->legacy->owner = made;
        const uintptr_t handle = next_handle();
        named = reinterpret_cast<CUcontext>(handle);
        driver.contexts[handle] = made;
        add_stream(made->legacy);
    }
    find_context(named)->n_retained++;
    *out = named;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const auto at = driver.primary.find(device);
    if (at == driver.primary.end()) return CUDA_ERROR_INVALID_CONTEXT;
    if (--find_context(at->second)->n_retained == 0) destroy(at->second);
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext *out) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    *out = current;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext named) {
    const call c(INITIALISED);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (named && !find_context(named)) return CUDA_ERROR_INVALID_CONTEXT;
    current = named;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSynchronize(void) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const CUresult broken = break_captures_of(c.here.get(), false);
    if (broken != CUDA_SUCCESS) return broken;
    finish(c.here.get());
    return c.here->sticky;
}

API void emu_cuda_reset(void) {
    const std::lock_guard<std::mutex> held(driver.lock);
    while (!driver.primary.empty()) destroy(driver.primary.begin()->second);
    driver.n_calls = 0;
    driver.process = 0;
    current = nullptr;
}

API int emu_cuda_device(int ordinal, struct emu_device *out) {
    if (is_child()) return 0;
    const std::lock_guard<std::mutex> held(driver.lock);
    if (driver.process == 0 && read_settings() != CUDA_SUCCESS) return 0;
    if (ordinal < 0 || ordinal >= setup.n_devices) return 0;
    const auto at = driver.primary.find(ordinal);
    const uint64_t clock_ns = at == driver.primary.end() ? 0 : find_context(at->second)->clock_ns;
    *out = {setup.n_devices, setup.row->capability, setup.device_bytes, memory_used(ordinal), clock_ns};
    return 1;
}

/* NVRTC asks a loaded driver for tables that are named nowhere, and does without. */
API CUresult cuGetExportTable(const void **out, const CUuuid *) {
    *out = nullptr;
    return CUDA_ERROR_NOT_FOUND;
}
