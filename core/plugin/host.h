/* What a plugin is given of its host: log, memory and options, under the plugin's name. */
#ifndef NLM_PLUGIN_HOST_H
#define NLM_PLUGIN_HOST_H

#include <nlm/plugin.h>

typedef struct nlm_host nlm_host;

/* Copies name and options (key, value, ..., NULL; either list may be NULL); overrides win.
 * Errors: OUT_OF_MEMORY. */
nlm_status nlm_host_create(const char *plugin_name, const char *const *options, const char *const *overrides,
                           nlm_host **out, nlm_error *err);
void nlm_host_destroy(nlm_host *host);

const nlm_host_v1 *nlm_host_table(const nlm_host *host);
/* Allocations made and not released. */
uint64_t nlm_host_outstanding(const nlm_host *host);

#endif
