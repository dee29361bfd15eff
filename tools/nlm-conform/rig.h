/* A small model on the device under test: its file, its cache, and runs of batches. */
#ifndef NLM_CONFORM_RIG_H
#define NLM_CONFORM_RIG_H

#include "conform.h"
#include "exec/program.h"
#include "model/model.h"
#include "session/kv_pages.h"

enum { RIG_SLOTS = 16, RIG_PAGE_TOKENS = 8, RIG_BLOCKS = 4, RIG_PAGES = RIG_SLOTS * RIG_BLOCKS };

typedef struct rig {
    nlm_model *model;
    nlm_cache *cache;
    nlm_kv_pages *pages; /* for Mamba it only counts tokens */
    nlm_env env;
    int32_t n_vocab;
} rig;

/* A graph planned for up to so many rows, to be run with any batch that fits. */
typedef struct rig_program {
    nlm_program *program;
    nlm_graph_io io;
} rig_program;

/* Tokens that continue what a slot holds. */
typedef struct rig_part {
    int32_t slot;
    const int32_t *tokens;
    int32_t count;
} rig_part;

/* `stand_in` runs what the device does not take; NULL: nothing does. `out` may be given to rig_close even after a
 * failure. Errors: those of opening a model. */
nlm_status rig_open(const char *gguf, nlm_dtype kv_dtype, const nlm_device *device, nlm_device *stand_in,
                    nlm_pool *pool, rig *out, nlm_error *err);
void rig_close(rig *r);
/* Forgets what all slots hold. */
nlm_status rig_reset(rig *r, nlm_error *err);

/* Errors UNSUPPORTED: the op that the device does not take, and why. */
nlm_status rig_plan(rig *r, int32_t n_tokens, int32_t n_seqs, rig_program *out, nlm_error *err);
void rig_program_destroy(rig_program *program);

/* One forward pass; out_logits: [tokens of all parts, n_vocab]. */
nlm_status rig_run(rig *r, rig_program *program, const rig_part *parts, int32_t n_parts, float *out_logits,
                   nlm_error *err);

#endif
