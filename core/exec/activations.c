/* The memory of programs that run one after another, as large as the largest needs. */
#include "exec/activations.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/checked.h"
#include "base/status.h"

#define WHERE            "nlm_activations"
/* Address space is free; commit charge and memory are paid as they are used. */
#define RESERVE_BYTES    (1ull << 36)
#define MIN_RESERVE      (1ull << 20)
#define COMMIT_GRANULE   (1ull << 16)
#define LIMITED_FRACTION 16 /* of RLIMIT_AS, where there is one */

typedef struct seen_text {
    struct seen_text *next;
    char text[];
} seen_text;

struct nlm_activations {
    char *base;
    uint64_t reserved, committed;
    nlm_device_region *regions;
    seen_text *seen;
};

static uint64_t reservation(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return RESERVE_BYTES;
    const uint64_t part = (limit.rlim_cur / LIMITED_FRACTION) & ~(COMMIT_GRANULE - 1);
    return part < RESERVE_BYTES ? part : RESERVE_BYTES;
}

nlm_status nlm_activations_create(nlm_activations **out, nlm_error *err) {
    nlm_activations *activations = calloc(1, sizeof *activations);
    if (!activations) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for activations");
    for (uint64_t bytes = reservation(); bytes >= MIN_RESERVE; bytes /= 2) {
        void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) continue;
        activations->base = base;
        activations->reserved = bytes;
        *out = activations;
        return NLM_OK;
    }
    free(activations);
    return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no address space for activations");
}

static void release_region(nlm_device_region *region) {
    const nlm_device_v1 *api = &region->device->api;
    if (region->bytes) api->buffer_free(api->self, region->buffer);
    if (region->event) api->event_destroy(api->self, region->event);
    if (region->stream) api->stream_destroy(api->self, region->stream);
    free(region);
}

void nlm_activations_destroy(nlm_activations *activations) {
    if (!activations) return;
    while (activations->regions) {
        nlm_device_region *next = activations->regions->next;
        release_region(activations->regions);
        activations->regions = next;
    }
    munmap(activations->base, activations->reserved);
    while (activations->seen) {
        seen_text *next = activations->seen->next;
        free(activations->seen);
        activations->seen = next;
    }
    free(activations);
}

nlm_status nlm_activations_host(nlm_activations *activations, uint64_t bytes, char **out_base, nlm_error *err) {
    uint64_t wanted;
    if (!nlm_align_u64(bytes, COMMIT_GRANULE, &wanted) || wanted > activations->reserved) {
        return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "activations of %llu bytes, room for %llu",
                        (unsigned long long)bytes, (unsigned long long)activations->reserved);
    }
    if (wanted > activations->committed) {
        if (mprotect(activations->base, wanted, PROT_READ | PROT_WRITE) != 0) {
            return nlm_fail_errno(err, NLM_OUT_OF_MEMORY, WHERE, "cannot get %llu bytes for activations",
                                  (unsigned long long)wanted);
        }
        activations->committed = wanted;
    }
    *out_base = activations->base;
    return NLM_OK;
}

/* A plugin that copies between its devices lets one wait for the events of another. */
static nlm_status open_queue(nlm_device_region *region, nlm_error *err) {
    const nlm_device_v1 *api = &region->device->api;
    NLM_TRY(api->stream_create(api->self, &region->stream, err));
    return api->copy_from ? api->event_create(api->self, 0, &region->event, err) : NLM_OK;
}

static nlm_status find_region(nlm_activations *activations, const nlm_device *device, nlm_device_region **out,
                              nlm_error *err) {
    for (nlm_device_region *region = activations->regions; region; region = region->next) {
        *out = region;
        if (region->device == device) return NLM_OK;
    }
    nlm_device_region *region = calloc(1, sizeof *region);
    if (!region) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for activations");
    region->device = device;
    const nlm_status status = nlm_status_prefix(open_queue(region, err), err, "a stream of %s", device->backend);
    if (status != NLM_OK) {
        release_region(region);
        return status;
    }
    region->next = activations->regions;
    activations->regions = region;
    *out = region;
    return NLM_OK;
}

nlm_status nlm_activations_device(nlm_activations *activations, const nlm_device *device, uint64_t bytes,
                                  nlm_device_region **out, nlm_error *err) {
    nlm_device_region *region = NULL;
    NLM_TRY(find_region(activations, device, &region, err));
    if (bytes > region->bytes && region->n_lent > 0) {
        return nlm_fail(err, NLM_INTERNAL, WHERE, "activations on %s are to grow, but states have memory of them",
                        device->backend);
    }
    if (bytes > region->bytes) {
        uint64_t buffer = 0;
        void *address = NULL;
        NLM_TRY(nlm_status_prefix(device->api.buffer_alloc(device->api.self, bytes, &buffer, &address, err), err,
                                  "activations on %s", device->backend));
        for (nlm_region_watcher *w = region->watchers; w; w = w->next) w->before_move(w->user);
        if (region->bytes) device->api.buffer_free(device->api.self, region->buffer);
        region->buffer = buffer;
        region->address = address;
        region->bytes = bytes;
        region->generation++;
    }
    *out = region;
    return NLM_OK;
}

void nlm_region_watch(nlm_device_region *region, nlm_region_watcher *watcher) {
    watcher->next = region->watchers;
    region->watchers = watcher;
}

void nlm_region_unwatch(nlm_device_region *region, const nlm_region_watcher *watcher) {
    for (nlm_region_watcher **link = &region->watchers; *link; link = &(*link)->next) {
        if (*link != watcher) continue;
        *link = watcher->next;
        return;
    }
}

bool nlm_activations_is_news(nlm_activations *activations, const char *text) {
    for (const seen_text *seen = activations->seen; seen; seen = seen->next) {
        if (strcmp(seen->text, text) == 0) return false;
    }
    const size_t length = strlen(text) + 1;
    seen_text *added = malloc(sizeof *added + length);
    if (!added) return true;
    memcpy(added->text, text, length);
    added->next = activations->seen;
    activations->seen = added;
    return true;
}
