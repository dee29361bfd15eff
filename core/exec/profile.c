/* Where a run's time went, by op, layer and backend. */
#include "exec/profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "plugin/device.h"

/* A fixed table, so that adding allocates nothing: ops x layers x backends of any model fit, and what
 * does not is counted as one entry without a layer. */
#define CAPACITY       8192u
#define MAX_FILL       (CAPACITY / 4 * 3)
#define OVERFLOW_LAYER (-2)

typedef struct entry {
    const char *backend; /* NULL: free */
    nlm_op op;
    int32_t layer;
    uint64_t calls, ns, bytes, flop;
} entry;

struct nlm_profile {
    uint32_t count;
    entry entries[CAPACITY];
};

nlm_status nlm_profile_create(nlm_profile **out, nlm_error *err) {
    nlm_profile *profile = calloc(1, sizeof *profile);
    if (!profile) return nlm_fail(err, NLM_OUT_OF_MEMORY, "nlm_profile_create", "no memory for a profile");
    *out = profile;
    return NLM_OK;
}

void nlm_profile_destroy(nlm_profile *profile) {
    free(profile);
}

static uint32_t hash(nlm_op op, int32_t layer) {
    return (op * 2654435761u) ^ ((uint32_t)layer * 40503u);
}

static entry *find(nlm_profile *profile, nlm_op op, int32_t layer, const char *backend) {
    for (uint32_t i = hash(op, layer);; i++) {
        entry *e = &profile->entries[i % CAPACITY];
        if (!e->backend || (e->op == op && e->layer == layer && strcmp(e->backend, backend) == 0)) return e;
    }
}

void nlm_profile_add(nlm_profile *profile, nlm_op op, int32_t layer, const char *backend, uint64_t ns, uint64_t bytes,
                     uint64_t flop) {
    entry *e = find(profile, op, layer, backend);
    if (!e->backend && profile->count >= MAX_FILL) e = find(profile, op, OVERFLOW_LAYER, backend);
    if (!e->backend) {
        *e = (entry){.backend = backend, .op = op, .layer = layer};
        if (profile->count >= MAX_FILL) e->layer = OVERFLOW_LAYER;
        profile->count++;
    }
    e->calls++;
    e->ns += ns;
    e->bytes += bytes;
    e->flop += flop;
}

/* ---- sums -------------------------------------------------------------------------------------- */

typedef bool (*same_fn)(const entry *a, const entry *b);

static bool is_same_op(const entry *a, const entry *b) {
    return a->op == b->op && strcmp(a->backend, b->backend) == 0;
}

static bool is_same_layer(const entry *a, const entry *b) {
    return a->layer == b->layer;
}

static bool is_any(const entry *a, const entry *b) {
    (void)a;
    (void)b;
    return true;
}

static void accumulate(entry *sum, const entry *e) {
    sum->calls += e->calls;
    sum->ns += e->ns;
    sum->bytes += e->bytes;
    sum->flop += e->flop;
}

/* Sums of like entries into `out`, which has room for all; returns how many. */
static uint32_t sum_by(const nlm_profile *profile, same_fn is_same, entry *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < CAPACITY; i++) {
        const entry *e = &profile->entries[i];
        if (!e->backend) continue;
        uint32_t at = 0;
        while (at < count && !is_same(&out[at], e)) at++;
        if (at < count)
            accumulate(&out[at], e);
        else
            out[count++] = *e;
    }
    return count;
}

static int slowest_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->ns != y->ns) return x->ns > y->ns ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static int by_layer(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->layer < y->layer ? -1 : x->layer > y->layer;
}

static entry total_of(const nlm_profile *profile, entry *room) {
    return sum_by(profile, is_any, room) ? room[0] : (entry){.calls = 0};
}

static double ratio(uint64_t a, uint64_t b) {
    return b ? (double)a / (double)b : 0.0;
}

/* ---- for people ---------------------------------------------------------------------------------- */

