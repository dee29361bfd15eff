/* Copies and fills.
 *
 * Memory of the host that is not pinned is where drivers differ, and what is promised is little: an asynchronous copy
 * from it may be read at the call or have waited for the stream; one to it may be over at the return or come late;
 * and even the synchronous copy from it may return before the data has arrived where other streams see it. Which it
 * is is drawn by lot. That memory is never read after the call is something every driver does. */
#include <string.h>

#include "driver.h"

namespace {

char *pointer(CUdeviceptr memory) {
    return reinterpret_cast<char *>(memory);
}

/* What has been written to is written to in the copy; the rest is as unknown there as it is here. */
void copy_what_is_written(char *to, const char *from, size_t bytes) {
    size_t at = 0;
    while (at < bytes) {
        size_t n = 0;
        if (emu_memory_is_written(from + at, bytes - at, &n)) n = bytes - at;
        if (n != 0) emu_memory_written(to + at, n);
        at += n;
        while (at < bytes && !emu_memory_is_written(from + at, 1, &n)) at++;
    }
}

/* Who reads it here reads what no one wrote. It is allowed, as of the padding of a buffer; so it is told, and once.
 */
void tell_of_unwritten(const char *from, size_t bytes) {
    static bool is_told = false;
    size_t first = 0;
    if (is_told || emu_memory_is_written(from, bytes, &first)) return;
    is_told = true;
    log_line("a copy of %zu bytes to the host: nothing was written to its byte %zu; others are not told", bytes,
             first);
}

action copy_to_device(char *to, const char *from, size_t bytes, int ordinal, bool must_be_pinned) {
    const auto run = [=] {
        if (!is_device_memory(reinterpret_cast<CUdeviceptr>(to), bytes, ordinal)) return CUDA_ERROR_ILLEGAL_ADDRESS;
        if (must_be_pinned && !is_pinned(from, bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
        memcpy(to, from, bytes);
        emu_memory_written(to, bytes);
        return CUDA_SUCCESS;
    };
    return {run, bytes};
}

action copy_staged(char *to, const char *from, size_t bytes, int ordinal) {
    const auto staged = std::make_shared<std::string>(from, bytes);
    const auto run = [=] { return copy_to_device(to, staged->data(), bytes, ordinal, false).run(); };
    return {run, bytes};
}

action copy_to_host(char *to, const char *from, size_t bytes, int ordinal, bool must_be_pinned) {
    const auto run = [=] {
        if (!is_device_memory(reinterpret_cast<CUdeviceptr>(from), bytes, ordinal)) return CUDA_ERROR_ILLEGAL_ADDRESS;
        if (must_be_pinned && !is_pinned(to, bytes)) return CUDA_ERROR_ILLEGAL_ADDRESS;
        tell_of_unwritten(from, bytes);
        memcpy(to, from, bytes);
        return CUDA_SUCCESS;
    };
    return {run, bytes};
}

action copy_between(char *to, int to_ordinal, const char *from, int from_ordinal, size_t bytes) {
    const auto run = [=] {
        if (!is_device_memory(reinterpret_cast<CUdeviceptr>(to), bytes, to_ordinal) ||
            !is_device_memory(reinterpret_cast<CUdeviceptr>(from), bytes, from_ordinal))
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        open_memory(to_ordinal);
        open_memory(from_ordinal);
        memmove(to, from, bytes);
        copy_what_is_written(to, from, bytes);
        return CUDA_SUCCESS;
    };
    return {run, bytes};
}

/* What a copy needs to be accepted. */
struct request {
    CUresult result;
    std::shared_ptr<stream> in;
};

request accept(const call &c, CUdeviceptr on_device, size_t bytes, CUstream named) {
    if (c.failed != CUDA_SUCCESS) return {c.failed, nullptr};
    const std::shared_ptr<stream> in = find_stream(named, c.here);
    if (!in) return {CUDA_ERROR_INVALID_HANDLE, nullptr};
    if (!is_device_memory(on_device, bytes, c.here->ordinal)) {
        log_line("a copy of %zu bytes at %#llx: not memory of device %d", bytes,
                 static_cast<unsigned long long>(on_device), c.here->ordinal);
        return {CUDA_ERROR_INVALID_VALUE, nullptr};
    }
    return {CUDA_SUCCESS, in};
}

/* With a side that the host can touch. */
request accept(const call &c, CUdeviceptr on_device, const void *host, size_t bytes, CUstream named) {
    if (c.failed == CUDA_SUCCESS && (!host || is_arena(host))) return {CUDA_ERROR_INVALID_VALUE, nullptr};
    return accept(c, on_device, bytes, named);
}

CUresult finished(const call &c, const request &r) {
    finish(r.in.get());
    return c.here->sticky;
}

} // namespace

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    const call c(SYNCHRONISES);
    const request r = accept(c, to, from, bytes, nullptr);
    if (r.result != CUDA_SUCCESS) return r.result;
    const auto *host = static_cast<const char *>(from);
    const CUresult result = enqueue_action(r.in, copy_staged(pointer(to), host, bytes, c.here->ordinal));
    if (result != CUDA_SUCCESS) return result;
    const bool is_late = !is_pinned(from, bytes) && draw(2) == 0;
    return is_late ? CUDA_SUCCESS : finished(c, r);
}

API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    const call c(SYNCHRONISES);
    const request r = accept(c, from, to, bytes, nullptr);
    if (r.result != CUDA_SUCCESS) return r.result;
    auto *host = static_cast<char *>(to);
    const action what = copy_to_host(host, pointer(from), bytes, c.here->ordinal, false);
    const CUresult result = enqueue_action(r.in, what);
    return result == CUDA_SUCCESS ? finished(c, r) : result;
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream named) {
    const call c(IN_CONTEXT);
    const request r = accept(c, to, from, bytes, named);
    if (r.result != CUDA_SUCCESS) return r.result;
    const auto *host = static_cast<const char *>(from);
    const bool must_be_pinned = is_pinned(from, bytes);
    if (must_be_pinned || r.in->captured.in) { /* a graph reads it at every launch */
        return enqueue_action(r.in, copy_to_device(pointer(to), host, bytes, c.here->ordinal, must_be_pinned));
    }
    const CUresult result = enqueue_action(r.in, copy_staged(pointer(to), host, bytes, c.here->ordinal));
    return result == CUDA_SUCCESS && draw(2) == 0 ? finished(c, r) : result;
}

