/* Modules and launches. An image is PTX; the limits of a launch are those of the device's compute capability. */
#include <stdio.h>
#include <string.h>

#include "driver.h"

namespace {

const int DEFAULT_SHARED = 48 << 10;
const int PORTABLE_CLUSTER = 8;

/* What NVRTC was asked for, 90 of "sm_90a": a cubin of it, as the stand-in of NVRTC marks it, or PTX. */
bool is_for_device(const char *ptx) {
    int major = 0;
    char minor = 0;
    const char *cubin = strstr(ptx, "// cubin of sm_");
    const char *target = strstr(ptx, ".target sm_");
    const char *named = cubin == ptx ? cubin : target;
    if (!named || sscanf(strstr(named, "sm_"), "sm_%2d%c", &major, &minor) < 1) return false;
    int wanted = major; /* two digits, or three of 10.0 and later */
    if (minor >= '0' && minor <= '9') wanted = major * 10 + (minor - '0');
    const int have = setup.row->capability;
    return wanted <= have && (cubin != ptx || wanted / 10 == have / 10);
}

struct launch {
    std::shared_ptr<function> what;
    emu_launch with;
    std::vector<std::string> values; /* of the parameters, as they were at the call */
};

unsigned count(const emu_dim &size) {
    return size.x * size.y * size.z;
}

/* The attributes of a launch that this device knows. */
CUresult read_attributes(const CUlaunchConfig &config, emu_launch *out) {
    out->cluster = {1, 1, 1};
    for (unsigned i = 0; i < config.numAttrs; i++) {
        const CUlaunchAttribute &one = config.attrs[i];
        switch (one.id) {
            case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
                out->cluster = {one.value.clusterDim.x, one.value.clusterDim.y, one.value.clusterDim.z};
                break;
            case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
                if (setup.row->capability < 90) return CUDA_ERROR_NOT_SUPPORTED;
                out->is_early = one.value.programmaticStreamSerializationAllowed != 0;
                break;
            default:
                log_line("the stand-in does not know launch attribute %d", one.id);
                return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}

CUresult check_cluster(const function &what, const emu_dim &grid, emu_dim *cluster) {
    const unsigned *wanted = what.kernel->cluster;
    if (wanted[0] != 0 && count(*cluster) == 1) *cluster = {wanted[0], wanted[1], wanted[2]};
    if (wanted[0] != 0 && (cluster->x != wanted[0] || cluster->y != wanted[1] || cluster->z != wanted[2]))
        return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    const unsigned n = count(*cluster);
    if (n == 1) return CUDA_SUCCESS;
    if (setup.row->cluster == 0) return CUDA_ERROR_NOT_SUPPORTED;
    const int most = what.is_wide_cluster_allowed ? setup.row->cluster : PORTABLE_CLUSTER;
    if (n == 0 || n > static_cast<unsigned>(most)) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    const bool divides = grid.x % cluster->x == 0 && grid.y % cluster->y == 0 && grid.z % cluster->z == 0;
    return divides ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CLUSTER_SIZE;
}

CUresult check_launch(const function &what, emu_launch *with) {
    const emu_dim &grid = with->grid, &block = with->block;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || count(block) == 0) return CUDA_ERROR_INVALID_VALUE;
    if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) return CUDA_ERROR_INVALID_VALUE;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || count(block) > 1024) return CUDA_ERROR_INVALID_VALUE;
    if (count(block) > what.kernel->max_threads) return CUDA_ERROR_INVALID_VALUE;
    if (with->dynamic_shared_bytes > static_cast<unsigned>(what.dynamic_limit)) return CUDA_ERROR_INVALID_VALUE;
    return check_cluster(what, grid, &with->cluster);
}

void list_launch(const launch &one) {
    FILE *file = fopen(setup.launches.c_str(), "ae");
    if (!file) return;
    const emu_dim &grid = one.with.grid;
    fprintf(file, "%s %u %u %u %u %u %s\n", one.what->kernel->name, grid.x, grid.y, grid.z, count(one.with.block),
            one.with.dynamic_shared_bytes, one.with.is_early ? "early" : "-");
    fclose(file);
}

CUresult run(const launch &one) {
    if (!setup.launches.empty()) list_launch(one);
    if (setup.is_dry) return CUDA_SUCCESS;
    std::vector<const void *> params;
    for (const std::string &value : one.values) params.push_back(value.data());
    emu_launch with = one.with;
    with.kernel = one.what->kernel;
    with.params = params.data();
    with.seed = draw(UINT32_MAX) + 1;
    char why[512] = "";
    if (emu_run(&with, why, sizeof why) == 0) return CUDA_SUCCESS;
    log_line("%s", why);
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

CUfunction add_function(const std::shared_ptr<module> &in, const std::shared_ptr<function> &made) {
    made->owner = in->owner;
    made->of = in;
    made->dynamic_limit = DEFAULT_SHARED - static_cast<int>(made->kernel->static_shared_bytes);
    const CUfunction handle = all.functions.add(made);
    in->functions.push_back(handle);
    return handle;
}

CUfunction add_dry_function(const std::shared_ptr<module> &in, const char *name) {
    const auto made = std::make_shared<function>();
    made->dry_name = name;
    made->dry.name = made->dry_name.c_str();
    made->dry.max_threads = 1024;
    made->kernel = &made->dry;
    return add_function(in, made);
}

std::shared_ptr<function> find_function(const call &c, CUfunction named) {
    const std::shared_ptr<function> found = all.functions.find(named);
    return found && found->owner == c.here ? found : nullptr;
}

} // namespace

module::~module() {
    if (image) emu_module_close(image);
}

