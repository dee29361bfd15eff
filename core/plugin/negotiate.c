/* What both sides know of a descriptor, and whether it is one. */
#include "plugin/loaded.h"

#include "base/printable.h"
#include "base/status.h"
#include "plugin/registry.h"

#include <string.h>

/* What a descriptor had in 1.0; less is no descriptor. More than MAX_SIZE is an uninitialised field. */
#define SIZE_1_0    NLM_SIZE_THROUGH(nlm_plugin_v1, extension)
#define MAX_SIZE    65536u
#define MAX_DEVICES 1024u

_Static_assert(SIZE_1_0 == 72, "the descriptor of 1.0 is frozen");

static const char *sanitizer_text(uint32_t sanitizer) {
    switch (sanitizer) {
        case NLM_SANITIZER_NONE: return "no sanitizer";
        case NLM_SANITIZER_ADDRESS: return "the address sanitizer";
        case NLM_SANITIZER_THREAD: return "the thread sanitizer";
        case NLM_SANITIZER_MEMORY: return "the memory sanitizer";
        default: return "an unknown sanitizer";
    }
}

static bool check_version(const nlm_plugin_v1 *api, nlm_verdict *verdict) {
    if (api->min_host_minor > api->abi_minor) {
        return nlm_refuse(verdict, "it needs a host of version %d.%u, newer than the %d.%u it says it was written to",
                          NLM_ABI_MAJOR, api->min_host_minor, NLM_ABI_MAJOR, api->abi_minor);
    }
    if (api->min_host_minor > NLM_ABI_MINOR) {
        return nlm_refuse(verdict, "it needs a host of plugin.h %d.%u or later; this one has %d.%d", NLM_ABI_MAJOR,
                          api->min_host_minor, NLM_ABI_MAJOR, NLM_ABI_MINOR);
    }
    if (api->sanitizer != NLM_SANITIZER_BUILD) {
        return nlm_skip(verdict, "it is built with %s, this host with %s", sanitizer_text(api->sanitizer),
                        sanitizer_text(NLM_SANITIZER_BUILD));
    }
    return true;
}

static bool check_name(const char *name, const char *expected, nlm_verdict *verdict) {
    if (!name) return nlm_refuse(verdict, "its descriptor has no name");
    if (!nlm_plugin_name_is_valid(name)) {
        return nlm_refuse(verdict, "it calls itself '%.80s'; expected 1 to %d of a-z, 0-9 and _", name,
                          NLM_PLUGIN_NAME_MAX);
    }
    if (!expected || strcmp(name, expected) == 0) return true;
    return nlm_refuse(verdict, "it calls itself '%s'; its registry entry says '%s'", name, expected);
}

static bool check_slots(const nlm_plugin_v1 *api, nlm_verdict *verdict) {
    const char *missing = !api->probe ? "probe" : !api->open ? "open" : !api->close ? "close" : NULL;
    return !missing || nlm_refuse(verdict, "its descriptor lacks the function %s", missing);
}

static const void *no_extension(const char *name, uint32_t version) {
    (void)name;
    (void)version;
    return NULL;
}

bool nlm_negotiate(nlm_plugin_query_v1_fn query, const char *expected_name, nlm_plugin_v1 *out,
                   nlm_verdict *verdict) {
    const nlm_plugin_v1 *descriptor = query(NLM_ABI_MINOR);
    if (!descriptor) {
        return nlm_refuse(verdict, "it answers that it cannot work with a host of plugin.h %d.%d", NLM_ABI_MAJOR,
                          NLM_ABI_MINOR);
    }
    /* Nothing past struct_size may be read: the page behind it may not exist. */
    uint32_t size;
    memcpy(&size, &descriptor->struct_size, sizeof size);
    if (size < SIZE_1_0 || size > MAX_SIZE) {
        return nlm_refuse(verdict, "its descriptor says it has %u bytes; expected %zu to %u", size, SIZE_1_0,
                          MAX_SIZE);
    }
    *out = (nlm_plugin_v1){0};
    memcpy(out, descriptor, size < sizeof *out ? size : sizeof *out);
    if (!out->version) out->version = "";
    if (!out->description) out->description = "";
    if (!out->extension) out->extension = no_extension;
    return check_version(out, verdict) && check_name(out->name, expected_name, verdict) && check_slots(out, verdict);
}

bool nlm_probe(const nlm_plugin_v1 *api, const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_verdict *verdict) {
    *out = (nlm_probe_v1){.struct_size = (uint32_t)sizeof *out};
    nlm_error fault = NLM_ERROR_INIT;
    const nlm_status status = api->probe(host, out, &fault);
    nlm_make_printable(out->reason, sizeof out->reason);
    nlm_make_printable(fault.msg, sizeof fault.msg);
    if (status != NLM_OK) {
        return nlm_refuse(verdict, "its probe failed with status %d (%s)%s%.300s", status, nlm_status_text(status),
                          fault.msg[0] ? ": " : "", fault.msg);
    }
    if (out->device_count > MAX_DEVICES) {
        return nlm_refuse(verdict, "its probe found %u devices; at most %u can be", out->device_count, MAX_DEVICES);
    }
    if (out->device_count > 0) return true;
    return nlm_skip(verdict, "%s", out->reason[0] ? out->reason : "its probe found no device and gave no reason");
}
