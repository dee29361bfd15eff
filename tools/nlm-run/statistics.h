/* What a run has done and how fast, for people and as JSON. */
#ifndef NLM_RUN_STATISTICS_H
#define NLM_RUN_STATISTICS_H

#include <nlm/nlm.h>
#include "common/json.h"
#include "common/meters.h"
#include "nlm-run/settings.h"

typedef struct statistics {
    const settings *set;
    nlm_engine_info engine;
    nlm_model_info model;
    nlm_metrics metrics;
    nlm_device_metrics meters;
    uint64_t seed;
    uint64_t n_generated;
    const char *ended_by; /* of the last generation */
} statistics;

/* "model", "full context", ...: for NLM_ENDED_BY_*. */
const char *statistics_ended_by(int32_t ended_by);
void statistics_print(const statistics *s);
/* Adds them to the open object. */
void statistics_json(const statistics *s, nlm_json *json);

#endif
