/* Copies of one sequence's Mamba states, by number: the payloads of the prompt cache. */
#ifndef NLM_SESSION_SNAPSHOTS_H
#define NLM_SESSION_SNAPSHOTS_H

#include "model/model.h"

typedef struct nlm_snapshots nlm_snapshots;

/* Room for `count`; memory is taken as snapshots are. The cache is borrowed. */
nlm_status nlm_snapshots_create(nlm_cache *cache, int32_t count, nlm_snapshots **out, nlm_error *err);
void nlm_snapshots_destroy(nlm_snapshots *snapshots);

/* Copies the slot's states; *out_number is its number, LIMIT if all are in use. */
nlm_status nlm_snapshots_take(nlm_snapshots *snapshots, int32_t slot, int32_t *out_number, nlm_error *err);
/* Writes them to a slot. */
nlm_status nlm_snapshots_restore(const nlm_snapshots *snapshots, int32_t number, int32_t slot, nlm_error *err);
void nlm_snapshots_drop(nlm_snapshots *snapshots, int32_t number);

#endif
