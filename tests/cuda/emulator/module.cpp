// Modules: PTX through the translator and the C compiler, once for each text, and into this process.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "engine.h"

extern "C" emu_engine *emu_engine_table();

namespace {

const char *const translator_files[] = {EMU_TRANSLATOR_FILES};

struct loaded_module : emu_module {
    void *library;
    int file;
};

std::string read_file(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

// -Og: most kernels run for less time than they take to compile, which is half of that of -O1.
std::vector<std::string> compile_command(const std::string &c_file, const std::string &library) {
    std::vector<std::string> command = {EMU_C_COMPILER,
                                        "-Og",
                                        "-g1",
                                        "-w",
                                        "-pipe",
                                        "-shared",
                                        "-fPIC",
                                        "-std=gnu11",
                                        "-ffp-contract=off",
                                        "-fno-strict-aliasing",
                                        "-fno-math-errno",
                                        "-Werror=implicit-function-declaration",
                                        "-fvisibility=hidden",
                                        "-I" EMU_TRANSLATOR_FOLDER,
                                        "-I" EMU_ENGINE_FOLDER};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        command.insert(command.end(), {"-mavx2", "-mfma", "-mf16c"});
    }
#endif
    command.insert(command.end(), {c_file, "-o", library, "-lm"});
    return command;
}

// FNV-1a, twice: the name of a translation must not be another's.
std::string name_of(const std::string &text) {
    uint64_t a = 0xcbf29ce484222325u, b = 0x9ae16a3b2f90404fu;
    for (const char c : text) {
        a = (a ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
        b = (b ^ static_cast<unsigned char>(c) ^ a >> 32) * 0x100000001b3u;
    }
    char name[40];
    std::snprintf(name, sizeof name, "%016llx%016llx", static_cast<unsigned long long>(a),
                  static_cast<unsigned long long>(b));
    return name;
}

std::string cache_folder() {
    const char *set = std::getenv("EMU_CACHE"), *tmp = std::getenv("TMPDIR");
    const std::string folder =
        set && *set ? set : std::string(tmp && *tmp ? tmp : "/tmp") + "/emu-cache-" + std::to_string(getuid());
    mkdir(folder.c_str(), 0700);
    struct stat info;
    const bool is_own = stat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == getuid();
    return is_own ? folder : "";
}

// Runs a program with what it says in `said`; whether it succeeded.
bool run(const std::vector<std::string> &command, const std::string &said) {
    std::vector<char *> arguments;
    for (const std::string &word : command) arguments.push_back(const_cast<char *>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        const int file = open(said.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
        dup2(file, 1);
        dup2(file, 2);
        unsetenv("LD_PRELOAD");
        execvp(arguments[0], arguments.data());
        _exit(127);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

bool fail(char *why, size_t why_bytes, const std::string &text) {
    std::snprintf(why, why_bytes, "%s", text.c_str());
    return false;
}

// The library of this text, made if it is not there. Several processes may make it at the same time.
bool find_library(const std::string &ptx, std::string &library, char *why, size_t why_bytes) {
    std::string key = ptx;
    for (const char *file : translator_files) key += read_file(file);
    for (const std::string &word : compile_command("", "")) key += word;
    const std::string folder = cache_folder();
    if (folder.empty()) return fail(why, why_bytes, "the folder of translations is not this user's");
    const std::string stem = folder + "/" + name_of(key);
    library = stem + ".so";
    if (access(library.c_str(), R_OK) == 0) return true;
    const std::string own = stem + "." + std::to_string(getpid());
    std::ofstream(own + ".ptx", std::ios::binary) << ptx;
    const std::string translator = EMU_TRANSLATOR_FOLDER "/ptx2c.py";
    bool is_made = run({EMU_PYTHON, "-S", translator, own + ".ptx", own + ".c"}, own + ".txt");
    if (!is_made) fail(why, why_bytes, "PTX was not translated: " + read_file(own + ".txt"));
    if (is_made && !run(compile_command(own + ".c", own + ".so"), own + ".txt")) {
        is_made = fail(why, why_bytes, "translated PTX did not compile: " + read_file(own + ".txt"));
    }
    if (is_made && std::rename((own + ".so").c_str(), library.c_str()) != 0) {
        is_made = fail(why, why_bytes, "cannot write " + library);
    }
    const bool is_kept = std::getenv("EMU_KEEP");
    for (const char *suffix : {".ptx", ".c", ".txt", ".so"}) {
        if (!is_kept) std::remove((own + suffix).c_str());
    }
    return is_made;
}

// Each module has variables of its own, so each is loaded from a file of its own. The file stays open: its number is
// in the name that the loader knows it by.
void *load_copy(const std::string &library, int *out_file) {
    const int file = *out_file = memfd_create("emu-module", MFD_CLOEXEC);
    if (file < 0) return nullptr;
    const std::string bytes = read_file(library);
    if (write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return nullptr;
    return dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
}

} // namespace

extern "C" const emu_module *emu_module_open(const char *ptx, char *why, size_t why_bytes) {
    std::string library;
    if (!find_library(ptx, library, why, why_bytes)) return nullptr;
    int file = -1;
    void *handle = load_copy(library, &file);
    if (!handle) {
        if (file >= 0) close(file);
        fail(why, why_bytes, std::string("a translation was not loaded: ") + dlerror());
        return nullptr;
    }
    using attach = const emu_module *(emu_engine *);
    auto *enter = reinterpret_cast<attach *>(dlsym(handle, "emu_attach"));
    auto *module = new loaded_module{*enter(emu_engine_table()), handle, file};
    for (size_t i = 0; i < module->n_variables; i++) {
        const emu_variable &v = module->variables[i];
        emu_memory_add(v.memory, v.bytes);
        emu_memory_written(v.memory, v.bytes);
    }
    return module;
}

extern "C" void emu_module_close(const emu_module *module) {
    if (!module) return;
    const auto *loaded = static_cast<const loaded_module *>(module);
    for (size_t i = 0; i < loaded->n_variables; i++) emu_memory_remove(loaded->variables[i].memory);
    dlclose(loaded->library);
    close(loaded->file);
    delete loaded;
}
