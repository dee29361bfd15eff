/* Packed weights kept in a file beside others of the user's, mapped when the same model comes again. */
#include "exec/pack_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

enum { NOT_CHECKED, WHOLE, CHANGED };

struct nlm_pack_cache {
    char *path, *key;
    const nlm_device *device;
    nlm_file_map map;       /* empty: there is no such file */
    nlm_pack_view view;     /* of the map */
    atomic_uchar *verdicts; /* [view.n_entries] what their checksums say; NULL: no memory for it */
    atomic_uint n_taken;    /* of the entries, by nlm_pack_cache_check */
    nlm_packed *used;       /* found or added: what a new file would hold */
    uint32_t n_used, capacity, n_added;
    bool is_closed_to_more; /* saved, or out of memory */
    bool has_warned;
    bool is_copied; /* the file is read into memory rather than mapped */
};

static void warn(nlm_pack_cache *cache, const char *what, const nlm_error *why) {
    nlm_log(cache->has_warned ? NLM_LOG_DEBUG : NLM_LOG_WARN, "pack cache %s: %s%s: %s", cache->path, what,
            cache->has_warned ? "" : "; the weights are packed as without it", why->msg);
    cache->has_warned = true;
}

/* ---- the folder ------------------------------------------------------------------------------ */

/* The folder of the cache's file, allocated; NULL: no memory. */
static char *folder_of(const nlm_pack_cache *cache) {
    char *folder = strdup(cache->path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) slash[slash == folder] = '\0';
    if (!folder || slash) return folder;
    free(folder);
    return strdup(".");
}

/* Whoever may change the folder may put a file or a link of theirs where ours is. NOT_FOUND: there is none. */
static nlm_status check_folder(const char *folder, nlm_error *err) {
    struct stat info;
    if (stat(folder, &info) != 0) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), folder, "cannot examine '%s'", folder);
    }
    if (info.st_uid != geteuid() && info.st_uid != 0) {
        return nlm_fail(err, NLM_PERMISSION, folder,
                        "its folder '%s' belongs to user %u; expected one of the user's own (%u) or root's: name "
                        "another, or none",
                        folder, (unsigned)info.st_uid, (unsigned)geteuid());
    }
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) == 0) return NLM_OK;
    return nlm_fail(err, NLM_PERMISSION, folder,
                    "others may write to its folder '%s' (mode %03o): chmod go-w '%s', or name another", folder,
                    (unsigned)(info.st_mode & 07777), folder);
}

/* Makes the folder if it is wanted and missing, checks it, and clears it of what is left of others' work. */
static nlm_status prepare_folder(const nlm_pack_cache *cache, bool is_made, nlm_error *err) {
    char *folder = folder_of(cache);
    if (!folder) return nlm_fail(err, NLM_OUT_OF_MEMORY, cache->path, "out of memory");
    nlm_status status = is_made ? nlm_file_make_folder(folder, err) : NLM_OK;
    if (status == NLM_OK) status = check_folder(folder, err);
    const char *slash = strrchr(cache->path, '/');
    /* What processes that were killed have left is as large as the model. */
    if (status == NLM_OK) nlm_file_remove_abandoned(folder, slash ? slash + 1 : cache->path);
    free(folder);
    return status;
}

/* ---- opening -------------------------------------------------------------------------------- */

static nlm_status map_file(nlm_pack_cache *cache, nlm_error *err) {
    NLM_TRY(prepare_folder(cache, false, err));
    NLM_TRY((cache->is_copied ? nlm_file_read : nlm_file_map_open)(cache->path, &cache->map, err));
    if (!cache->map.is_ours) {
        return nlm_fail(err, NLM_PERMISSION, cache->path,
                        "somebody else may write to it; expected a file of the user's own or root's, mode 600");
    }
    return nlm_pack_file_parse(cache->path, cache->map.data, cache->map.size, cache->key, &cache->view, err);
}

static void read_file(nlm_pack_cache *cache) {
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = map_file(cache, &why);
    if (status == NLM_OK) cache->verdicts = calloc((size_t)cache->view.n_entries + 1, sizeof *cache->verdicts);
    if (status == NLM_OK && !cache->map.is_mapped) return;
    if (status == NLM_OK) {
        (void)madvise((void *)(uintptr_t)cache->map.data, cache->map.size, MADV_WILLNEED);
        return;
    }
    nlm_file_map_close(&cache->map);
    if (status != NLM_NOT_FOUND) warn(cache, "not used", &why);
}

nlm_status nlm_pack_cache_open(const char *path, const char *key, const nlm_device *device, bool is_copied,
                               nlm_pack_cache **out, nlm_error *err) {
    *out = NULL;
    nlm_pack_cache *cache = calloc(1, sizeof *cache);
    if (cache) {
        cache->path = strdup(path);
        cache->key = strdup(key);
        cache->device = device;
        cache->is_copied = is_copied;
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
    free(cache->verdicts);
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

/* Reads all of it, which the first run would do anyway. */
static unsigned char judge(const nlm_packed *entry) {
    return nlm_checksum_of(entry->data, (size_t)entry->bytes) == entry->checksum ? WHOLE : CHANGED;
}

void nlm_pack_cache_check(nlm_pack_cache *cache) {
    if (!cache || !cache->verdicts) return;
    nlm_packed entry;
    size_t at = 0;
    uint32_t taken = atomic_fetch_add(&cache->n_taken, 1);
    for (uint32_t i = 0; i < cache->view.n_entries; i++) {
        nlm_pack_view_next(&cache->view, &at, &entry);
        if (i != taken) continue;
        atomic_store(&cache->verdicts[i], judge(&entry));
        taken = atomic_fetch_add(&cache->n_taken, 1);
    }
}

static bool is_whole(nlm_pack_cache *cache, const nlm_packed *entry, uint32_t index) {
    unsigned char verdict = cache->verdicts ? atomic_load(&cache->verdicts[index]) : NOT_CHECKED;
    if (verdict == NOT_CHECKED) verdict = judge(entry);
    if (verdict == WHOLE) return true;
    nlm_error why = NLM_ERROR_INIT;
    nlm_fail(&why, NLM_BAD_FORMAT, cache->path, "the checksum of '%.*s' does not match: the file was changed",
             (int)entry->name_bytes, entry->name);
    warn(cache, "not used", &why);
    return false;
}

const void *nlm_pack_cache_find(nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what) {
    if (!keeps(cache, device, what) || !cache->map.data) return NULL;
    nlm_packed entry;
    size_t at = 0;
    for (uint32_t i = 0; i < cache->view.n_entries; i++) {
        nlm_pack_view_next(&cache->view, &at, &entry);
        if (!is_same(&entry, what)) continue;
        if (!is_whole(cache, &entry, i)) return NULL;
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

static nlm_status write_file(const nlm_pack_cache *cache, nlm_error *err) {
    NLM_TRY(prepare_folder(cache, true, err));
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
