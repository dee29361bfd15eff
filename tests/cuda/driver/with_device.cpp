// with-device COMMAND...: runs a command where the stand-ins are NVIDIA's libraries: there are emulated GPUs. Exit
// status 77, and why, where there is no NVRTC, as a test that is skipped.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "find_nvrtc.h"

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fputs("usage: with-device COMMAND...\n", stderr);
        return 2;
    }
    const std::string library = find_nvrtc();
    if (library.empty() || access(library.c_str(), R_OK) != 0) {
        std::puts("skipped: there is no NVRTC; tests/cuda/get-nvrtc BUILD fetches it");
        return 77;
    }
    const char *before = std::getenv("LD_LIBRARY_PATH");
    const std::string path = std::string(EMU_LIBRARIES) + (before && *before ? std::string(":") + before : "");
    setenv("LD_LIBRARY_PATH", path.c_str(), 1);
    setenv("EMU_NVRTC", library.c_str(), 1);
    execvp(argv[1], argv + 1);
    std::perror(argv[1]);
    return 127;
}
