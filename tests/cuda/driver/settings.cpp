/* What the environment says about the devices, and the lots that are drawn. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

settings setup;

namespace {

/* One GPU for each compute capability: T4, A100, RTX 3090, RTX 4090, H100, B200, RTX 5090. */
const device_row device_rows[] = {
    {75, 40, 4, 1024, 64, 64, 0},     {80, 108, 40, 2048, 164, 163, 0},  {86, 82, 6, 1536, 100, 99, 0},
    {89, 128, 72, 1536, 100, 99, 0},  {90, 132, 50, 2048, 228, 227, 16}, {100, 148, 126, 2048, 228, 227, 16},
    {120, 170, 96, 1536, 100, 99, 8},
};

uint64_t lots = 1;

uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 0) : otherwise;
}

/* "9.0" */
const device_row *row_of(const char *text) {
    int major = 0, minor = 0;
    if (sscanf(text, "%d.%d", &major, &minor) != 2) return nullptr;
    for (const device_row &row : device_rows) {
        if (row.capability == major * 10 + minor) return &row;
    }
    return nullptr;
}

} // namespace

CUresult read_settings() {
    const char *capability = getenv("EMU_CUDA_CAPABILITY");
    const char *code = getenv("EMU_CUDA_FAIL_CODE");
    const char *logged = getenv("EMU_CUDA_LOG");
    setup.is_logged = logged && *logged;
    setup.n_devices = static_cast<int>(number("EMU_CUDA_DEVICES", 2));
    setup.row = row_of(capability && *capability ? capability : "9.0");
    setup.device_bytes = number("EMU_CUDA_MEMORY_MIB", 8192) << 20;
    setup.has_peers = number("EMU_CUDA_PEERS", 1) != 0;
    const char *launches = getenv("EMU_CUDA_LAUNCHES");
    setup.launches = launches ? launches : "";
    setup.is_dry = number("EMU_CUDA_DRY", 0) != 0;
    setup.seed = number("EMU_CUDA_SEED", 1);
    const char *fail_name = getenv("EMU_CUDA_FAIL_NAME");
    setup.fail_call = number("EMU_CUDA_FAIL_CALL", 0);
    setup.fail_name = fail_name ? fail_name : "";
    setup.fail_code = code && *code ? result_of_name(code) : CUDA_ERROR_UNKNOWN;
    lots = setup.seed * 2 + 1;
    setup.multiprocessors = setup.row ? static_cast<int>(number("EMU_CUDA_MULTIPROCESSORS", 0)) : 0;
    if (setup.row && setup.multiprocessors == 0) setup.multiprocessors = setup.row->multiprocessors;
    if (!setup.row || setup.n_devices < 1 || setup.n_devices > 16) {
        log_line("EMU_CUDA_CAPABILITY or EMU_CUDA_DEVICES names no device");
        return CUDA_ERROR_NO_DEVICE;
    }
    return CUDA_SUCCESS;
}

uint64_t draw(uint64_t n) {
    lots = lots * 6364136223846793005u + 1442695040888963407u;
    return (lots >> 33) % n;
}

void log_line(const char *format, ...) {
    if (!setup.is_logged) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *named = getenv("EMU_CUDA_LOG");
    const bool is_file = named && strchr(named, '/');
    FILE *file = is_file ? fopen(named, "ae") : stderr;
    if (!file) return;
    fprintf(file, "emulated CUDA: %s\n", text);
    if (is_file) fclose(file);
}
