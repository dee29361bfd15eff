/* Memory that the programs of one environment share, because one runs at a time: activations, workspace
 * and scratch on the host, and a buffer and a queue on each stream device. Create one per env, destroy it
 * after the env's programs and before its devices are closed. Not thread-safe. */
#ifndef NLM_EXEC_ACTIVATIONS_H
#define NLM_EXEC_ACTIVATIONS_H

#include "plugin/device.h"

typedef struct nlm_activations nlm_activations;

/* Who is told before the buffer of a region goes: what was recorded names its addresses. */
typedef struct nlm_region_watcher {
    struct nlm_region_watcher *next;
    void (*before_move)(void *user);
    void *user;
} nlm_region_watcher;

/* What a device has of it. */
typedef struct nlm_device_region {
    const nlm_device *device;
    uint64_t buffer;
    char *address;
    uint64_t bytes;
    uint64_t generation; /* changes when the buffer does */
    void *stream;
    void *event; /* of this stream, for the plugin's other devices; NULL: they cannot wait for it */
    nlm_region_watcher *watchers;
    uint32_t n_lent; /* states that have memory of the buffer, which cannot be replaced meanwhile */
    struct nlm_device_region *next;
} nlm_device_region;

/* Reserves address space; memory is committed as programs need it. */
nlm_status nlm_activations_create(nlm_activations **out, nlm_error *err);
void nlm_activations_destroy(nlm_activations *activations);

/* At least `bytes` of host memory, aligned to a page, at an address that stays the same whatever is
 * asked for later. Contents are unspecified. Errors OUT_OF_MEMORY. */
nlm_status nlm_activations_host(nlm_activations *activations, uint64_t bytes, char **out_base, nlm_error *err);

/* The region of a stream device with at least `bytes` (0 for a device with host memory, which gets the
 * queue alone). It stays where it is; growing replaces its buffer. Errors OUT_OF_MEMORY, INTERNAL (it is lent). */
nlm_status nlm_activations_device(nlm_activations *activations, const nlm_device *device, uint64_t bytes,
                                  nlm_device_region **out, nlm_error *err);

/* The watcher is borrowed until it is taken away. */
void nlm_region_watch(nlm_device_region *region, nlm_region_watcher *watcher);
void nlm_region_unwatch(nlm_device_region *region, const nlm_region_watcher *watcher);

/* True the first time this text is seen: what is worth a warning once. */
bool nlm_activations_is_news(nlm_activations *activations, const char *text);

#endif
