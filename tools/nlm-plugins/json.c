/* The list of plugins as JSON. */
#include "common/json.h"
#include "listing.h"

#include <stdio.h>
#include <string.h>

static void add_isa(nlm_json *json, const char *isa) {
    nlm_json_begin_array(json, "isa");
    while (*isa) {
        const size_t length = strcspn(isa, ",");
        nlm_json_text(json, NULL, isa, length);
        isa += length + (isa[length] == ',');
    }
    nlm_json_end(json);
}

static void add_device(nlm_plugins *plugins, const nlm_plugin_entry *entry, uint32_t ordinal, nlm_json *json) {
    listed_device device;
    list_device(plugins, entry, ordinal, &device);
    nlm_json_begin_object(json, NULL);
    nlm_json_u64(json, "device_id", ordinal);
    nlm_json_bool(json, "usable", device.is_open);
    if (device.is_open) {
        nlm_json_text(json, "name", device.info.name, strlen(device.info.name));
        nlm_json_text(json, "arch", device.info.arch, strlen(device.info.arch));
        nlm_json_string(json, "kind", kind_name(&device.info));
        nlm_json_u64(json, "memory_total_bytes", device.info.memory_total_bytes);
        nlm_json_u64(json, "memory_free_bytes", device.info.memory_free_bytes);
    } else {
        nlm_json_text(json, "reason", device.error.msg, strlen(device.error.msg));
    }
    nlm_json_end(json);
}

static void add_loaded(nlm_plugins *plugins, const nlm_plugin_entry *entry, nlm_json *json) {
    const nlm_plugin_v1 *api = nlm_plugin_descriptor(entry->plugin);
    nlm_json_i64(json, "score", entry->score);
    nlm_json_text(json, "version", api->version, strlen(api->version));
    nlm_json_text(json, "description", api->description, strlen(api->description));
    nlm_json_u64(json, "abi_minor", api->abi_minor);
    nlm_json_begin_array(json, "devices");
    for (uint32_t i = 0; i < entry->device_count; i++) add_device(plugins, entry, i, json);
    nlm_json_end(json);
}

static void add_entry(nlm_plugins *plugins, const nlm_plugin_entry *entry, nlm_json *json) {
    nlm_json_begin_object(json, NULL);
    nlm_json_string(json, "name", entry->name);
    nlm_json_string(json, "state", state_name(entry->state));
    if (entry->reason[0]) nlm_json_text(json, "reason", entry->reason, strlen(entry->reason));
    nlm_json_i64(json, "priority", entry->priority);
    nlm_json_string(json, "library", entry->library);
    nlm_json_string(json, "registry", entry->registry);
    nlm_json_string(json, "arch", entry->arch);
    add_isa(json, entry->isa);
    nlm_json_bool(json, "isolate", entry->isolate);
    if (entry->plugin) add_loaded(plugins, entry, json);
    nlm_json_end(json);
}

nlm_status print_json(nlm_plugins *plugins, nlm_error *err) {
    nlm_json json = {0};
    nlm_json_begin_object(&json, NULL);
    nlm_json_begin_array(&json, "plugins");
    for (size_t i = 0; i < nlm_plugins_count(plugins); i++) add_entry(plugins, nlm_plugins_at(plugins, i), &json);
    nlm_json_end(&json);
    const nlm_status status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}
