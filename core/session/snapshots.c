#include "session/snapshots.h"

#include <stdlib.h>

#include "base/status.h"
#include "session/states.h"

struct nlm_snapshots {
    nlm_cache *cache;
    int32_t count;
    uint64_t bytes;         /* of one */
    unsigned char **memory; /* [count], NULL: not in use */
};

nlm_status nlm_snapshots_create(nlm_cache *cache, int32_t count, nlm_snapshots **out, nlm_error *err) {
    *out = NULL;
    nlm_snapshots *snapshots = calloc(1, sizeof *snapshots);
    unsigned char **memory = calloc((size_t)count, sizeof *memory);
    if (!snapshots || !memory) {
        free(snapshots);
        free(memory);
        return nlm_fail(err, NLM_OUT_OF_MEMORY, "snapshots", "no memory for a table of %d", count);
    }
    *snapshots =
        (nlm_snapshots){.cache = cache, .count = count, .bytes = nlm_states_bytes_per_slot(cache), .memory = memory};
    *out = snapshots;
    return NLM_OK;
}

void nlm_snapshots_destroy(nlm_snapshots *snapshots) {
    if (!snapshots) return;
    for (int32_t i = 0; i < snapshots->count; i++) free(snapshots->memory[i]);
    free(snapshots->memory);
    free(snapshots);
}

static nlm_status read_piece(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    unsigned char **at = user;
    NLM_TRY(nlm_state_read(state, offset, *at, bytes, err));
    *at += bytes;
    return NLM_OK;
}

static nlm_status write_piece(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    unsigned char **at = user;
    NLM_TRY(nlm_state_write(state, offset, *at, bytes, err));
    *at += bytes;
    return NLM_OK;
}

nlm_status nlm_snapshots_take(nlm_snapshots *snapshots, int32_t slot, int32_t *out_number, nlm_error *err) {
    int32_t number = 0;
    while (number < snapshots->count && snapshots->memory[number]) number++;
    if (number == snapshots->count) {
        return nlm_fail(err, NLM_LIMIT, "snapshots", "all %d are in use", snapshots->count);
    }
    unsigned char *memory = malloc(snapshots->bytes);
    if (!memory) return nlm_fail(err, NLM_OUT_OF_MEMORY, "snapshots", "no memory for one more");
    unsigned char *at = memory;
    const nlm_status status = nlm_states_each_piece(snapshots->cache, NULL, slot, 0, read_piece, &at, err);
    if (status != NLM_OK) {
        free(memory);
        return status;
    }
    snapshots->memory[number] = memory;
    *out_number = number;
    return NLM_OK;
}

nlm_status nlm_snapshots_restore(const nlm_snapshots *snapshots, int32_t number, int32_t slot, nlm_error *err) {
    unsigned char *at = snapshots->memory[number];
    return nlm_states_each_piece(snapshots->cache, NULL, slot, 0, write_piece, &at, err);
}

void nlm_snapshots_drop(nlm_snapshots *snapshots, int32_t number) {
    free(snapshots->memory[number]);
    snapshots->memory[number] = NULL;
}
