/* CUDA C++ to the device's own code, by NVRTC or from the cache. */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels.h"

#define MAX_OPTIONS 16
#define MAX_HEADERS 32 /* in device/ */
#define KEY_BYTES   1024

/* NVRTC takes these signals while it compiles and gives them back with other flags. The raw call keeps the flags as
 * the kernel has them, which the C library's does not. */
static const int taken_signals[] = {SIGINT, SIGTERM, SIGXFSZ};
#define N_SIGNALS ((int)(sizeof taken_signals / sizeof *taken_signals))
typedef struct kept_signals {
    unsigned long of[N_SIGNALS][4]; /* the kernel's struct sigaction */
} kept_signals;

static void keep_signals(kept_signals *kept) {
    for (int i = 0; i < N_SIGNALS; i++) syscall(SYS_rt_sigaction, taken_signals[i], NULL, kept->of[i], 8);
}
static void restore_signals(const kept_signals *kept) {
    for (int i = 0; i < N_SIGNALS; i++) syscall(SYS_rt_sigaction, taken_signals[i], kept->of[i], NULL, 8);
}

static const char *source_text(const char *file) {
    for (int i = 0; i < nlm_cuda_n_sources; i++) {
        if (strcmp(nlm_cuda_sources[i].name, file) == 0) return nlm_cuda_sources[i].text;
    }
    return NULL;
}

static uint64_t fnv1a(uint64_t hash, const char *text) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

/* A source can include every header of device/. */
static int headers(const char **texts, const char **names, int room) {
    int count = 0;
    for (int i = 0; i < nlm_cuda_n_sources && count < room; i++) {
        if (strstr(nlm_cuda_sources[i].name, ".cu") && !strstr(nlm_cuda_sources[i].name, ".cuh")) continue;
        names[count] = nlm_cuda_sources[i].name;
        texts[count++] = nlm_cuda_sources[i].text;
    }
    return count;
}

/* "sm_90": the device's own code; "compute_90": PTX, where NVRTC is older than the device. */
static nlm_status target_of(nlm_cuda_device *d, const nlm_cuda_nvrtc *nvrtc, char *out, size_t bytes,
                            nlm_error *error) {
    int archs[64], count = 0, best = 0;
    if (nvrtc->nvrtcGetNumSupportedArchs(&count) != NVRTC_SUCCESS || count < 1 || count > 64 ||
        nvrtc->nvrtcGetSupportedArchs(archs) != NVRTC_SUCCESS) {
        return nlm_kit_fail(error, NLM_DEVICE_ERROR, "nvrtc", "NVRTC does not say what it compiles for");
    }
    for (int i = 0; i < count; i++) best = archs[i] <= d->capability && archs[i] > best ? archs[i] : best;
    if (!best) {
        return nlm_kit_fail(error, NLM_UNSUPPORTED, "nvrtc", "this NVRTC compiles for no GPU as old as %s", d->name);
    }
    snprintf(out, bytes, "%s_%d", best == d->capability ? "sm" : "compute", best);
    return NLM_OK;
}

static nlm_status log_failure(nlm_cuda_device *d, const nlm_cuda_nvrtc *nvrtc, nvrtcProgram program,
                              const char *source, nvrtcResult result, nlm_error *error) {
    size_t bytes = 0;
    char *log = NULL;
    if (nvrtc->nvrtcGetProgramLogSize(program, &bytes) == NVRTC_SUCCESS && bytes > 0) {
        log = d->host->alloc(d->host->self, bytes + 1, 16);
    }
    if (log && nvrtc->nvrtcGetProgramLog(program, log) == NVRTC_SUCCESS) {
        log[bytes] = '\0';
        d->host->log(d->host->self, NLM_LOG_DEBUG, log);
        log[strcspn(log, "\n")] = '\0';
    }
    nlm_kit_fail(error, NLM_INTERNAL, source, "NVRTC: error %d%s%s", result, log && *log ? ": " : "", log ? log : "");
    if (log) d->host->release(d->host->self, log);
    return NLM_INTERNAL;
}

