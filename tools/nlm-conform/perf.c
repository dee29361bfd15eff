/* How long ops take: on the host's threads in one parallel region, as when a graph runs, each run between two
 * barriers; on a stream device as perf_stream.c says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "exec/dispatch.h"
#include "exec/program_impl.h"
#include "perf.h"

enum { MIN_RUNS = 3, COLD_RUNS = 5 };
#define HOT_NS  UINT64_C(50000000)
#define COLD_NS UINT64_C(300000000)

typedef struct timing {
    uint64_t hot_ns, cold_ns;
    nlm_cost cost;
} timing;

/* ---- running ---- */

typedef struct bench_worker {
    bench *bench;
    uint32_t ith;
    uint64_t op;
} bench_worker;

static nlm_status wait_for_all(const nlm_exec_v1 *x) {
    const bench_worker *w = x->host;
    return nlm_pool_barrier(w->bench->pool, w->ith);
}

static uint32_t claim(const nlm_exec_v1 *x, uint32_t of) {
    const bench_worker *w = x->host;
    return nlm_pool_claim(w->bench->pool, of, w->op);
}

/* Writes to this worker's part of the memory, so that the caches hold that and nothing else. */
static void sweep(const bench *b, uint32_t ith, uint32_t nth) {
    const uint64_t from = b->sweep_bytes / nth * ith, to = b->sweep_bytes / nth * (ith + 1);
    for (uint64_t i = from; b->sweep && i < to; i += 64) b->sweep[i]++;
}

static void run_region(void *user, uint32_t ith, uint32_t nth) {
    bench *b = user;
    bench_worker self = {b, ith, b->first_op};
    nlm_error error = NLM_ERROR_INIT;
    const nlm_exec_v1 x = {.struct_size = sizeof x,
                           .ith = ith,
                           .nth = nth,
                           .device = b->device->api.self,
                           .workspace = b->workspace,
                           .workspace_bytes = b->caps.workspace_bytes,
                           .scratch = b->scratch ? (char *)b->scratch + ith * b->scratch_stride : NULL,
                           .scratch_bytes = b->caps.scratch_bytes,
                           .live_rows = b->in.live,
                           .barrier = wait_for_all,
                           .host = &self,
                           .error = &error,
                           .claim = claim};
    for (int i = 0; i < b->runs; i++, self.op++) {
        sweep(b, ith, nth);
        if (nlm_pool_barrier(b->pool, ith) != NLM_OK) return;
        const uint64_t start = nlm_clock_ns();
        const nlm_status status = nlm_dispatch(b->device, b->in.c.op, &x, &b->args);
        if (status != NLM_OK) {
            int none = NLM_OK;
            if (status != NLM_CANCELLED && atomic_compare_exchange_strong(&b->status, &none, status))
                b->error = error;
            nlm_pool_break(b->pool);
            return;
        }
        if (nlm_pool_barrier(b->pool, ith) != NLM_OK) return;
        if (ith == 0) b->times[i] = nlm_clock_ns() - start;
    }
}

