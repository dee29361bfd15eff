/* Can this CPU run a library, by what its registry entry says? Decided before any of it is loaded. */
#ifndef NLM_PLUGIN_ISA_H
#define NLM_PLUGIN_ISA_H

#include <stddef.h>
#include <stdint.h>
#include "plugin/verdict.h"

/* `arch` is "any" or a machine's name, `isa` feature names of base/cpu.h; host_arch and host_features
 * are nlm_cpu_arch() and nlm_cpu_features(). A word this host does not know is a refusal. */
bool nlm_isa_check(const char *arch, const char *const *isa, size_t count, const char *host_arch,
                   uint64_t host_features, nlm_verdict *verdict);

#endif
