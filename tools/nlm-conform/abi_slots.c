/* Rules on what ops leave behind in the process, and on packing from several threads at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi.h"
#include "abi_stream.h"
#include "base/status.h"
#include "plugin/leftovers.h"
#include "plugin/watch.h"

/* ---- slots --------------------------------------------------------------------------------- */

/* The ops of a device, one after the other. */
typedef struct tour {
    conform_pools *pools;
    const nlm_device *device;
    const conform_options *options;
    abi_output output;
    nlm_op done; /* of which a case was taken */
    bool is_any_taken;
    conform_result *result;
} tour;

/* The first time starts threads of the host. */
static bool leaves_nothing(tour *r, const char *name, bool *out_is_taken) {
    nlm_watch watch;
    nlm_leftovers before;
    nlm_verdict verdict = {0};
    conform_result ignored = {0}; /* whether the op is right is for its rows to say */
    nlm_watch_start(&watch);
    for (int i = 0; i < 2; i++) {
        nlm_leftovers_start(&before);
        conform_run_case(r->pools, r->device, r->options, name, &ignored);
    }
    *out_is_taken = ignored.verdict != CONFORM_UNSUPPORTED;
    if (!nlm_watch_check(&watch, name, &verdict) || !nlm_leftovers_check(&before, name, &verdict))
        return conform_fail(r->result, "%s", verdict.reason);
    return abi_output_is_empty(&r->output) ||
           conform_fail(r->result, "%s prints to standard output or standard error; a plugin may only log", name);
}

enum { LEAK_RUNS = 8, LEAK_BYTES = 16 * LEAK_RUNS, LEAK_TRIES = 6 };

/* What an op of a stream device allocates is freed once it is done: running it again and again takes no more. A leak
 * shows every time; an allocator keeps something of some runs. */
static bool keeps_no_memory(tour *r, const char *name) {
    size_t more = 0;
    for (int i = 0; i < LEAK_TRIES; i++) {
        const size_t before = conform_allocated();
        for (int k = 0; k < LEAK_RUNS; k++) {
            conform_result ignored = {0};
            conform_run_case(r->pools, r->device, r->options, name, &ignored);
        }
        const size_t after = conform_allocated();
        if (after < before + LEAK_BYTES) return true;
        more = after - before;
    }
    return conform_fail(r->result, "%s: what it allocates is not freed: %zu bytes each time it is run", name,
                        more / LEAK_RUNS);
}

/* Of each op the first row that it takes. */
static bool visit(void *user, const spec_table *table, const char *name) {
    tour *r = user;
    bool is_taken = false;
    if (r->done == table->op || !nlm_ops_has(&r->device->ops, table->op) || strstr(name, "refuse=")) return true;
    if (!leaves_nothing(r, name, &is_taken)) return false;
    if (is_taken && !nlm_device_is_sliced(r->device) && !keeps_no_memory(r, name)) return false;
    if (is_taken) r->done = table->op;
    r->is_any_taken |= is_taken;
    return true;
}

static void run_each_op(const conform_options *options, conform_result *result) {
    nlm_plugins *plugins;
    nlm_device *device;
    conform_pools pools = {{NULL}};
    tour r = {.pools = &pools, .options = options, .result = result};
    if (lab_open_any(options, &plugins, &device, result) && abi_output_begin(&r.output, result)) {
        r.device = device;
        spec_for_each(visit, &r);
        abi_output_end(&r.output);
    }
    conform_pools_destroy(&pools);
    conform_close(plugins, device);
    if (result->verdict != CONFORM_NOT_RUN) return;
    result->verdict = r.is_any_taken ? CONFORM_PASSED : CONFORM_NOT_OFFERED;
    if (!r.is_any_taken) snprintf(result->message, sizeof result->message, "an op");
}

static void *return_at_once(void *user) {
    return user;
}

void conform_make_first_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, return_at_once, NULL) == 0) pthread_join(thread, NULL);
}

void abi_rule_slots(const conform_options *options, conform_result *result) {
    nlm_leftovers before;
    nlm_verdict verdict = {0};
    conform_make_first_thread();
    nlm_leftovers_start(&before);
    run_each_op(options, result);
    if (result->verdict != CONFORM_PASSED) return;
    if (!nlm_leftovers_check(&before, "close, after its ops have run,", &verdict))
        conform_fail(result, "%s", verdict.reason);
}

/* ---- packing ------------------------------------------------------------------------------- */

/* A weight that two threads pack, of which the first is held up in the middle of a row until the second is done. */
typedef struct meeting {
    const nlm_device_v1 *api;
    nlm_tensor w;
    uint32_t layout, role;
    nlm_pack_info_v1 info;
    uint8_t *packed;
    nlm_status statuses[2];
} meeting;

static atomic_bool is_first_halfway, is_second_done;

/* Not for ever: the plugin may let one thread wait for the other. */
static void wait_a_while(const atomic_bool *until) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    for (int i = 0; i < 200 && !atomic_load(until); i++) nanosleep(&millisecond, NULL);
}

