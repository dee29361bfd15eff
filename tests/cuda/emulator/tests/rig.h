// What the tests of the test device share: NVRTC, modules of .cu files, device memory, launches.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "emulator.h"

namespace rig {

// Whether NVRTC is there: EMU_NVRTC, the loader's places, a toolkit's, or a Python package's.
bool has_nvrtc();

// PTX of CUDA C++ in `source`, which is called `name`; ends the test where it does not compile.
std::string ptx_of(const std::string &source, const std::string &name, const std::vector<std::string> &options);

// A file of the folder kernels/, compiled with -DFAULT=fault for compute_90.
const emu_module *module_of(const std::string &file, int fault = 0);
std::string text_of(const std::string &file);
const emu_kernel *kernel_of(const emu_module *module, const std::string &name);

// Device memory. Aligned as a driver's.
template <typename T>
struct buffer {
    T *data;
    size_t n;
    explicit buffer(size_t count)
        : data(static_cast<T *>(std::aligned_alloc(256, (count * sizeof(T) + 255) / 256 * 256))), n(count) {
        emu_memory_add(data, n * sizeof(T));
    }
    explicit buffer(const std::vector<T> &values) : buffer(values.size()) {
        for (size_t i = 0; i < n; i++) data[i] = values[i];
        emu_memory_written(data, n * sizeof(T));
    }
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer() {
        emu_memory_remove(data);
        std::free(data);
    }
    std::vector<T> values() const {
        return std::vector<T>(data, data + n);
    }
};

struct shape {
    emu_dim grid = {1, 1, 1}, block = {1, 1, 1}, cluster = {1, 1, 1};
    unsigned dynamic_shared_bytes = 0;
    bool is_early = false;
};

// Runs a kernel: an empty sentence, or what was wrong.
std::string launch(const emu_kernel *kernel, const shape &s, uint64_t seed, const std::vector<const void *> &params);

template <typename... T>
std::string run(const emu_kernel *kernel, const shape &s, uint64_t seed, const T &...params) {
    return launch(kernel, s, seed, {static_cast<const void *>(&params)...});
}

// Counts; a failure is told with the place.
void check(bool is_true, const char *file, int line, const std::string &what);
int result(); // of main

} // namespace rig

#define CHECK(condition, what) rig::check(condition, __FILE__, __LINE__, what)
