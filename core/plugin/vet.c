/* Loading and probing a plugin under watch for what it must not do. */
#include "plugin/loaded.h"
#include "plugin/watch.h"

bool nlm_vet(const char *path, const char *expected_name, const nlm_host_v1 *host, volatile nlm_vet_stage *stage,
             nlm_vetted *out, nlm_verdict *verdict) {
    nlm_watch watch;
    nlm_watch_start(&watch);
    *stage = NLM_VET_LOAD;
    bool is_good = nlm_library_load(path, &out->library, verdict);
    if (!nlm_watch_check(&watch, "loading it", verdict)) is_good = false;
    if (is_good) {
        *stage = NLM_VET_QUERY;
        is_good = nlm_negotiate(out->library.query, expected_name, &out->api, verdict);
        if (!nlm_watch_check(&watch, "its " NLM_PLUGIN_QUERY_SYMBOL, verdict)) is_good = false;
    }
    if (is_good) {
        *stage = NLM_VET_PROBE;
        is_good = nlm_probe(&out->api, host, &out->probe, verdict);
        if (!nlm_watch_check(&watch, "its probe", verdict)) is_good = false;
    }
    if (!is_good) nlm_library_drop(&out->library);
    *stage = NLM_VET_DONE;
    return is_good;
}
