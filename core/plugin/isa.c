/* Whether this CPU has what a registry entry asks for, checked before anything is loaded. */
#include "plugin/isa.h"

#include "base/cpu.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static const char *const arches[] = {"any", "x86_64", "aarch64"};

static const char *const features[] = {
#define FEATURE_NAME(NAME, name) name,
    NLM_CPU_FEATURE_LIST(FEATURE_NAME)
#undef FEATURE_NAME
};

/* "; did you mean 'avx2'?", or nothing. */
static void suggest(char out[64], const char *word, const char *const *known, size_t count) {
    const char *nearest = nlm_nearest(word, known, count);
    out[0] = '\0';
    if (nearest) snprintf(out, 64, "; did you mean '%s'?", nearest);
}

static bool check_arch(const char *arch, const char *host_arch, nlm_verdict *verdict) {
    const size_t count = sizeof arches / sizeof *arches;
    bool is_known = false;
    for (size_t i = 0; i < count; i++) is_known = is_known || strcmp(arches[i], arch) == 0;
    if (!is_known) {
        char suggestion[64];
        suggest(suggestion, arch, arches, count);
        return nlm_refuse(verdict, "arch '%s' is not known to this host: expected any, x86_64 or aarch64%s", arch,
                          suggestion);
    }
    if (strcmp(arch, "any") == 0 || strcmp(arch, host_arch) == 0) return true;
    return nlm_skip(verdict, "it is for %s; this machine is %s", arch, host_arch);
}

bool nlm_isa_check(const char *arch, const char *const *isa, size_t count, const char *host_arch,
                   uint64_t host_features, nlm_verdict *verdict) {
    for (size_t i = 0; i < count; i++) {
        if (nlm_cpu_feature_from_name(isa[i]) >= 0) continue;
        char suggestion[64];
        suggest(suggestion, isa[i], features, NLM_CPU_FEATURE_COUNT);
        return nlm_refuse(verdict, "isa '%s' is not known to this host%s", isa[i], suggestion);
    }
    if (!check_arch(arch, host_arch, verdict)) return false;
    nlm_str missing = {0};
    for (size_t i = 0; i < count; i++) {
        if (host_features >> nlm_cpu_feature_from_name(isa[i]) & 1) continue;
        nlm_str_printf(&missing, "%s%s", missing.length ? ", " : "", isa[i]);
    }
    const bool is_complete = missing.length == 0 && !missing.has_failed;
    if (!is_complete) {
        nlm_skip(verdict, "it needs %s, which this CPU or its operating system does not offer",
                 missing.data ? missing.data : "more features");
    }
    nlm_str_release(&missing);
    return is_complete;
}
