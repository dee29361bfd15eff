// Looks for the real NVRTC, past the stand-in of that name.
#include "find_nvrtc.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <sstream>
#include <vector>

namespace {

// The folder of the library or program that this code is in.
std::string own_folder() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void *>(&find_nvrtc), &info) == 0) return "";
    const std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
}

std::string variable(const char *name) {
    const char *value = std::getenv(name);
    return value ? value : "";
}

// The first file of the pattern; of several versions the newest.
std::string find(const std::string &pattern) {
    glob_t found = {};
    std::string last;
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) last = found.gl_pathv[found.gl_pathc - 1];
    globfree(&found);
    return last;
}

} // namespace

std::string find_nvrtc() {
    const std::string named = variable("EMU_NVRTC");
    if (!named.empty()) return named;
    std::vector<std::string> folders = {EMU_NVRTC_PACKAGE "/nvidia/*/lib"};
    std::istringstream path(variable("LD_LIBRARY_PATH"));
    for (std::string folder; std::getline(path, folder, ':');) {
        if (!folder.empty() && folder != own_folder() && folder != EMU_LIBRARIES) folders.push_back(folder);
    }
    for (const char *name : {"CUDA_PATH", "CUDA_HOME"}) {
        if (!variable(name).empty()) folders.push_back(variable(name) + "/lib64");
    }
    for (const char *usual : {"/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", "/usr/lib/x86_64-linux-gnu"}) {
        folders.emplace_back(usual);
    }
    for (const std::string &folder : folders) {
        const std::string library = find(folder + "/libnvrtc.so.1[0-9]");
        if (!library.empty()) return library;
    }
    return "";
}