API CUresult cuModuleLoadData(CUmodule *out, const void *image) {
    const call c(SYNCHRONISES);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!out || !image) return CUDA_ERROR_INVALID_VALUE;
    const char *ptx = static_cast<const char *>(image);
    if (ptx[0] != '/' && ptx[0] != '.' && ptx[0] != '\n') {
        log_line("cuModuleLoadData: the stand-in runs PTX, and this is something else");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (!is_for_device(ptx)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    char why[512] = "";
    const std::shared_ptr<module> made = std::make_shared<module>();
    made->owner = c.here;
    if (!setup.is_dry) made->image = emu_module_open(ptx, why, sizeof why);
    if (!made->image && !setup.is_dry) {
        log_line("%s", why);
        return CUDA_ERROR_INVALID_PTX;
    }
    *out = all.modules.add(made);
    return CUDA_SUCCESS;
}

/* Work that runs its kernels keeps it. */
API CUresult cuModuleUnload(CUmodule named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<module> gone = all.modules.take(named);
    if (!gone) return CUDA_ERROR_INVALID_HANDLE;
    for (const CUfunction one : gone->functions) all.functions.take(one);
    return CUDA_SUCCESS;
}

API CUresult cuModuleGetFunction(CUfunction *out, CUmodule named, const char *name) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<module> in = all.modules.find(named);
    if (!out || !name) return CUDA_ERROR_INVALID_VALUE;
    if (!in || in->owner != c.here) return CUDA_ERROR_INVALID_HANDLE;
    for (const CUfunction known : in->functions) {
        if (strcmp(all.functions.find(known)->kernel->name, name) != 0) continue;
        *out = known;
        return CUDA_SUCCESS;
    }
    for (size_t i = 0; in->image && i < in->image->n_kernels; i++) {
        const emu_kernel &kernel = in->image->kernels[i];
        if (strcmp(kernel.name, name) != 0) continue;
        const std::shared_ptr<function> made = std::make_shared<function>();
        made->kernel = &kernel;
        *out = add_function(in, made);
        return CUDA_SUCCESS;
    }
    if (!in->image) {
        *out = add_dry_function(in, name);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

API CUresult cuFuncGetAttribute(int *out, int attribute, CUfunction named) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<function> asked = find_function(c, named);
    if (!out) return CUDA_ERROR_INVALID_VALUE;
    if (!asked) return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *out = static_cast<int>(asked->kernel->max_threads); break;
        case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *out = static_cast<int>(asked->kernel->static_shared_bytes); break;
        case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *out = 0; break;
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *out = 32; break; /* PTX does not say */
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *out = asked->dynamic_limit; break;
        case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: *out = asked->is_wide_cluster_allowed; break;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction named, int attribute, int value) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<function> changed = find_function(c, named);
    if (!changed) return CUDA_ERROR_INVALID_HANDLE;
    const int most = (setup.row->shared_optin_kib << 10) - static_cast<int>(changed->kernel->static_shared_bytes);
    switch (attribute) {
        case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
            if (value < 0 || value > most) return CUDA_ERROR_INVALID_VALUE;
            changed->dynamic_limit = value;
            return CUDA_SUCCESS;
        case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
            if (setup.row->cluster == 0) return CUDA_ERROR_NOT_SUPPORTED;
            changed->is_wide_cluster_allowed = value != 0;
            return CUDA_SUCCESS;
        default: return CUDA_ERROR_INVALID_VALUE;
    }
}

/* A multiprocessor has one block: what registers and shared memory leave room for is not known. */
API CUresult cuOccupancyMaxActiveClusters(int *out, CUfunction named, const CUlaunchConfig *config) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    const std::shared_ptr<function> asked = find_function(c, named);
    if (!asked) return CUDA_ERROR_INVALID_HANDLE;
    if (!out || !config || (config->numAttrs != 0 && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
    emu_launch with = {};
    with.grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
    with.block = {config->blockDimX, config->blockDimY, config->blockDimZ};
    with.dynamic_shared_bytes = config->sharedMemBytes;
    CUresult result = read_attributes(*config, &with);
    if (result == CUDA_SUCCESS) result = check_launch(*asked, &with);
    if (result != CUDA_SUCCESS) return result;
    *out = setup.multiprocessors / static_cast<int>(count(with.cluster));
    return CUDA_SUCCESS;
}

API CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction named, void **params, void **extra) {
    const call c(IN_CONTEXT);
    if (c.failed != CUDA_SUCCESS) return c.failed;
    if (!config || extra || (config->numAttrs != 0 && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
    const auto one = std::make_shared<launch>();
    one->what = find_function(c, named);
    const std::shared_ptr<stream> to = find_stream(config->hStream, c.here);
    if (!one->what || !to) return CUDA_ERROR_INVALID_HANDLE;
    one->with = {};
    one->with.grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
    one->with.block = {config->blockDimX, config->blockDimY, config->blockDimZ};
    one->with.dynamic_shared_bytes = config->sharedMemBytes;
    CUresult result = read_attributes(*config, &one->with);
    if (result == CUDA_SUCCESS) result = check_launch(*one->what, &one->with);
    if (result != CUDA_SUCCESS) return result;
    const emu_kernel &kernel = *one->what->kernel;
    if (kernel.n_params != 0 && !params) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < kernel.n_params; i++) {
        if (!params[i]) return CUDA_ERROR_INVALID_VALUE;
        one->values.emplace_back(static_cast<const char *>(params[i]), kernel.param_bytes[i]);
    }
    return enqueue_action(to, {[one] { return run(*one); }, 0});
}