/* The image out of a compiled program: cubin, or PTX for a target "compute_...". */
static nlm_status image_of(nlm_cuda_device *d, const nlm_cuda_nvrtc *nvrtc, nvrtcProgram program, bool is_ptx,
                           char **out_image, size_t *out_bytes, nlm_error *error) {
    size_t bytes = 0;
    nvrtcResult result = is_ptx ? nvrtc->nvrtcGetPTXSize(program, &bytes) : nvrtc->nvrtcGetCUBINSize(program, &bytes);
    if (result != NVRTC_SUCCESS || bytes == 0) {
        return nlm_kit_fail(error, NLM_INTERNAL, "nvrtc", "no image: error %d", result);
    }
    char *image = d->host->alloc(d->host->self, bytes + 1, 16);
    if (!image) return nlm_kit_fail(error, NLM_OUT_OF_MEMORY, "nvrtc", "no host memory");
    result = is_ptx ? nvrtc->nvrtcGetPTX(program, image) : nvrtc->nvrtcGetCUBIN(program, image);
    if (result != NVRTC_SUCCESS) {
        d->host->release(d->host->self, image);
        return nlm_kit_fail(error, NLM_INTERNAL, "nvrtc", "no image: error %d", result);
    }
    image[bytes] = '\0';
    *out_image = image;
    *out_bytes = bytes;
    return NLM_OK;
}

static nlm_status run_nvrtc(nlm_cuda_device *d, const nlm_cuda_nvrtc *nvrtc, const char *file,
                            const char *const *options, int n_options, bool is_ptx, char **out_image,
                            size_t *out_bytes, nlm_error *error) {
    const char *texts[MAX_HEADERS], *names[MAX_HEADERS];
    const int n_headers = headers(texts, names, MAX_HEADERS);
    nvrtcProgram program;
    kept_signals kept;
    keep_signals(&kept);
    nvrtcResult result = nvrtc->nvrtcCreateProgram(&program, source_text(file), file, n_headers, texts, names);
    if (result != NVRTC_SUCCESS) {
        restore_signals(&kept);
        return nlm_kit_fail(error, NLM_INTERNAL, file, "NVRTC: error %d", result);
    }
    result = nvrtc->nvrtcCompileProgram(program, n_options, options);
    restore_signals(&kept);
    const nlm_status status = result == NVRTC_SUCCESS
                                  ? image_of(d, nvrtc, program, is_ptx, out_image, out_bytes, error)
                                  : log_failure(d, nvrtc, program, file, result, error);
    nvrtc->nvrtcDestroyProgram(&program);
    return status;
}

/* All that decides what an image is: a line for NVRTC's version, the options, and the sources' hash. */
static void make_key(const char *file, int major, int minor, const char *const *options, int n_options, char *out) {
    uint64_t hash = fnv1a(UINT64_C(14695981039346656037), source_text(file));
    const char *texts[MAX_HEADERS], *names[MAX_HEADERS];
    const int n_headers = headers(texts, names, MAX_HEADERS);
    for (int i = 0; i < n_headers; i++) hash = fnv1a(hash, texts[i]);
    size_t used =
        (size_t)snprintf(out, KEY_BYTES, "%s %016llx nvrtc %d.%d", file, (unsigned long long)hash, major, minor);
    for (int i = 0; i < n_options && used < KEY_BYTES; i++) {
        used += (size_t)snprintf(out + used, KEY_BYTES - used, " %s", options[i]);
    }
}

nlm_status nlm_cuda_compile(nlm_cuda_device *d, const char *source, const char *const *defines, char **out_image,
                            size_t *out_bytes, nlm_error *error) {
    char why[192], file[64], target[32], architecture[64], key[KEY_BYTES];
    const char *options[MAX_OPTIONS] = {architecture, "--std=c++17", "-lineinfo"};
    int n_options = 3, major = 0, minor = 0;
    snprintf(file, sizeof file, "%s.cu", source);
    if (!source_text(file)) return nlm_kit_fail(error, NLM_INTERNAL, source, "there is no such source");
    const nlm_cuda_nvrtc *nvrtc = nlm_cuda_nvrtc_open(d->host, why, sizeof why);
    if (!nvrtc) return nlm_kit_fail(error, NLM_UNSUPPORTED, "nvrtc", "%s", why);
    NLM_KIT_TRY(target_of(d, nvrtc, target, sizeof target, error));
    snprintf(architecture, sizeof architecture, "--gpu-architecture=%s", target);
    for (; *defines && n_options < MAX_OPTIONS; defines++) options[n_options++] = *defines;
    nvrtc->nvrtcVersion(&major, &minor);
    make_key(file, major, minor, options, n_options, key);
    if (nlm_cuda_cache_load(d, key, out_image, out_bytes)) return NLM_OK;
    NLM_KIT_TRY(run_nvrtc(d, nvrtc, file, options, n_options, target[0] == 'c', out_image, out_bytes, error));
    nlm_cuda_cache_store(d, key, *out_image, *out_bytes);
    return NLM_OK;
}
