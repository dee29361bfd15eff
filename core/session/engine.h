/* The device and threads behind nlm_engine. */
#ifndef NLM_SESSION_ENGINE_H
#define NLM_SESSION_ENGINE_H

#include <nlm/nlm.h>
#include "exec/env.h"
#include "plugin/plugins.h"

struct nlm_engine {
    nlm_plugins *plugins;
    nlm_pool *pool;
    nlm_profile *profile; /* or NULL */
    nlm_env env;          /* devices[0] is the one chosen; all are opened and closed here */
};

/* The device the engine was made for: its backend and device_id hold for all that it runs. */
static inline const nlm_device *nlm_engine_device(const nlm_engine *engine) {
    return engine->env.devices[0];
}

#endif
