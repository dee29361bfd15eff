/* The command line of nlm-bench and what follows from it. */
#include "nlm-bench/settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "common/output.h"
#include "tensor/dtype.h"

/* Of numbers whose default depends on what is measured. */
#define NOT_GIVEN (-1)

static settings given;

static const nlm_option options[] = {
    {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file to measure", &given.model, 0, 0},
    {"preset", 0, NLM_OPTION_TEXT, "NAME", "a shape with random weights, made in memory (see below)",
     &given.preset_name, 0, 0},
    {"type", 't', NLM_OPTION_TEXT, "TYPE",
     "of a preset's matrices, and of --micro's: f32 f16 bf16 q8_0 q4_0 ...\n"
     "of --train's parameters: f32, or f16 or bf16 with f32 masters\n"
     "(f32); matrices whose rows are no multiple of its block are f16",
     &given.type, 0, 0},
    {"save", 0, NLM_OPTION_TEXT, "FILE", "write the preset's GGUF file, for other programs, and measure nothing",
     &given.save_path, 0, 0},
    {"prompt", 'p', NLM_OPTION_INT, "N", "tokens of the prefill (512; 0: none)", &given.prompt, 0, 1 << 24},
    {"gen", 'n', NLM_OPTION_INT, "N", "tokens to decode after it (128; 0: none)", &given.gen, 0, 1 << 24},
    {"depth", 'd', NLM_OPTION_INT, "N", "tokens the context holds before (0)", &given.depth, 0, 1 << 24},
    {"batch", 0, NLM_OPTION_INT, "N", "sequences decoded together (1)", &given.batch, 1, 512},
    {"ahead", 0, NLM_OPTION_INT, "N",
     "decode what the model says, greedily, N tokens before the host looks,\nwhere a device can; not tokens that are "
     "given (0)",
     &given.ahead, 0, 64},
    {"forward", 0, NLM_OPTION_INT, "N", "measure a forward pass of N tokens of an empty context instead",
     &given.forward, 1, 1 << 24},
    {"logits", 0, NLM_OPTION_TEXT, "WHICH", "of --forward: all or last (all)", &given.logits, 0, 0},
    {"train", 0, NLM_OPTION_TEXT, "WHAT", "measure steps of training: a preset's name, or a GGUF file", &given.train,
     0, 0},
    {"length", 'T', NLM_OPTION_INT, "N", "of --train: tokens of a row (256)", &given.length, 1, 1 << 20},
    {"rows", 0, NLM_OPTION_INT, "N", "of --train: rows of a batch (4)", &given.rows, 1, 1 << 16},
    {"checkpoint", 0, NLM_OPTION_TEXT, "WHAT", "of --train: what is computed again: none, up or layer (none)",
     &given.checkpoint, 0, 0},
    {"server", 0, NLM_OPTION_TEXTS, "URL",
     "measure a server of OpenAI's interface, http://host:port; several\n(repeated) take turns", &given.servers, 0,
     0},
    {"clients", 0, NLM_OPTION_TEXT, "LIST", "of --server: how many ask at once, a run for each (1,8,32)",
     &given.clients_text, 0, 0},
    {"requests", 0, NLM_OPTION_INT, "N", "of --server: of each client in a repetition (2)", &given.requests, 1,
     10000},
    {"same", 0, NLM_OPTION_FLAG, NULL, "of --server: one prompt in all requests, not each its own", &given.is_same, 0,
     0},
    {"key", 0, NLM_OPTION_TEXT, "KEY", "of --server: an API key", &given.key, 0, 0},
    {"timeout", 0, NLM_OPTION_INT, "SECONDS", "of --server: one that says nothing for longer has failed (600)",
     &given.timeout, 1, 86400},
    {"repeat", 'r', NLM_OPTION_INT, "N", "repetitions (5)", &given.repeat, 1, 100000},
    {"warmup", 'w', NLM_OPTION_INT, "N", "repetitions before that are not counted (1)", &given.warmup, 0, 100000},
    {"threads", 'j', NLM_OPTION_TEXT, "LIST", "a run for each, as in 1,2,4 (0: one per physical core)",
     &given.threads_text, 0, 0},
    {"backend", 'b', NLM_OPTION_TEXT, "NAME", "the backend (the best one here; see nlm-plugins)", &given.backend, 0,
     0},
    {"device-id", 0, NLM_OPTION_INT, "N", "which device of the backend (0)", &given.device_id, 0, 1023},
    {"registry", 0, NLM_OPTION_TEXT, "FILE", "the plugins.toml to find backends in", &given.registry, 0, 0},
    {"kv-type", 0, NLM_OPTION_TEXT, "TYPE", "of the KV cache: f16, f32 or q8_0 (f16)", &given.kv_type, 0, 0},
    {"pack-cache", 0, NLM_OPTION_TEXT, "DIR", "keep packed weights in files there, for later runs (off)",
     &given.pack_cache, 0, 0},
    {"no-mmap", 0, NLM_OPTION_FLAG, NULL, "read the model into memory rather than map its file", &given.has_no_mmap,
     0, 0},
    {"micro", 0, NLM_OPTION_FLAG, NULL, "measure single ops through the backend's slots", &given.is_micro, 0, 0},
    {"sweeps", 0, NLM_OPTION_TEXT, "LIST", "of --micro: gemv,gemm,attention,scan,barrier,device (all)", &given.sweeps,
     0, 0},
    {"max-mb", 0, NLM_OPTION_INT, "N", "--micro: leave out weights and caches of more than N MB (1024)",
     &given.max_mb, 1, 1 << 20},
    {"probe-mb", 0, NLM_OPTION_INT, "N",
     "what the probe of the memory reads (four times the last cache, 128 to\n1024)", &given.probe_mb, 1, 1 << 20},
    {"barriers", 0, NLM_OPTION_FLAG, NULL, "also tell how often threads wait for each other in a step, and how long",
     &given.has_barriers, 0, 0},
    {"compare", 0, NLM_OPTION_FLAG, NULL, "print the ratios of two results: --compare A.json B.json",
     &given.is_compare, 0, 0},
    {"json", 0, NLM_OPTION_FLAG, NULL, "one JSON object on stdout (several --threads: an array)", &given.is_json, 0,
     0},
    {"samples-json", 0, NLM_OPTION_TEXT, "FILE", "also write every sample", &given.samples_path, 0, 0},
};

const nlm_command nlm_bench_command = {
    .name = "nlm-bench",
    .usage =
        "(--model FILE | --preset NAME | --train WHAT | --micro | --server URL | --compare A.json B.json) [options]",
    .summary = "Measures how fast a model or a single op runs, and how near that is to the machine's limits.",
    .details =
        "A repetition: each of --batch sequences is emptied, given --depth tokens (not timed), then --prompt\n"
        "tokens (prefill; the logits of the last alone), then all decode --gen tokens together, a given\n"
        "token a step, without sampling; with --ahead one sequence, each token the greedy choice after the last. The "
        "time to the first token is the prefill and its sampling, of one\n"
        "sequence. Between repetitions two probes run on the same threads: reading memory (several streams,\n"
        "prefetch, huge pages), and f32 multiply-adds in registers. bw_frac and peak_frac are the best\n"
        "repetition over the best probe: weights as the file has them and the cache up to the context, in\n"
        "bytes read a second; the matrices' and attention's operations a second. int8 kernels may pass the\n"
        "f32 peak, and a model that the caches hold the memory's bandwidth: cache_frac compares it with reading\n"
        "as many bytes again and again. Peak memory is read before the probes take theirs.\n"
        "A step of training goes forward and backward over the batch, takes the gradient's norm and updates\n"
        "with AdamW; a forward pass of its own beside it says how much of the time is which. Its operations are\n"
        "three times those of the forward pass: 6 an element of every matrix and token, and attention.\n"
        "With --server each client asks for one text after the other, streamed: --prompt words, --gen tokens (100 "
        "and\n"
        "64 where they are not given). Told are requests and tokens a second (the median of the repetitions), and "
        "the\n"
        "times to the first piece of text and between pieces, which are tokens where a server sends them one by "
        "one.\n"
        "\n"
        "Presets\n"
        "  Llama   llama_15m small_125m medium_350m large_1.3b (tied, 50304 tokens) tinyllama_1.1b llama_7b\n"
        "  Mamba   small default medium large (input_dim = d_model) mamba_130m mamba_370m mamba_1.4b\n"
        "Their weights are random and take their size of memory once: what was packed is freed.\n",
    .examples =
        "  nlm-bench --model model.gguf\n"
        "  nlm-bench --preset tinyllama_1.1b --type q4_0 --prompt 512 --gen 64 --threads 1,2\n"
        "  nlm-bench --preset default --prompt 0 --gen 2000 --json       # a Mamba step\n"
        "  nlm-bench --preset small_125m --forward 64 --logits all\n"
        "  nlm-bench --preset mamba_130m --type q8_0 --save mamba.gguf\n"
        "  nlm-bench --train llama_15m --rows 4 --length 256 --threads 1,2\n"
        "  nlm-bench --micro --sweeps gemv,barrier --type q8_0 --json > micro.json\n"
        "  nlm-bench --server http://127.0.0.1:8080 --server http://127.0.0.1:8081 --clients 1,8,32\n"
        "  nlm-bench --compare before.json after.json\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .max_operands = 2,
};

static settings defaults(void) {
    return (settings){.prompt = NOT_GIVEN,
                      .gen = NOT_GIVEN,
                      .requests = 2,
                      .timeout = 600,
                      .batch = 1,
                      .repeat = 5,
                      .warmup = 1,
                      .max_mb = 1024,
                      .length = 256,
                      .rows = 4};
}

static int unknown_preset(const char *option, const char *name) {
    const char *names[64];
    size_t count = 0;
    while (count < nlm_preset_count() && count < 64) {
        names[count] = nlm_preset_at(count)->name;
        count++;
    }
    const char *nearest = nlm_nearest(name, names, count);
    if (nearest) {
        return nlm_tell_usage(&nlm_bench_command, "--%s: there is no '%s'; did you mean '%s'?", option, name,
                              nearest);
    }
    return nlm_tell_usage(&nlm_bench_command, "--%s: there is no '%s'; --help lists them", option, name);
}

static int derive_type(settings *s) {
    s->dtype = NLM_F32;
    if (!s->type) return NLM_OPTIONS_GO_ON;
    if (s->model)
        return nlm_tell_usage(&nlm_bench_command, "--type is for --preset, --train and --micro; a file has its own");
    const nlm_dtype_info *info = nlm_dtype_from_name(s->type);
    if (!info || info->dtype == NLM_I32) {
        return nlm_tell_usage(&nlm_bench_command, "--type: '%s' is no type of weights", s->type);
    }
    s->dtype = info->dtype;
    return NLM_OPTIONS_GO_ON;
}

/* Numbers with commas between; *out_count 0: it is no such list. */
static void read_list(const char *at, long min, size_t most, uint32_t *out, size_t *out_count) {
    for (*out_count = 0;;) {
        char *end = NULL;
        const long value = strtol(at, &end, 10);
        const bool is_number = *at >= '0' && *at <= '9' && value >= min && value <= 1024 && (!*end || *end == ',');
        if (!is_number || *out_count == most) {
            *out_count = 0;
            return;
        }
        out[(*out_count)++] = (uint32_t)value;
        if (!*end) return;
        at = end + 1;
    }
}

static int derive_lists(settings *s) {
    const char *threads = s->threads_text ? s->threads_text : "0",
               *clients = s->clients_text ? s->clients_text : "1,8,32";
    read_list(threads, 0, SETTINGS_THREADS_MAX, s->threads, &s->n_threads);
    if (s->n_threads == 0) {
        return nlm_tell_usage(&nlm_bench_command, "--threads: '%s' is no list of up to %d numbers from 0 to 1024",
                              threads, SETTINGS_THREADS_MAX);
    }
    read_list(clients, 1, SETTINGS_CLIENTS_MAX, s->clients, &s->n_clients);
    if (s->n_clients) return NLM_OPTIONS_GO_ON;
    return nlm_tell_usage(&nlm_bench_command, "--clients: '%s' is no list of up to %d numbers from 1 to 1024",
                          clients, SETTINGS_CLIENTS_MAX);
}

static int derive_logits(settings *s) {
    if (s->logits && !s->forward) return nlm_tell_usage(&nlm_bench_command, "--logits is for --forward");
    const char *which = s->logits ? s->logits : "all";
    s->has_all_logits = strcmp(which, "all") == 0;
    if (s->has_all_logits || strcmp(which, "last") == 0) return NLM_OPTIONS_GO_ON;
    return nlm_tell_usage(&nlm_bench_command, "--logits: '%s' is neither 'all' nor 'last'", which);
}

static int derive_ahead(const settings *s) {
    if (!s->ahead || (s->batch == 1 && !s->forward && !s->train && !s->is_micro)) return NLM_OPTIONS_GO_ON;
    return nlm_tell_usage(&nlm_bench_command, "--ahead is for decoding one sequence");
}

static int derive_checkpoint(settings *s) {
    static const char *const names[] = {"none", "up", "layer"};
    if (!s->checkpoint) return NLM_OPTIONS_GO_ON;
    if (!s->train) return nlm_tell_usage(&nlm_bench_command, "--checkpoint is for --train");
    for (int i = 0; i < 3; i++) {
        if (strcmp(s->checkpoint, names[i]) != 0) continue;
        s->recompute = (nlm_recompute)i;
        return NLM_OPTIONS_GO_ON;
    }
    return nlm_tell_usage(&nlm_bench_command, "--checkpoint: '%s' is none of 'none', 'up' and 'layer'",
                          s->checkpoint);
}

static int check(settings *s, int n_operands) {
    const bool is_server = s->servers.count > 0;
    const int n_modes = !!s->model + !!s->preset_name + !!s->train + s->is_micro + s->is_compare + is_server;
    if (s->prompt == NOT_GIVEN) s->prompt = is_server ? 100 : 512;
    if (s->gen == NOT_GIVEN) s->gen = is_server ? 64 : 128;
    if (n_modes != 1) {
        return nlm_tell_usage(&nlm_bench_command,
                              "give one of --model, --preset, --train, --micro, --server and --compare");
    }
    if (n_operands != (s->is_compare ? 2 : 0)) {
        return nlm_tell_usage(&nlm_bench_command, s->is_compare ? "--compare needs two files, A.json and B.json"
                                                                : "only --compare takes operands");
    }
    if (!s->prompt && !s->gen && !s->forward) {
        return nlm_tell_usage(&nlm_bench_command, "nothing to measure: --prompt 0 and --gen 0");
    }
    if (is_server && (!s->prompt || !s->gen)) {
        return nlm_tell_usage(&nlm_bench_command, "--server: --prompt and --gen have to be 1 or more");
    }
    if (s->save_path && !s->preset_name) return nlm_tell_usage(&nlm_bench_command, "--save is for --preset");
    if (s->preset_name) {
        s->preset = nlm_preset_find(s->preset_name);
        if (!s->preset) return unknown_preset("preset", s->preset_name);
    }
    if (s->train) {
        s->preset = nlm_preset_find(s->train);
        if (!s->preset && access(s->train, F_OK) != 0) return unknown_preset("train", s->train);
    }
    const char *const inputs[] = {s->model, s->train, s->registry};
    const size_t n_inputs = sizeof inputs / sizeof *inputs;
    int code = nlm_check_output(&nlm_bench_command, "--samples-json", s->samples_path, inputs, n_inputs);
    if (code == NLM_OPTIONS_GO_ON) code = derive_type(s);
    if (code == NLM_OPTIONS_GO_ON) code = derive_lists(s);
    if (code == NLM_OPTIONS_GO_ON) code = derive_checkpoint(s);
    if (code == NLM_OPTIONS_GO_ON) code = derive_ahead(s);
    return code == NLM_OPTIONS_GO_ON ? derive_logits(s) : code;
}

int settings_read(int argc, char **argv, int *out_first, settings *out) {
    given = defaults();
    int code = nlm_options_parse(&nlm_bench_command, argc, argv, out_first);
    if (code == NLM_OPTIONS_GO_ON) code = check(&given, argc - *out_first);
    *out = given;
    return code;
}

nlm_status settings_open_engine(const settings *set, uint32_t threads, nlm_engine **out, nlm_error *err) {
    const nlm_engine_options engine_options = {.struct_size = sizeof engine_options,
                                               .flags = NLM_ENGINE_BIND_CALLER,
                                               .backend = set->backend,
                                               .device_id = (int32_t)set->device_id,
                                               .threads = threads,
                                               .registry = set->registry};
    return nlm_engine_create(&engine_options, out, err);
}
