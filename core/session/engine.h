/* The device and threads behind nlm_engine. */
#ifndef NLM_SESSION_ENGINE_H
#define NLM_SESSION_ENGINE_H

#include <nlm/nlm.h>
#include "exec/env.h"
#include "plugin/plugins.h"
#include "session/gate.h"

struct nlm_engine {
    nlm_plugins *plugins;
    nlm_pool *pool;
    nlm_profile *profile; /* or NULL */
    nlm_env env;          /* devices[0] is the one chosen; all are opened and closed here */
    uint32_t flags;       /* NLM_ENGINE_* */
    uint64_t options_sum; /* of the options that the backend was given */
    nlm_gate gate;        /* its users are the models loaded */
    nlm_ending ending;
    uint64_t memory_limit, memory_used; /* bytes; no limit: 0 */
    nlm_session *borrowers; /* sessions whose logits are in the memory of results: the next run overwrites it */
};

/* The device chosen: its backend and device_id hold for all that the engine runs. */
static inline const nlm_device *nlm_engine_device(const nlm_engine *engine) {
    return engine->env.devices[0];
}

/* Counts bytes towards the limit, and no longer; `what` takes them. Errors OUT_OF_MEMORY: they are too many. */
nlm_status nlm_engine_take_memory(nlm_engine *engine, uint64_t bytes, const char *what, nlm_error *err);
void nlm_engine_give_memory(nlm_engine *engine, uint64_t bytes);

#endif
