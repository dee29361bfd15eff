/* What the two kinds of many-token product share with their driver, matmul.c. */
#ifndef NLM_CPU_MATMUL_IMPL_H
#define NLM_CPU_MATMUL_IMPL_H

#include "cpu/vector/matmul.h"

#define OPEN_MAX_PANELS 8 /* of one run */

/* At most `most` panels from `at` that one call can take: where they are and how many. */
typedef struct nlm_panel_run {
    int32_t weight, count;
    int64_t panel;
    const uint8_t *data[OPEN_MAX_PANELS];
} nlm_panel_run;

nlm_panel_run nlm_vector_matmul_next_run(const nlm_matmul_job *job, int64_t at, int64_t end, int32_t most);

/* Panels [from, to), in one round of several over all of them; zeros to begin with. */
typedef struct nlm_panel_share {
    int64_t from, to, round;
    uint32_t asked; /* workers whose panels are all given out */
} nlm_panel_share;

/* Whether there are more for this worker: its own, in each round; where it may claim, in parts, and then parts of
 * other workers' panels. In whole runs of `multiple`. */
int nlm_vector_matmul_next_share(const nlm_matmul_job *job, int32_t multiple, int64_t rounds, nlm_panel_share *share);

static inline int64_t tiles_of(int64_t tokens, int32_t tile) {
    return (tokens + tile - 1) / tile;
}

/* The packed bytes of a run's group of columns, which are needed next: lines of 64 bytes of each panel. */
typedef struct nlm_panel_ahead {
    const uint8_t *data[OPEN_MAX_PANELS];
    int64_t lines, line;
    int32_t panels, panel;
    int64_t share; /* lines at a time */
} nlm_panel_ahead;

/* Those from `block` on, to be brought in `parts` parts. */
nlm_panel_ahead nlm_vector_matmul_ahead(const nlm_matmul_job *job, const nlm_panel_run *run, int64_t block,
                                        int64_t parts);

/* Brings the next part into the second cache. */
static inline void nlm_vector_matmul_bring(nlm_panel_ahead *ahead) {
    for (int64_t i = 0; i < ahead->share && ahead->panel < ahead->panels; i++) {
        __builtin_prefetch(ahead->data[ahead->panel] + 64 * ahead->line, 0, 2);
        if (++ahead->line < ahead->lines) continue;
        ahead->line = 0;
        ahead->panel++;
    }
}

/* Plain weights, in the steps of a nlm_gemm_way. */
uint64_t nlm_vector_plain_workspace_bytes(int64_t tokens, int64_t columns);
uint64_t nlm_vector_plain_scratch_bytes(int64_t tokens, int64_t columns);
void nlm_vector_pack_plain(const nlm_matmul_job *job);
void nlm_vector_run_gemm_plain(const nlm_matmul_job *job);

#endif
