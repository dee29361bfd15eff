/* What is asked of each plugin for the list. */
#include "listing.h"

const char *state_name(nlm_entry_state state) {
    switch (state) {
        case NLM_ENTRY_READY: return "ready";
        case NLM_ENTRY_SKIPPED: return "skipped";
        case NLM_ENTRY_REFUSED: return "refused";
    }
    return "unknown";
}

const char *kind_name(const nlm_device_info_v1 *info) {
    return info->kind == NLM_DEVICE_SLICED ? "sliced" : "stream";
}

void list_device(nlm_plugins *plugins, const nlm_plugin_entry *entry, uint32_t ordinal, listed_device *out) {
    *out = (listed_device){.error = NLM_ERROR_INIT};
    nlm_device *device;
    if (nlm_plugins_open(plugins, entry->name, (int32_t)ordinal, NULL, &device, &out->error) != NLM_OK) return;
    out->is_open = true;
    out->info = device->info;
    nlm_device_close(device);
}
