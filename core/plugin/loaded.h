/* A library on its way to becoming a plugin, and the plugin it becomes. */
#ifndef NLM_PLUGIN_LOADED_H
#define NLM_PLUGIN_LOADED_H

#include <pthread.h>
#include "plugin/host.h"
#include "plugin/verdict.h"

typedef struct nlm_library {
    void *handle;
    nlm_plugin_query_v1_fn query;
} nlm_library;

typedef struct nlm_opened nlm_opened; /* a device and what it came from, see device.c */

struct nlm_plugin {
    nlm_plugin_v1 api; /* full-size copy of the descriptor, no slot but `extension` empty */
    char name[64];
    const char *const *options; /* of the registry entry */
    nlm_host *host;             /* what probe was given */
    pthread_mutex_t mutex;      /* guards the rest */
    nlm_opened *opened;         /* also those closed, until all are */
    size_t n_open;
};

/* Loads a library that has passed the checks of its file and finds the query symbol in it, not in a
 * library it depends on. */
bool nlm_library_load(const char *path, nlm_library *out, nlm_verdict *verdict);
/* Makes sure that it is never unloaded: its threads and exit handlers may outlive the plugin. */
void nlm_library_keep(const nlm_library *library, const char *path);
/* Unloads one that was rejected. */
void nlm_library_drop(const nlm_library *library);

/* Asks for the descriptor, copies what of it both sides know into *out and checks it. expected_name
 * NULL: any valid one. */
bool nlm_negotiate(nlm_plugin_query_v1_fn query, const char *expected_name, nlm_plugin_v1 *out, nlm_verdict *verdict);
/* Calls probe and checks its answer. */
bool nlm_probe(const nlm_plugin_v1 *api, const nlm_host_v1 *host, nlm_probe_v1 *out, nlm_verdict *verdict);

/* How far the vetting of a library got, for the report on one that did not return from it. */
typedef enum nlm_vet_stage { NLM_VET_LOAD, NLM_VET_QUERY, NLM_VET_PROBE, NLM_VET_DONE } nlm_vet_stage;

typedef struct nlm_vetted {
    nlm_library library;
    nlm_plugin_v1 api;
    nlm_probe_v1 probe;
} nlm_vetted;

/* Loads, negotiates and probes in this process, watching for side effects. On failure the library is
 * unloaded again. `stage` is set before each step. */
bool nlm_vet(const char *path, const char *expected_name, const nlm_host_v1 *host, volatile nlm_vet_stage *stage,
             nlm_vetted *out, nlm_verdict *verdict);

/* A library to vet in a process of its own. */
typedef struct nlm_vet_job {
    const char *path;
    const char *expected_name;  /* NULL: any valid one */
    const char *const *options; /* of the registry entry: key, value, ..., NULL; or NULL */
    uint32_t timeout_ms;
} nlm_vet_job;

/* As nlm_vet in a fresh process of the program nlm-vet, which may crash, hang or exit; whatever it has started goes
 * with it. Refuses what must not be loaded here, also where there is no nlm-vet; true means that loading it here is
 * safe, not that it is usable. Nothing is forked: the host may have threads and use any device. */
bool nlm_vet_in_child(const nlm_vet_job *job, nlm_verdict *verdict);

/* As nlm_vet_in_child, unless an earlier run has found that this file can be loaded, or how it ends the
 * process (vet_cache.h). */
bool nlm_vet_isolated(const nlm_vet_job *job, nlm_verdict *verdict);

/* Opens a device of a plugin; see nlm_plugins_open. */
nlm_status nlm_device_open(nlm_plugin *plugin, uint32_t ordinal, const char *const *options, nlm_device **out,
                           nlm_error *err);

/* Copies an ops table of any size into a full one, its empty slots filled with stubs. */
nlm_status nlm_ops_copy(const nlm_ops_v1 *from, nlm_ops_v1 *to, nlm_error *err);
/* Is the slot of this op one of the plugin's own? false for unknown ops. */
bool nlm_ops_has(const nlm_ops_v1 *ops, nlm_op op);

/* The size of an op's argument struct; 0 for unknown ops. */
uint32_t nlm_ops_args_size(nlm_op op);

/* Makes text that a plugin wrote safe to print: terminated, one line. */
void nlm_clean_text(char *text, size_t size);

/* The size of a struct up to and with a member. */
#define NLM_SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

#endif