static void arrive(void) {
    atomic_store(&is_first_halfway, true);
    wait_a_while(&is_second_done);
}

static void pack_half(void *user, uint32_t ith, uint32_t nth) {
    meeting *m = user;
    const int64_t rows = m->w.shape[0], step = m->info.row_multiple > 0 ? m->info.row_multiple : 1;
    const int64_t middle = rows / 2 / step * step;
    (void)nth;
    guard_watch_thread();
    if (ith == 1) wait_a_while(&is_first_halfway);
    m->statuses[ith] =
        m->api->pack(m->api->self, &m->w, m->layout, m->role, ith ? middle : 0, ith ? rows : middle, m->packed, NULL);
    atomic_store(ith ? &is_second_done : &is_first_halfway, true);
}

static bool pack_together(meeting *m, nlm_pool *pool, const uint8_t *expected, conform_result *result) {
    atomic_store(&is_first_halfway, false);
    atomic_store(&is_second_done, false);
    nlm_pool_run(pool, pack_half, m);
    for (int i = 0; i < 2; i++) {
        if (m->statuses[i] != NLM_OK)
            return conform_fail(result, "pack from two threads at once fails: %s", nlm_status_text(m->statuses[i]));
    }
    return memcmp(m->packed, expected, m->info.bytes) == 0 ||
           conform_fail(result, "pack gives other bytes from two threads at once than from one");
}

static bool meet(meeting *m, conform_pools *pools, conform_result *result) {
    nlm_pool *pool;
    guard_block source;
    nlm_error err = NLM_ERROR_INIT;
    const uint64_t bytes = (uint64_t)(m->w.shape[0] * m->w.stride_bytes[0]);
    uint8_t *expected = calloc(1, m->info.bytes);
    m->packed = calloc(1, m->info.bytes);
    bool is_good = (expected && m->packed && conform_pool(pools, 2, &pool, &err) == NLM_OK &&
                    guard_alloc(&source, "w", bytes, 64, true)) ||
                   conform_fail(result, "no memory for a rule");
    if (is_good) {
        memcpy(source.data, m->w.data, bytes);
        m->w.data = source.data;
        is_good = m->api->pack(m->api->self, &m->w, m->layout, m->role, 0, m->w.shape[0], expected, &err) == NLM_OK ||
                  conform_fail(result, "pack: %s", err.msg);
        guard_trap(&source, arrive);
        is_good = is_good && pack_together(m, pool, expected, result);
        guard_free(&source);
    }
    free(expected);
    free(m->packed);
    return is_good;
}

static bool pack_case(conform_pools *pools, const nlm_device *device, const conform_options *options,
                      const char *name, conform_result *result) {
    spec_case c;
    spec_instance in;
    nlm_caps_v1 caps;
    nlm_error err = NLM_ERROR_INIT;
    bool is_good = true;
    if (spec_parse(name, &c, &err) != NLM_OK || spec_build(&c, (uint64_t)options->seed, &in, &err) != NLM_OK)
        return conform_fail(result, "%s", err.msg);
    const spec_tensor *w = spec_find(&in, "w");
    const bool is_taken = nlm_device_query(device, c.op, &in.args, 1, &caps) == NLM_OK;
    if (is_taken && caps.weight_layout[0] != NLM_LAYOUT_ROW_MAJOR && device->api.pack) {
        meeting m = {.api = &device->api, .w = w->desc, .layout = caps.weight_layout[0], .role = w->field->role};
        m.info.struct_size = sizeof m.info;
        is_good = m.api->pack_size(m.api->self, &m.w, m.layout, m.role, &m.info, &err) == NLM_OK
                      ? meet(&m, pools, result)
                      : conform_fail(result, "pack_size: %s", err.msg);
        if (is_good) result->verdict = CONFORM_PASSED;
    }
    spec_release(&in);
    return is_good;
}

void abi_rule_packing(const conform_options *options, conform_result *result) {
    /* A page does not end where a row does. */
    static const char *const cases[] = {"matmul/M=1,K=1376,N=130,w:f32",  "matmul/M=1,K=1376,N=130,w:f16",
                                        "matmul/M=1,K=1376,N=130,w:q8_0", "matmul/M=1,K=1376,N=130,w:q4_0",
                                        "matmul/M=1,K=1280,N=130,w:q4_k", "matmul/M=1,K=1280,N=130,w:q6_k"};
    nlm_plugins *plugins;
    nlm_device *device;
    conform_pools pools = {{NULL}};
    bool is_good = lab_open_any(options, &plugins, &device, result);
    for (size_t i = 0; is_good && i < sizeof cases / sizeof *cases; i++) {
        is_good = pack_case(&pools, device, options, cases[i], result);
    }
    if (is_good && result->verdict != CONFORM_PASSED) {
        result->verdict = CONFORM_NOT_OFFERED;
        snprintf(result->message, sizeof result->message, "packed weights");
    }
    conform_pools_destroy(&pools);
    conform_close(plugins, device);
}
