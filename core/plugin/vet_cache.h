/* What vetting a library in a process of its own found, kept between runs.
 *
 * One file, ${XDG_CACHE_HOME:-~/.cache}/nlm/plugin-verdicts, a line a library. A library is known again
 * by its device, inode, size and time of change (ctime, which nobody can set). The file is read only if root or we
 * alone can write it, as for a library; one that is damaged counts as empty. A set-uid program has no cache. What
 * cannot be read or kept costs another vetting, never an error. */
#ifndef NLM_PLUGIN_VET_CACHE_H
#define NLM_PLUGIN_VET_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct nlm_vet_identity {
    uint64_t device, inode, size;
    int64_t changed_s, changed_ns;
} nlm_vet_identity;

typedef struct nlm_vet_record {
    nlm_vet_identity identity;
    char reason[256]; /* how it ended the child that vetted it; "" if it did not: it may be loaded */
} nlm_vet_record;

/* false: there is no such file. */
bool nlm_vet_identify(const char *path, nlm_vet_identity *out);

/* The cache's file; false: this process has none. */
bool nlm_vet_cache_path(char out[PATH_MAX]);

/* Looks a library up; true and *out if it is known. */
bool nlm_vet_cache_find(const nlm_vet_identity *identity, nlm_vet_record *out);

/* Adds a record, or replaces the one of the same library. Two processes that store at once lose one of
 * the records, no more. */
void nlm_vet_cache_store(const nlm_vet_record *record);

#endif
