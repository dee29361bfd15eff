/* What nlm-bench is asked to do. */
#ifndef NLM_BENCH_SETTINGS_H
#define NLM_BENCH_SETTINGS_H

#include <nlm/nlm.h>
#include <stdbool.h>
#include "common/options.h"
#include "graph/graph.h"
#include "model/presets.h"

#define SETTINGS_THREADS_MAX 16
#define SETTINGS_CLIENTS_MAX 16

typedef struct settings {
    const char *model, *preset_name, *type, *logits, *threads_text;
    const char *train; /* a preset's name or a file's */
    const char *backend, *registry, *kv_type, *pack_cache, *samples_path, *save_path, *sweeps, *checkpoint;
    int64_t prompt, gen, depth, batch, repeat, warmup, forward, device_id, max_mb, probe_mb, length, rows;
    int64_t ahead;
    nlm_option_texts servers;
    const char *clients_text, *key;
    int64_t requests, timeout;
    bool is_same;
    bool is_json, is_micro, is_compare, has_barriers;
    /* derived */
    const nlm_preset *preset; /* NULL: a file */
    nlm_dtype dtype;
    nlm_recompute recompute;
    uint32_t threads[SETTINGS_THREADS_MAX];
    size_t n_threads;
    uint32_t clients[SETTINGS_CLIENTS_MAX];
    size_t n_clients;
    bool has_all_logits, has_no_mmap;
} settings;

extern const nlm_command nlm_bench_command;

/* NLM_OPTIONS_GO_ON, or the exit code after something was told. Operands stay in argv from *out_first. */
int settings_read(int argc, char **argv, int *out_first, settings *out);

/* An engine with so many threads (0: the default), bound as a program of its own is. */
nlm_status settings_open_engine(const settings *set, uint32_t threads, nlm_engine **out, nlm_error *err);

#endif
