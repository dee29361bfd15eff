/* The list of plugins as a table. */
#include "base/printable.h"
#include "listing.h"

#include <string.h>

#define COLUMN_GAP 2

static void put_clean(nlm_str *out, const char *text) {
    nlm_str_printable(out, text, strlen(text));
}

/* By the bytes it takes, escapes included. */
static void put_padded(nlm_str *out, const char *text, size_t width) {
    const size_t start = out->length;
    put_clean(out, text);
    while (!out->has_failed && out->length - start < width + COLUMN_GAP) nlm_str_puts(out, " ");
}

static size_t name_width(const nlm_plugins *plugins) {
    size_t width = strlen("BACKEND");
    nlm_str name = {0};
    for (size_t i = 0; i < nlm_plugins_count(plugins); i++) {
        name.length = 0;
        put_clean(&name, nlm_plugins_at(plugins, i)->name);
        if (name.length > width) width = name.length;
    }
    nlm_str_release(&name);
    return width;
}

static void put_label(nlm_str *out, const char *label) {
    nlm_str_printf(out, "    %-9s ", label);
}

static void put_line(nlm_str *out, const char *label, const char *text) {
    if (!*text) return;
    put_label(out, label);
    put_clean(out, text);
    nlm_str_puts(out, "\n");
}

static void put_bytes(nlm_str *out, uint64_t bytes) {
    const double mib = (double)bytes / (1024.0 * 1024.0);
    if (mib < 1024)
        nlm_str_printf(out, "%.0f MiB", mib);
    else
        nlm_str_printf(out, "%.1f GiB", mib / 1024);
}

static void put_memory(nlm_str *out, const nlm_device_info_v1 *info) {
    if (info->memory_total_bytes == 0) return;
    nlm_str_puts(out, ", ");
    put_bytes(out, info->memory_total_bytes);
    if (info->memory_free_bytes == 0) return;
    nlm_str_puts(out, " of memory, ");
    put_bytes(out, info->memory_free_bytes);
    nlm_str_puts(out, " free");
}

static void put_device(nlm_plugins *plugins, const nlm_plugin_entry *entry, uint32_t ordinal, nlm_str *out) {
    listed_device device;
    list_device(plugins, entry, ordinal, &device);
    nlm_str_printf(out, "    device %-2u ", ordinal);
    if (!device.is_open) {
        nlm_str_puts(out, "not usable: ");
        put_clean(out, device.error.msg);
    } else {
        nlm_str_printf(out, "%s", device.info.name);
        if (device.info.arch[0]) nlm_str_printf(out, " [%s]", device.info.arch);
        nlm_str_printf(out, ", %s", kind_name(&device.info));
        put_memory(out, &device.info);
    }
    nlm_str_puts(out, "\n");
}

static void put_entry(nlm_plugins *plugins, const nlm_plugin_entry *entry, size_t width, nlm_str *out) {
    put_padded(out, entry->name, width);
    nlm_str_printf(out, "%-7s  %8lld", state_name(entry->state), (long long)entry->priority);
    if (entry->state == NLM_ENTRY_READY) {
        nlm_str_printf(out, "  %6d  %7u\n", (int)entry->score, entry->device_count);
        put_line(out, "about", nlm_plugin_descriptor(entry->plugin)->description);
    } else {
        nlm_str_printf(out, "  %6s  %7s\n", "-", "-");
        put_line(out, "reason", entry->reason);
    }
    put_line(out, "library", entry->library);
    put_line(out, "entry", entry->registry);
    for (uint32_t i = 0; i < entry->device_count; i++) put_device(plugins, entry, i, out);
}

void print_table(nlm_plugins *plugins, nlm_str *out) {
    const size_t width = name_width(plugins);
    put_padded(out, "BACKEND", width);
    nlm_str_puts(out, "STATE    PRIORITY   SCORE  DEVICES\n");
    for (size_t i = 0; i < nlm_plugins_count(plugins); i++)
        put_entry(plugins, nlm_plugins_at(plugins, i), width, out);
}
