/* The packed weights of one model on one device, kept in a file between processes.
 *
 * Whatever is wrong with the file (it is missing, cut, foreign, of another model, not to be read or written)
 * never fails a load: it is one line in the log, and the weights are packed. */
#ifndef NLM_EXEC_PACK_CACHE_H
#define NLM_EXEC_PACK_CACHE_H

#include "exec/pack_file.h"
#include "plugin/device.h"

typedef struct nlm_pack_cache nlm_pack_cache;

/* Maps the file at `path`, or reads it into memory (is_copied), if it was made for `key` and nobody else could have
 * written to it or its folder. `device` is borrowed. Errors OUT_OF_MEMORY. */
nlm_status nlm_pack_cache_open(const char *path, const char *key, const nlm_device *device, bool is_copied,
                               nlm_pack_cache **out, nlm_error *err);

/* Verifies checksums of what the file holds, as many as threads that do the same leave to this one: between open and
 * the first find, by any number of threads at once. One that is not verified then is when it is found. cache NULL is
 * fine. */
void nlm_pack_cache_check(nlm_pack_cache *cache);

/* The packed bytes that the file has for all else that `what` says, their checksum verified, aligned to
 * NLM_PACK_ALIGNMENT, valid until close; or NULL. cache NULL has none. */
const void *nlm_pack_cache_find(nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what);
/* Notes a weight that was packed for the next save; its name and data are borrowed until then. */
void nlm_pack_cache_add(nlm_pack_cache *cache, const nlm_device *device, const nlm_packed *what);

/* Writes the file anew if a weight was packed since open, and makes its folder if there is none. What is packed
 * later is not kept. cache NULL is fine. */
void nlm_pack_cache_save(nlm_pack_cache *cache);
void nlm_pack_cache_close(nlm_pack_cache *cache); /* NULL is fine */

#endif