static int compare_times(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static nlm_status median_of(bench *b, int runs, uint64_t *out_ns, nlm_error *err) {
    b->runs = runs < MIN_RUNS ? MIN_RUNS : runs > PERF_MAX_RUNS ? PERF_MAX_RUNS : runs;
    if (b->queue) atomic_store(&b->status, perf_stream_run(b, &b->error));
    if (!b->queue) b->first_op = nlm_pool_count_ops(b->pool, (uint32_t)b->runs);
    if (!b->queue) nlm_pool_run(b->pool, run_region, b);
    const nlm_status status = atomic_load(&b->status);
    if (status != NLM_OK) return nlm_fail(err, status, b->in.c.name, "%s", b->error.msg);
    qsort(b->times, (size_t)b->runs, sizeof *b->times, compare_times);
    *out_ns = b->times[b->runs / 2];
    return NLM_OK;
}

static nlm_status measure(bench *b, uint8_t *cold_memory, uint64_t cold_bytes, timing *out, nlm_error *err) {
    uint64_t first = 0;
    NLM_TRY(median_of(b, MIN_RUNS, &first, err));
    NLM_TRY(median_of(b, (int)(HOT_NS / (first + 1) < PERF_MAX_RUNS ? HOT_NS / (first + 1) : PERF_MAX_RUNS),
                      &out->hot_ns, err));
    b->sweep = cold_memory;
    b->sweep_bytes = cold_bytes;
    b->is_cold = true;
    NLM_TRY(median_of(b, first * COLD_RUNS < COLD_NS ? COLD_RUNS : MIN_RUNS, &out->cold_ns, err));
    const nlm_step step = {.op = b->in.c.op, .device = (nlm_device *)b->device, .args = b->args};
    out->cost = nlm_step_cost(&step, b->in.live);
    return NLM_OK;
}

/* ---- placing ---- */

static void *take(uint64_t bytes) {
    return aligned_alloc(4096, (bytes + 4095) / 4096 * 4096 + 4096);
}

static nlm_status pack_weight(bench *b, int i, uint32_t layout, nlm_error *err) {
    const nlm_device_v1 *api = &b->device->api;
    const spec_tensor *t = &b->in.tensors[i];
    const uint32_t role = t->field->role;
    nlm_pack_info_v1 info = {.struct_size = sizeof info};
    NLM_TRY(api->pack_size(api->self, &t->desc, layout, role, &info, err));
    b->bytes[i] = info.bytes;
    b->memory[i] = take(info.bytes);
    if (!b->memory[i]) return nlm_fail(err, NLM_OUT_OF_MEMORY, b->in.c.name, "no memory for %s", t->field->name);
    b->descs[i].data = b->memory[i];
    b->descs[i].layout = layout;
    return api->pack(api->self, &t->desc, layout, role, 0, t->desc.shape[0], b->memory[i], err);
}

static nlm_status place(bench *b, nlm_error *err) {
    b->args = b->in.args;
    for (int i = 0; i < b->in.n_tensors; i++) {
        const spec_tensor *t = &b->in.tensors[i];
        const int weight = nlm_weight_index(b->in.c.spec, t->field);
        const uint32_t layout = weight < 0 ? NLM_LAYOUT_ROW_MAJOR : b->caps.weight_layout[weight];
        b->descs[i] = t->desc;
        nlm_args_set_tensor(&b->args, t->field, &b->descs[i]);
        if (layout != NLM_LAYOUT_ROW_MAJOR) {
            NLM_TRY(pack_weight(b, i, layout, err));
            continue;
        }
        b->bytes[i] = t->bytes;
        b->memory[i] = take(t->bytes);
        if (!b->memory[i]) return nlm_fail(err, NLM_OUT_OF_MEMORY, b->in.c.name, "no memory for %s", t->field->name);
        memcpy(b->memory[i], t->image, t->bytes);
        b->descs[i].data = b->memory[i];
    }
    b->scratch_stride = (b->caps.scratch_bytes + 4095) / 4096 * 4096;
    b->workspace = take(b->caps.workspace_bytes);
    b->scratch = take(b->scratch_stride * nlm_pool_threads(b->pool));
    if (!b->workspace || !b->scratch) return nlm_fail(err, NLM_OUT_OF_MEMORY, b->in.c.name, "no memory");
    return b->queue ? perf_stream_place(b, err) : NLM_OK;
}

static void release(bench *b) {
    if (b->queue) perf_stream_release(b);
    for (int i = 0; i < NLM_OP_MAX_FIELDS; i++) free(b->memory[i]);
    free(b->workspace);
    free(b->scratch);
    spec_release(&b->in);
}

/* ---- all cases ---- */

typedef struct perf {
    const conform_options *options;
    const nlm_device *device;
    nlm_pool *pool;
    perf_queue queue; /* of a stream device */
    uint8_t *cold_memory;
    uint64_t cold_bytes;
    size_t n_timed, n_unsupported;
    nlm_status status;
    nlm_error *err;
} perf;

/* Cases that can run again and again on what they left. */
static bool is_timed(const spec_case *c) {
    if (c->bad != SPEC_BAD_none || c->refuse != SPEC_REFUSE_nothing) return false;
    for (uint32_t i = 0; i < c->spec->n_fields; i++) {
        if (c->fields[i].is_present && c->fields[i].in_place >= 0) return false;
    }
    return true;
}

static void print_case(perf *p, const char *name, const timing *t) {
    const double hot = (double)t->hot_ns, cold = (double)t->cold_ns;
    const double bytes = (double)t->cost.bytes, flop = (double)t->cost.flop;
    if (p->options->is_json) {
        printf("%s\n{\"name\": \"%s\", \"bytes\": %.0f, \"flop\": %.0f, \"hot_ns\": %.0f, \"cold_ns\": %.0f}",
               p->n_timed ? "," : "", name, bytes, flop, hot, cold);
    } else {
        printf("%11.2f %7.2f %8.2f  %11.2f %7.2f %8.2f  %s\n", hot / 1e3, bytes / hot, flop / hot, cold / 1e3,
               bytes / cold, flop / cold, name);
    }
    fflush(stdout);
    p->n_timed++;
}

static nlm_status time_case(perf *p, const char *name, nlm_error *err) {
    spec_case c;
    bench b = {.pool = p->pool, .device = p->device, .error = NLM_ERROR_INIT};
    const uint32_t nth = p->queue.device ? 1 : nlm_pool_threads(p->pool);
    timing t = {0};
    NLM_TRY(spec_parse(name, &c, err));
    if (!is_timed(&c)) return NLM_OK;
    NLM_TRY(spec_build(&c, (uint64_t)p->options->seed, &b.in, err));
    if (p->queue.device) b.queue = &p->queue;
    nlm_status status = NLM_OK;
    if (b.in.live_rows == 0) {
        status = NLM_OK; /* nothing to time */
    } else if (nlm_device_query(p->device, c.op, &b.in.args, nth, &b.caps) != NLM_OK) {
        p->n_unsupported++;
    } else {
        status = place(&b, err);
        if (status == NLM_OK) status = measure(&b, p->cold_memory, p->cold_bytes, &t, err);
        if (status == NLM_OK) print_case(p, name, &t);
    }
    release(&b);
    return status;
}

static bool visit(void *user, const spec_table *table, const char *name) {
    perf *p = user;
    if (!conform_matches(p->options->filter, name)) return true;
    if (p->options->level != CONFORM_ALL_LEVELS && spec_level(table->op) > p->options->level) return true;
    p->status = time_case(p, name, p->err);
    return p->status == NLM_OK;
}

/* Twice the last level of cache, as far as it is known. */
static uint64_t choose_cold_bytes(void) {
    const uint64_t least = UINT64_C(64) << 20, most = UINT64_C(512) << 20;
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const uint64_t bytes = cache > 0 ? 2 * (uint64_t)cache : least;
    return bytes < least ? least : bytes > most ? most : bytes;
}

static nlm_status time_all(perf *p, nlm_error *err) {
    const nlm_pool_options pool = {.threads = (uint32_t)p->options->threads, .bind_caller = true};
    NLM_TRY(nlm_pool_create(&pool, &p->pool, err));
    p->cold_bytes = choose_cold_bytes();
    p->cold_memory = calloc(p->cold_bytes, 1);
    if (!p->cold_memory) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory to flush the caches with");
    if (!nlm_device_is_sliced(p->device)) NLM_TRY(perf_queue_open(p->device, p->cold_bytes, &p->queue, err));
    if (p->options->is_json) {
        printf("{\"threads\": %u, \"cases\": [", nlm_pool_threads(p->pool));
    } else {
        const char *how = p->queue.events[0] ? "timed by its events"
                          : p->queue.device  ? "timed by the host's clock, call and sync included"
                                             : nlm_pool_reason(p->pool);
        printf("%s, %s; medians; cold: after writing %llu MiB\n", p->device->info.name, how,
               (unsigned long long)(p->cold_bytes >> 20));
        printf("     hot us    GB/s  GFLOP/s      cold us    GB/s  GFLOP/s  case\n");
    }
    spec_for_each(visit, p);
    if (p->status == NLM_OK) spec_for_each_large(visit, p);
    if (p->options->is_json) printf("\n]}\n");
    if (p->status == NLM_OK && p->n_timed == 0) {
        return nlm_fail(err, NLM_NOT_FOUND, "--perf", "no case was timed: %zu are not supported", p->n_unsupported);
    }
    if (!p->options->is_json && p->n_unsupported) printf("%zu cases are not supported\n", p->n_unsupported);
    return p->status;
}

nlm_status conform_perf(const conform_options *options, nlm_error *err) {
    nlm_plugins *plugins;
    nlm_device *device;
    nlm_status status = conform_open(options, &plugins, &device, err);
    perf p = {.options = options, .device = device, .err = err};
    if (status == NLM_OK) status = time_all(&p, err);
    perf_queue_close(&p.queue);
    free(p.cold_memory);
    if (p.pool) nlm_pool_destroy(p.pool);
    conform_close(plugins, device);
    return status;
}
