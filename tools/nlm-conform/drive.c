/* Runs a slot as the workers of a host would, in the worst order. */
#include <stdatomic.h>
#include <time.h>

#include "base/status.h"
#include "conform.h"
#include "exec/dispatch.h"
#include "guard.h"

#define NAP_NS 200000

typedef struct drive {
    const conform_call *call;
    nlm_pool *pool;
    atomic_int first_failure; /* worker + 1 of the first that failed for a reason of its own */
    nlm_status statuses[CONFORM_THREADS];
    nlm_error errors[CONFORM_THREADS];
    uint64_t op; /* of the pool's */
} drive;

typedef struct worker {
    drive *drive;
    uint32_t ith;
    bool has_claimed, has_strayed;
} worker;

static nlm_status wait_for_all(const nlm_exec_v1 *x) {
    const worker *w = x->host;
    return nlm_pool_barrier(w->drive->pool, w->ith);
}

/* One worker is held up before it begins, so that others do parts of its slice whatever the machine is like. */
static uint32_t claim(const nlm_exec_v1 *x, uint32_t of) {
    worker *w = x->host;
    if (!w->has_claimed && w->ith == w->drive->op % x->nth) {
        const struct timespec nap = {.tv_nsec = NAP_NS};
        nanosleep(&nap, NULL);
    }
    w->has_claimed = true;
    return nlm_pool_claim(w->drive->pool, of, w->drive->op);
}

/* Stands where an old host has something else. */
static uint32_t no_claim(const nlm_exec_v1 *x, uint32_t of) {
    (void)of;
    ((worker *)x->host)->has_strayed = true;
    return UINT16_MAX;
}

static void work(void *user, uint32_t ith, uint32_t nth) {
    drive *d = user;
    const conform_call *call = d->call;
    worker self = {.drive = d, .ith = ith};
    nlm_exec_v1 x = {
        .struct_size = call->is_old_host ? offsetof(nlm_exec_v1, claim) : sizeof x,
        .ith = ith,
        .nth = nth,
        .device = call->device->api.self,
        .workspace = call->workspace,
        .workspace_bytes = call->workspace_bytes,
        .scratch = call->scratch[ith],
        .scratch_bytes = call->scratch_bytes,
        .live_rows = call->live_rows,
        .barrier = wait_for_all,
        .host = &self,
        .error = &d->errors[ith],
        .claim = call->is_old_host ? no_claim : claim,
    };
    conform_slot slot;
    guard_watch_thread();
    conform_slot_begin(&slot);
    d->statuses[ith] = nlm_dispatch(call->device, call->op, &x, call->args);
    const char *misdeed = conform_slot_end(&slot);
    if (self.has_strayed) misdeed = "calls claim, which is past the struct_size of this host's nlm_exec_v1";
    if (misdeed) d->statuses[ith] = nlm_fail(&d->errors[ith], NLM_INTERNAL, "", "the slot %s", misdeed);
    if (d->statuses[ith] == NLM_OK) return;
    int none = 0;
    if (d->statuses[ith] != NLM_CANCELLED) atomic_compare_exchange_strong(&d->first_failure, &none, (int)ith + 1);
    nlm_pool_break(d->pool);
}

nlm_status conform_pool(conform_pools *pools, uint32_t threads, nlm_pool **out, nlm_error *err) {
    if (!pools->pools[threads]) {
        const nlm_pool_options options = {.threads = threads, .is_unbound = true};
        NLM_TRY(nlm_pool_create(&options, &pools->pools[threads], err));
    }
    *out = pools->pools[threads];
    return NLM_OK;
}

void conform_pools_destroy(conform_pools *pools) {
    for (uint32_t i = 1; i <= CONFORM_THREADS; i++) {
        if (pools->pools[i]) nlm_pool_destroy(pools->pools[i]);
    }
    *pools = (conform_pools){{NULL}};
}

nlm_status conform_drive(conform_pools *pools, const conform_call *call, uint32_t nth, nlm_error *err) {
    nlm_pool *pool;
    NLM_TRY(conform_pool(pools, nth, &pool, err));
    drive d = {.call = call, .pool = pool, .op = nlm_pool_count_ops(pool, 1)};
    for (uint32_t i = 0; i < nth; i++) d.errors[i] = (nlm_error)NLM_ERROR_INIT;
    nlm_pool_run(d.pool, work, &d);
    const int failed = atomic_load(&d.first_failure);
    if (failed) {
        *err = d.errors[failed - 1];
        return d.statuses[failed - 1];
    }
    for (uint32_t i = 0; i < nth; i++) {
        if (d.statuses[i] != NLM_OK) return nlm_fail(err, d.statuses[i], "", "a worker was cancelled by none");
    }
    return NLM_OK;
}
