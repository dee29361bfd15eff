/* The entries of the registries and the devices of those that are usable, for people and programs. */
#ifndef NLM_PLUGINS_LISTING_H
#define NLM_PLUGINS_LISTING_H

#include "base/str.h"
#include "plugin/plugins.h"

typedef struct listed_device {
    bool is_open;            /* it could be opened */
    nlm_device_info_v1 info; /* if so */
    nlm_error error;         /* if not */
} listed_device;

const char *state_name(nlm_entry_state state);
const char *kind_name(const nlm_device_info_v1 *info);

/* Opens the device, notes what it says of itself, and closes it again. */
void list_device(nlm_plugins *plugins, const nlm_plugin_entry *entry, uint32_t ordinal, listed_device *out);

/* One line an entry, what there is to say of it indented below. */
void print_table(nlm_plugins *plugins, nlm_str *out);
nlm_status print_json(nlm_plugins *plugins, nlm_error *err);

#endif
