/* Packed weights kept in a file beside others of the user's, mapped when the same model comes again. */
#include "exec/pack_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

#define ABANDONED_SECONDS 3600

struct nlm_pack_cache {
    char *path, *key;
    const nlm_device *device;
    nlm_file_map map;   /* empty: there is no such file */
    nlm_pack_view view; /* of the map */
    nlm_packed *used;   /* found or added: what a new file would hold */
    uint32_t n_used, capacity, n_added;
    bool is_closed_to_more; /* saved, or out of memory */
    bool has_warned;
};

static void warn(nlm_pack_cache *cache, const char *what, const nlm_error *why) {
    nlm_log(cache->has_warned ? NLM_LOG_DEBUG : NLM_LOG_WARN, "pack cache %s: %s%s: %s", cache->path, what,
            cache->has_warned ? "" : "; the weights are packed as without it", why->msg);
    cache->has_warned = true;
}

/* ---- opening -------------------------------------------------------------------------------- */

static nlm_status map_file(nlm_pack_cache *cache, nlm_error *err) {
    NLM_TRY(nlm_file_map_open(cache->path, &cache->map, err));
    if (!cache->map.is_ours) {
        return nlm_fail(err, NLM_PERMISSION, cache->path,
                        "somebody else may write to it; expected a file of the user's own or root's, mode 600");
    }
    return nlm_pack_file_parse(cache->path, cache->map.data, cache->map.size, cache->key, &cache->view, err);
}

static void read_file(nlm_pack_cache *cache) {
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = map_file(cache, &why);
    if (status == NLM_OK) {
        (void)madvise((void *)(uintptr_t)cache->map.data, cache->map.size, MADV_WILLNEED);
        return;
    }
    nlm_file_map_close(&cache->map);
    if (status != NLM_NOT_FOUND) warn(cache, "not used", &why);
}

nlm_status nlm_pack_cache_open(const char *path, const char *key, const nlm_device *device, nlm_pack_cache **out,
                               nlm_error *err) {
    *out = NULL;
    nlm_pack_cache *cache = calloc(1, sizeof *cache);
    if (cache) {
        cache->path = strdup(path);
        cache->key = strdup(key);
        cache->device = device;
    }
    if (!cache || !cache->path || !cache->key) {
        nlm_pack_cache_close(cache);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory for a pack cache");
    }
    read_file(cache);
    *out = cache;
    return NLM_OK;
}

void nlm_pack_cache_close(nlm_pack_cache *cache) {
    if (!cache) return;
    nlm_file_map_close(&cache->map);
    free(cache->used);
    free(cache->path);
    free(cache->key);
    free(cache);
}

/* ---- finding and adding ----------------------------------------------------------------------- */

static bool is_same(const nlm_packed *a, const nlm_packed *b) {
    return a->name_bytes == b->name_bytes && memcmp(a->name, b->name, a->name_bytes) == 0 && a->dtype == b->dtype &&
           a->layout == b->layout && a->layout_version == b->layout_version && a->roles == b->roles &&
           a->rows == b->rows && a->columns == b->columns && a->bytes == b->bytes;
}

static bool keeps(const nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what) {
    return cache && cache->device == device && what->layout_version != 0 && what->bytes > 0;
}

static void use(nlm_pack_cache *cache, const nlm_packed *what) {
    if (cache->is_closed_to_more) return;
    if (cache->n_used == cache->capacity) {
        const uint32_t capacity = cache->capacity ? 2 * cache->capacity : 256;
        nlm_packed *used = realloc(cache->used, capacity * sizeof *used);
        cache->is_closed_to_more = !used;
        if (!used) return;
        cache->used = used;
        cache->capacity = capacity;
    }
    cache->used[cache->n_used++] = *what;
}

const void *nlm_pack_cache_find(nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what) {
    if (!keeps(cache, device, what) || !cache->map.data) return NULL;
    nlm_packed entry;
    size_t at = 0;
    for (uint32_t i = 0; i < cache->view.n_entries; i++) {
        nlm_pack_view_next(&cache->view, &at, &entry);
        if (!is_same(&entry, what)) continue;
        use(cache, &entry);
        return entry.data;
    }
    return NULL;
}

void nlm_pack_cache_add(nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what) {
    if (!keeps(cache, device, what) || cache->is_closed_to_more) return;
    use(cache, what);
    cache->n_added++;
}

/* ---- saving --------------------------------------------------------------------------------- */

/* What a process that was killed while it wrote has left of the file: temporaries that nobody has written to for
 * a while. They are as large as the model. */
static void remove_abandoned(const char *folder, const char *name) {
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (!entries) {
        if (fd >= 0) close(fd);
        return;
    }
    const size_t length = strlen(name);
    const time_t latest = time(NULL) - ABANDONED_SECONDS;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        struct stat info;
        if (strncmp(entry->d_name, name, length) != 0 || strncmp(entry->d_name + length, ".tmp-", 5) != 0) continue;
        if (fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
        if (info.st_mtim.tv_sec < latest) (void)unlinkat(fd, entry->d_name, 0);
    }
    closedir(entries);
}

static nlm_status write_file(const nlm_pack_cache *cache, nlm_error *err) {
    char *folder = strdup(cache->path);
    if (!folder) return nlm_fail(err, NLM_OUT_OF_MEMORY, cache->path, "out of memory");
    char *slash = strrchr(folder, '/');
    nlm_status status = NLM_OK;
    if (slash && slash != folder) {
        *slash = '\0';
        status = nlm_file_make_folder(folder, err);
        if (status == NLM_OK) remove_abandoned(folder, slash + 1);
    }
    free(folder);
    NLM_TRY(status);
    return nlm_pack_file_write(cache->path, cache->key, cache->used, cache->n_used, err);
}

void nlm_pack_cache_save(nlm_pack_cache *cache) {
    if (!cache || cache->is_closed_to_more) return;
    cache->is_closed_to_more = true;
    if (cache->n_used > cache->n_added) {
        nlm_log(NLM_LOG_INFO, "pack cache %s: %" PRIu32 " packed weights are mapped", cache->path,
                cache->n_used - cache->n_added);
    }
    nlm_error why = NLM_ERROR_INIT;
    if (cache->n_added > 0 && write_file(cache, &why) != NLM_OK) {
        warn(cache, "not written", &why);
    } else if (cache->n_added > 0) {
        nlm_log(NLM_LOG_INFO, "pack cache %s: %" PRIu32 " packed weights are written", cache->path, cache->n_used);
    }
    free(cache->used);
    cache->used = NULL;
    cache->n_used = cache->capacity = 0;
}
