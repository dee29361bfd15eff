// What the tests of the test device share.
#include "rig.h"

#include <dlfcn.h>

#include <fstream>
#include <map>
#include <sstream>

namespace rig {

static int n_checks, n_failures;

void check(bool is_true, const char *file, int line, const std::string &what) {
    n_checks++;
    if (is_true) return;
    n_failures++;
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

int result() {
    std::printf("%d checks, %d failures\n", n_checks, n_failures);
    return n_failures || !n_checks;
}

[[noreturn]] static void give_up(const std::string &what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(1);
}

// What of NVRTC's interface is used.
struct nvrtc {
    void *library;
    int (*create)(void **, const char *, const char *, int, const char *const *, const char *const *);
    int (*compile)(void *, int, const char *const *);
    int (*destroy)(void **);
    int (*ptx_size)(void *, size_t *);
    int (*ptx)(void *, char *);
    int (*log_size)(void *, size_t *);
    int (*log)(void *, char *);
};

// Of the Python package nvidia-cuda-nvrtc, if there is one.
static std::string package_library() {
    const char *script =
        "import glob, site, sys; print(next(iter(sorted(p for d in sys.path + [site.getusersitepackages()] "
        "for p in glob.glob(d + '/nvidia/*/lib/libnvrtc.so.1[0-9]'))), ''))";
    FILE *pipe = popen((std::string("python3 -c \"") + script + "\" 2>/dev/null").c_str(), "r");
    char line[4096] = "";
    if (pipe && !std::fgets(line, sizeof line, pipe)) line[0] = 0;
    if (pipe) pclose(pipe);
    const std::string path = line;
    return path.substr(0, path.find('\n'));
}

static const nvrtc *load() {
    static nvrtc n;
    static bool is_tried;
    if (is_tried) return n.library ? &n : nullptr;
    is_tried = true;
    const char *set = std::getenv("EMU_NVRTC");
    std::vector<std::string> places = {set ? set : "",
                                       "libnvrtc.so.13",
                                       "libnvrtc.so.12",
                                       "libnvrtc.so",
                                       "/usr/local/cuda/lib64/libnvrtc.so",
                                       "/opt/cuda/lib64/libnvrtc.so"};
    for (size_t i = 0; i <= places.size() && !n.library; i++) {
        const std::string path = i < places.size() ? places[i] : package_library();
        if (!path.empty()) n.library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    if (!n.library) return nullptr;
    const auto find = [](auto &function, const char *name) {
        function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(n.library, name));
    };
    find(n.create, "nvrtcCreateProgram");
    find(n.compile, "nvrtcCompileProgram");
    find(n.destroy, "nvrtcDestroyProgram");
    find(n.ptx_size, "nvrtcGetPTXSize");
    find(n.ptx, "nvrtcGetPTX");
    find(n.log_size, "nvrtcGetProgramLogSize");
    find(n.log, "nvrtcGetProgramLog");
    return &n;
}

bool has_nvrtc() {
    return load();
}

std::string ptx_of(const std::string &source, const std::string &name, const std::vector<std::string> &options) {
    const nvrtc *n = load();
    void *program = nullptr;
    std::vector<const char *> words;
    for (const std::string &option : options) words.push_back(option.c_str());
    if (n->create(&program, source.c_str(), name.c_str(), 0, nullptr, nullptr)) give_up("NVRTC makes no program");
    size_t bytes = 0;
    if (n->compile(program, static_cast<int>(words.size()), words.data())) {
        n->log_size(program, &bytes);
        std::string log(bytes, 0);
        n->log(program, &log[0]);
        give_up(name + " does not compile:\n" + log);
    }
    n->ptx_size(program, &bytes);
    std::string text(bytes, 0);
    n->ptx(program, &text[0]);
    n->destroy(&program);
    return text.c_str();
}

std::string text_of(const std::string &file) {
    std::ifstream in(std::string(EMU_TEST_KERNELS "/") + file);
    if (!in) give_up("no file " + file);
    std::ostringstream all;
    all << in.rdbuf();
    return all.str();
}

const emu_module *module_of(const std::string &file, int fault) {
    using key = std::pair<std::string, int>;
    static auto &known = *new std::map<key, const emu_module *>; // lives as long as the process
    const emu_module *&module = known[{file, fault}];
    if (module) return module;
    const std::string ptx =
        ptx_of(text_of(file), file, {"-arch=compute_90", "-lineinfo", "-DFAULT=" + std::to_string(fault)});
    char why[4000] = "";
    module = emu_module_open(ptx.c_str(), why, sizeof why);
    if (!module) give_up(file + ": " + why);
    return module;
}

const emu_kernel *kernel_of(const emu_module *module, const std::string &name) {
    for (size_t i = 0; i < module->n_kernels; i++) {
        if (name == module->kernels[i].name) return &module->kernels[i];
    }
    give_up("no kernel " + name);
}

std::string launch(const emu_kernel *kernel, const shape &s, uint64_t seed, const std::vector<const void *> &params) {
    if (params.size() != kernel->n_params) give_up(std::string(kernel->name) + " has other parameters");
    const emu_launch l = {kernel,    params.data(),          s.grid, s.block,
                          s.cluster, s.dynamic_shared_bytes, seed,   s.is_early};
    char why[600] = "";
    const int rc = emu_run(&l, why, sizeof why);
    if (rc == 0) return "";
    return *why ? why : "failed without a sentence";
}

} // namespace rig