static void print_columns(const entry *e, uint64_t total_ns, nlm_str *out) {
    nlm_str_printf(out, "%9" PRIu64 " %11.3f %6.1f%% %9.2f %9.2f\n", e->calls, (double)e->ns / 1e6,
                   100.0 * ratio(e->ns, total_ns), ratio(e->bytes, e->ns), ratio(e->flop, e->ns));
}

static void print_head(const char *first, nlm_str *out) {
    nlm_str_printf(out, "%-34s %9s %11s %7s %9s %9s\n", first, "calls", "ms", "share", "GB/s", "GFLOP/s");
}

static void print_ops(const entry *list, uint32_t count, uint64_t total_ns, nlm_str *out) {
    print_head("op", out);
    for (uint32_t i = 0; i < count; i++) {
        nlm_str_printf(out, "%-18s %-15s ", nlm_op_name(list[i].op), list[i].backend);
        print_columns(&list[i], total_ns, out);
    }
}

static void print_layers(const entry *list, uint32_t count, uint64_t total_ns, nlm_str *out) {
    print_head("layer", out);
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].layer >= 0)
            nlm_str_printf(out, "%-34" PRId32 " ", list[i].layer);
        else
            nlm_str_printf(out, "%-34s ", list[i].layer == OVERFLOW_LAYER ? "other" : "none");
        print_columns(&list[i], total_ns, out);
    }
}

void nlm_profile_print(const nlm_profile *profile, nlm_str *out) {
    entry *room = calloc(profile->count + 1u, sizeof *room);
    if (!room) {
        out->has_failed = true;
        return;
    }
    const entry total = total_of(profile, room);
    uint32_t count = sum_by(profile, is_same_op, room);
    qsort(room, count, sizeof *room, slowest_first);
    print_ops(room, count, total.ns, out);
    nlm_str_printf(out, "%-34s ", "total");
    print_columns(&total, total.ns, out);
    nlm_str_puts(out, "\n");
    count = sum_by(profile, is_same_layer, room);
    qsort(room, count, sizeof *room, by_layer);
    print_layers(room, count, total.ns, out);
    free(room);
}

/* ---- for programs -------------------------------------------------------------------------------- */

static void json_numbers(const entry *e, nlm_str *out) {
    nlm_str_printf(out, "\"calls\":%" PRIu64 ",\"ns\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"flop\":%" PRIu64, e->calls,
                   e->ns, e->bytes, e->flop);
}

void nlm_profile_json(const nlm_profile *profile, nlm_str *out) {
    entry *room = calloc(profile->count + 1u, sizeof *room);
    if (!room) {
        out->has_failed = true;
        return;
    }
    const entry total = total_of(profile, room);
    nlm_str_puts(out, "{\"total\":{");
    json_numbers(&total, out);
    nlm_str_puts(out, "},\"ops\":[");
    uint32_t count = sum_by(profile, is_same_op, room);
    qsort(room, count, sizeof *room, slowest_first);
    for (uint32_t i = 0; i < count; i++) {
        /* names of ops and backends are [a-z0-9_]+ */
        nlm_str_printf(out, "%s{\"op\":\"%s\",\"backend\":\"%s\",", i ? "," : "", nlm_op_name(room[i].op),
                       room[i].backend);
        json_numbers(&room[i], out);
        nlm_str_puts(out, "}");
    }
    nlm_str_puts(out, "],\"layers\":[");
    count = sum_by(profile, is_same_layer, room);
    qsort(room, count, sizeof *room, by_layer);
    for (uint32_t i = 0; i < count; i++) {
        if (room[i].layer >= 0)
            nlm_str_printf(out, "%s{\"layer\":%" PRId32 ",", i ? "," : "", room[i].layer);
        else
            nlm_str_printf(out, "%s{\"layer\":null,", i ? "," : "");
        json_numbers(&room[i], out);
        nlm_str_puts(out, "}");
    }
    nlm_str_puts(out, "]}");
    free(room);
}