API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream named) {
    const call c(IN_CONTEXT);
    const request r = accept(c, from, to, bytes, named);
    if (r.result != CUDA_SUCCESS) return r.result;
    const bool must_be_pinned = is_pinned(to, bytes);
    auto *host = static_cast<char *>(to);
    const action what = copy_to_host(host, pointer(from), bytes, c.here->ordinal, must_be_pinned);
    const bool is_recorded = r.in->captured.in != nullptr;
    const CUresult result = enqueue_action(r.in, what);
    const bool is_late = must_be_pinned || is_recorded || draw(2) == 0;
    return result == CUDA_SUCCESS && !is_late ? finished(c, r) : result;
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream named) {
    const call c(IN_CONTEXT);
    const request r = accept(c, to, bytes, named);
    if (r.result != CUDA_SUCCESS) return r.result;
    const int ordinal = c.here->ordinal;
    if (!is_device_memory(from, bytes, ordinal)) return CUDA_ERROR_INVALID_VALUE;
    return enqueue_action(r.in, copy_between(pointer(to), ordinal, pointer(from), ordinal, bytes));
}

API CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
                               size_t bytes, CUstream named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const context_ref at = find_context(to_context), source = find_context(from_context);
    const std::shared_ptr<stream> in = find_stream(named, c.here);
    if (!at || !source) return CUDA_ERROR_INVALID_CONTEXT;
    if (!in) return CUDA_ERROR_INVALID_HANDLE;
    if (!is_device_memory(to, bytes, at->ordinal) || !is_device_memory(from, bytes, source->ordinal))
        return CUDA_ERROR_INVALID_VALUE;
    return enqueue_action(in, copy_between(pointer(to), at->ordinal, pointer(from), source->ordinal, bytes));
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream named) {
    const call c(IN_CONTEXT);
    const request r = accept(c, to, bytes, named);
    if (r.result != CUDA_SUCCESS) return r.result;
    const int ordinal = c.here->ordinal;
    const auto run = [=] {
        if (!is_device_memory(to, bytes, ordinal)) return CUDA_ERROR_ILLEGAL_ADDRESS;
        memset(pointer(to), value, bytes);
        emu_memory_written(pointer(to), bytes);
        return CUDA_SUCCESS;
    };
    return enqueue_action(r.in, {run, bytes});
}
