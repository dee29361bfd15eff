// A stand-in for libnvrtc.so: the real one, but that it compiles to PTX where a cubin is asked for, as that is what
// the emulated devices run. EMU_NVRTC_FAIL=text: nothing compiles, and the text is why. EMU_CUDA_DRY=1: whatever is
// asked for is there, and nothing is in it.
#include <dlfcn.h>
#include <string.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/api/nvrtc.h"
#include "find_nvrtc.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {

const int NO_NVRTC = 7; // NVRTC_ERROR_BUILTIN_OPERATION_FAILURE: nothing the caller did

#define ENTRY(name, arguments) nvrtcResult(*name) arguments;
struct real {
    NLM_NVRTC_FUNCTIONS(ENTRY)
};
#undef ENTRY

struct state {
    std::mutex lock;
    std::map<nvrtcProgram, std::string> cubin_of; // "sm_90", where a cubin is made
    std::map<nvrtcProgram, std::string> failed;   // its log, where EMU_NVRTC_FAIL is set
};
state &shim = *new state;

bool is_dry() {
    const char *set = std::getenv("EMU_CUDA_DRY");
    return set && *set == '1';
}

const real *open_real() {
    static real table;
    void *handle = dlopen(find_nvrtc().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) return nullptr;
    bool is_whole = true;
#define LOOK_UP(name, arguments) \
    is_whole = is_whole && (*reinterpret_cast<void **>(&table.name) = dlsym(handle, #name)) != nullptr;
    NLM_NVRTC_FUNCTIONS(LOOK_UP)
#undef LOOK_UP
    return is_whole ? &table : nullptr;
}

const real *nvrtc() {
    static const real *found = open_real();
    return found;
}

// "sm_90" of "--gpu-architecture=sm_90", or nothing.
std::string real_architecture(const char *option) {
    for (const char *start : {"--gpu-architecture=sm_", "-arch=sm_"}) {
        if (strncmp(option, start, strlen(start)) == 0) return strchr(option, '=') + 1;
    }
    return "";
}

struct edit {
    std::string name, before, after;
    bool is_there = false;
};

edit read_edit() {
    edit e;
    const char *named = std::getenv("EMU_NVRTC_EDIT");
    if (!named || !*named) return e;
    std::ifstream in(named, std::ios::binary);
    std::stringstream all;
    all << in.rdbuf();
    const std::string text = all.str(), line = "\n====\n";
    const size_t first = text.find(line), second = text.find(line, first + 1);
    if (first == std::string::npos || second == std::string::npos) return e;
    e.name = text.substr(0, first);
    e.before = text.substr(first + line.size(), second - first - line.size());
    e.after = text.substr(second + line.size());
    e.is_there = !e.before.empty();
    return e;
}

// The text with its change. One that does not fit is a text that does not compile.
std::string edited(const edit &e, const std::string &name, const char *text) {
    std::string all = text;
    if (!e.is_there || name != e.name) return all;
    const size_t at = all.find(e.before);
    if (at == std::string::npos || all.find(e.before, at + 1) != std::string::npos) {
        return "#error EMU_NVRTC_EDIT: the text that goes is not there once\n";
    }
    return all.replace(at, e.before.size(), e.after);
}

std::string text_of(nvrtcProgram program) {
    size_t bytes = 0;
    if (nvrtc()->nvrtcGetPTXSize(program, &bytes) != NVRTC_SUCCESS || bytes == 0) return "";
    std::string text(bytes, '\0');
    if (nvrtc()->nvrtcGetPTX(program, text.data()) != NVRTC_SUCCESS) return "";
    text.resize(strlen(text.c_str()));
    return text;
}

// What is handed out for a cubin: PTX that says so, as the driver is stricter about those. Empty: there is none.
std::string cubin_of(nvrtcProgram program) {
    const std::lock_guard<std::mutex> held(shim.lock);
    const auto asked = shim.cubin_of.find(program);
    if (asked == shim.cubin_of.end()) return "";
    return "// cubin of " + asked->second + "\n" + (is_dry() ? "" : text_of(program));
}

std::string failure_of(nvrtcProgram program) {
    const std::lock_guard<std::mutex> held(shim.lock);
    const auto found = shim.failed.find(program);
    return found == shim.failed.end() ? "" : found->second;
}

} // namespace

// 0.0 when dry: a cache of kernels must not take what has nothing in it for the real one's.
API nvrtcResult nvrtcVersion(int *out_major, int *out_minor) {
    if (is_dry()) {
        *out_major = *out_minor = 0;
        return NVRTC_SUCCESS;
    }
    return nvrtc() ? nvrtc()->nvrtcVersion(out_major, out_minor) : NO_NVRTC;
}

API nvrtcResult nvrtcGetNumSupportedArchs(int *out) {
    return nvrtc() ? nvrtc()->nvrtcGetNumSupportedArchs(out) : NO_NVRTC;
}

API nvrtcResult nvrtcGetSupportedArchs(int *out) {
    return nvrtc() ? nvrtc()->nvrtcGetSupportedArchs(out) : NO_NVRTC;
}

API nvrtcResult nvrtcCreateProgram(nvrtcProgram *out, const char *source, const char *name, int n_headers,
                                   const char *const *headers, const char *const *include_names) {
    if (!nvrtc()) return NO_NVRTC;
    const edit e = read_edit();
    std::vector<std::string> texts;
    std::vector<const char *> pointers;
    for (int i = 0; i < n_headers; i++) texts.push_back(edited(e, include_names[i], headers[i]));
    for (const std::string &text : texts) pointers.push_back(text.c_str());
    const std::string main_text = edited(e, name ? name : "", source);
    return nvrtc()->nvrtcCreateProgram(out, main_text.c_str(), name, n_headers, pointers.data(), include_names);
}

API nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program) {
    if (!nvrtc()) return NO_NVRTC;
    if (program) {
        const std::lock_guard<std::mutex> held(shim.lock);
        shim.cubin_of.erase(*program);
        shim.failed.erase(*program);
    }
    return nvrtc()->nvrtcDestroyProgram(program);
}

API nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int n_options, const char *const *options) {
    if (!nvrtc()) return NO_NVRTC;
    std::vector<std::string> words(options, options + n_options);
    const char *failure = std::getenv("EMU_NVRTC_FAIL");
    {
        const std::lock_guard<std::mutex> held(shim.lock);
        shim.cubin_of.erase(program);
        if (failure && *failure) {
            shim.failed[program] = failure;
            return NVRTC_ERROR_COMPILATION;
        }
        for (std::string &word : words) {
            const std::string architecture = real_architecture(word.c_str());
            if (architecture.empty()) continue;
            shim.cubin_of[program] = architecture;
            word = "--gpu-architecture=compute_" + architecture.substr(strlen("sm_"));
        }
    }
    if (is_dry()) return NVRTC_SUCCESS;
    std::vector<const char *> pointers;
    for (const std::string &word : words) pointers.push_back(word.c_str());
    return nvrtc()->nvrtcCompileProgram(program, n_options, pointers.data());
}

// Of a virtual architecture there is no cubin: 0 bytes.
API nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *out) {
    if (!nvrtc()) return NO_NVRTC;
    const std::string cubin = cubin_of(program);
    *out = cubin.empty() ? 0 : cubin.size() + 1;
    return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *out) {
    if (!nvrtc()) return NO_NVRTC;
    const std::string cubin = cubin_of(program);
    memcpy(out, cubin.c_str(), cubin.empty() ? 0 : cubin.size() + 1);
    return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *out) {
    return nvrtc() ? nvrtc()->nvrtcGetPTXSize(program, out) : NO_NVRTC;
}

API nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *out) {
    return nvrtc() ? nvrtc()->nvrtcGetPTX(program, out) : NO_NVRTC;
}

API nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *out) {
    if (!nvrtc()) return NO_NVRTC;
    const std::string failure = failure_of(program);
    if (failure.empty()) return nvrtc()->nvrtcGetProgramLogSize(program, out);
    *out = failure.size() + 1;
    return NVRTC_SUCCESS;
}

API nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *out) {
    if (!nvrtc()) return NO_NVRTC;
    const std::string failure = failure_of(program);
    if (failure.empty()) return nvrtc()->nvrtcGetProgramLog(program, out);
    memcpy(out, failure.c_str(), failure.size() + 1);
    return NVRTC_SUCCESS;
}
