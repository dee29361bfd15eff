/* The versions, the status texts and the log of nlm.h. */
#include <nlm/nlm.h>

#include "base/log.h"
#include "base/status.h"

uint32_t nlm_api_version(void) {
    return (uint32_t)NLM_API_MAJOR << 16 | NLM_API_MINOR;
}

const char *nlm_version(void) {
    return NLM_VERSION;
}

const char *nlm_status_string(nlm_status status) {
    return nlm_status_text(status);
}

void nlm_set_log(nlm_log_fn fn, void *user, int32_t level) {
    nlm_log_set_sink(fn, user);
    nlm_log_set_level(level);
}
