/* Time, bytes and FLOP per op and per layer. */
#ifndef NLM_EXEC_PROFILE_H
#define NLM_EXEC_PROFILE_H

#include <nlm/plugin.h>
#include "base/str.h"

typedef struct nlm_profile nlm_profile;

nlm_status nlm_profile_create(nlm_profile **out, nlm_error *err);
void nlm_profile_destroy(nlm_profile *profile);
/* layer -1: not in a layer. Called by worker 0 after an op; allocates nothing. `backend` is borrowed
 * until the profile is destroyed. */
void nlm_profile_add(nlm_profile *profile, nlm_op op, int32_t layer, const char *backend, uint64_t ns, uint64_t bytes,
                     uint64_t flop);
/* A table for people: per op, then per layer; ms, share, GB/s, GFLOP/s. */
void nlm_profile_print(const nlm_profile *profile, nlm_str *out);
/* The same as a JSON object. */
void nlm_profile_json(const nlm_profile *profile, nlm_str *out);

#endif
