/* Rules on recording, and on ops as a stream device enqueues them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "abi_stream.h"
#include "base/status.h"

/* ---- recording ----------------------------------------------------------------------------- */

#define CAPTURE_TRY(l, call, ...)                                                                               \
    do {                                                                                                        \
        nlm_error err_ = NLM_ERROR_INIT;                                                                        \
        if (!lab_ok((l), #call, (l)->device->capture.call((l)->self, __VA_ARGS__, &err_), &err_)) return false; \
    } while (0)

/* Words of the host into buffer 0, on into buffer 1, and a part of these back. */
static bool enqueue_all(lab *l, void *stream, uint32_t *back) {
    LAB_TRY(l, upload, stream, l->buffers[0], 0, l->words[0], LAB_BYTES);
    LAB_TRY(l, copy, stream, l->buffers[1], LAB_BYTES / 2, l->buffers[0], 0, LAB_BYTES / 2);
    LAB_TRY(l, download, stream, l->buffers[1], LAB_BYTES / 2, back, LAB_BYTES / 2);
    return true;
}

static bool load_all(lab *l) {
    for (int i = 0; i < LAB_BUFFERS; i++) {
        if (!lab_load(l, i, 0)) return false;
    }
    return true;
}

static bool expect_nothing_done(lab *l, const char *when) {
    return lab_expect(l, 0, 0, LAB_WORDS, 0, 0, 0, when) && lab_expect(l, 1, 0, LAB_WORDS, 1, 0, 0, when);
}

/* Aborted in the middle, the stream does what it is given afterwards, and nothing else. */
static bool aborts(lab *l) {
    void *stream = l->streams[0];
    if (!load_all(l)) return false;
    lab_make(l, 0, 1);
    CAPTURE_TRY(l, begin, stream);
    const bool is_recorded = enqueue_all(l, stream, l->words[2]);
    l->device->capture.abort(l->self, stream);
    if (!is_recorded) return false;
    LAB_TRY(l, sync, stream);
    if (!expect_nothing_done(l, "a recording that was aborted is done")) return false;
    if (!enqueue_all(l, stream, l->words[2])) return false;
    LAB_TRY(l, sync, stream);
    return lab_expect(l, 0, 0, LAB_WORDS, 0, 1, 0, "after abort the stream does not do its work");
}

/* On either stream, with other contents of the host's memory each time. */
static bool replays(lab *l, void *recording) {
    for (uint32_t round = 1; round <= 4; round++) {
        void *stream = l->streams[round % LAB_STREAMS];
        lab_make(l, 0, round);
        memset(l->words[2], 0, LAB_BYTES);
        CAPTURE_TRY(l, launch, recording, stream);
        if (round == 4) CAPTURE_TRY(l, launch, recording, stream); /* twice in a row */
        LAB_TRY(l, sync, stream);
        const char *what = round == 1 ? "launch does not do what was recorded"
                                      : "launched again, it does not read what memory holds when it is done";
        if (!lab_expect(l, 0, 0, LAB_WORDS, 0, round, 0, what)) return false;
        if (!lab_expect(l, 1, LAB_WORDS / 2, LAB_WORDS, 0, round, 0, what)) return false;
        if (memcmp(l->words[2], l->words[0], LAB_BYTES / 2) != 0) return conform_fail(l->result, "%s", what);
    }
    return true;
}

static bool record_all(lab *l, void **out_recording) {
    CAPTURE_TRY(l, begin, l->streams[0]);
    const bool is_recorded = enqueue_all(l, l->streams[0], l->words[2]);
    if (!is_recorded) l->device->capture.abort(l->self, l->streams[0]);
    if (!is_recorded) return false;
    CAPTURE_TRY(l, end, l->streams[0], out_recording);
    return true;
}

/* Events of a recording order its parts. */
static bool records_events(lab *l) {
    void *event = NULL, *recording = NULL;
    LAB_TRY(l, event_create, 0, &event);
    CAPTURE_TRY(l, begin, l->streams[0]);
    LAB_TRY(l, event_record, l->streams[0], event);
    LAB_TRY(l, event_wait, l->streams[0], event);
    CAPTURE_TRY(l, end, l->streams[0], &recording);
    CAPTURE_TRY(l, launch, recording, l->streams[0]);
    LAB_TRY(l, sync, l->streams[0]);
    l->device->capture.destroy(l->self, recording);
    l->api->event_destroy(l->self, event);
    return true;
}

static bool records(lab *l) {
    void *recording = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (!nlm_device_can_capture(l->device)) return lab_not_offered(l, NLM_CAPTURE_EXTENSION);
    const nlm_status status = l->device->capture.begin(l->self, l->streams[0], &err);
    if (status == NLM_UNSUPPORTED) return lab_not_offered(l, err.msg);
    if (!lab_ok(l, "begin", status, &err)) return false;
    l->device->capture.abort(l->self, l->streams[0]); /* of nothing */
    if (!aborts(l) || !load_all(l)) return false;
    lab_make(l, 0, 9);
    if (!record_all(l, &recording)) return false;
    LAB_TRY(l, sync, NULL);
    const bool is_good = expect_nothing_done(l, "work is done while it is recorded") && replays(l, recording);
    l->device->capture.destroy(l->self, recording);
    return is_good && aborts(l) && records_events(l);
}

void abi_rule_recording(const conform_options *options, conform_result *result) {
    lab_run(options, records, result);
}

/* ---- ops ------------------------------------------------------------------------------------ */

/* Any of these will do: the first that the device takes. */
static const char *const easy_cases[] = {"add/R=6,N=33",
                                         "scale/R=6,N=33",
                                         "matmul/M=6,K=64,N=5,w:f32",
                                         "silu_mul/R=6,N=33",
                                         "mul/R=6,N=33",
                                         "rms_norm/R=6,N=33",
                                         "embed/R=6,N=33,V=9,w:f32",
                                         "softmax/R=6,N=33",
                                         "argmax/R=6,N=33",
                                         "rope/T=6,H=2,D=8",
                                         "copy/shape=6x33"};
/* Those that look up what padding holds come first. */
static const char *const padded_cases[] = {"embed/R=4,V=9,N=33,w:f32,pad=2",
                                           "kv_append/seqs=3+0+5,past=7+0+3,G=2,D=32,B=4,cache:f32,pad=3,spare=2",
                                           "conv1d_causal/seqs=3+2,past=0+0,C=16,K=4,pad=2,spare=1",
                                           "matmul/M=4,K=64,N=5,w:f32,pad=2",
                                           "rms_norm/R=4,N=33,pad=2",
                                           "silu_mul/R=4,N=33,pad=2",
                                           "add/R=4,N=33,pad=2"};
static const char *const bad_cases[] = {
    "embed/R=5,V=9,N=33,w:f32,bad=id", "kv_append/seqs=3+2,past=0+2,G=2,D=32,B=4,cache:f32,bad=page",
    "attention/seqs=3+2,past=0+2,H=2,G=1,D=32,B=4,cache:f32,bad=page",
    "conv1d_causal/seqs=3+2,past=0+0,C=16,K=4,bad=slot", "ssm_scan/seqs=3+2,past=0+0,C=16,N=16,bad=slot"};

typedef bool (*run_fn)(conform_pools *pools, const nlm_device *device, const conform_options *options,
                       const char *name, conform_result *result);

/* `what`: of which there is none if no case is taken. */
static void run_first(const conform_options *options, const char *const *cases, size_t count, run_fn run,
                      const char *what, conform_result *result) {
    nlm_plugins *plugins;
    nlm_device *device;
    conform_pools pools = {{NULL}};
    if (lab_open_device(options, &plugins, &device, result)) {
        result->verdict = CONFORM_UNSUPPORTED;
        for (size_t i = 0; i < count && result->verdict == CONFORM_UNSUPPORTED; i++) {
            run(&pools, device, options, cases[i], result);
        }
        if (result->verdict == CONFORM_UNSUPPORTED) {
            result->verdict = CONFORM_NOT_OFFERED;
            snprintf(result->message, sizeof result->message, "%s", what);
        }
    }
    conform_close(plugins, device);
}

static bool run_eager(conform_pools *pools, const nlm_device *device, const conform_options *options,
                      const char *name, conform_result *result) {
    conform_run_case(pools, device, options, name, result);
    return result->verdict == CONFORM_PASSED;
}

#define N(cases) (sizeof(cases) / sizeof *(cases))

void abi_rule_copied_calls(const conform_options *options, conform_result *result) {
    run_first(options, easy_cases, N(easy_cases), run_eager, "an op to try it with", result);
}

void abi_rule_late_errors(const conform_options *options, conform_result *result) {
    run_first(options, bad_cases, N(bad_cases), run_eager, "an op that looks up an index", result);
}

void abi_rule_recorded_ops(const conform_options *options, conform_result *result) {
    run_first(options, padded_cases, N(padded_cases), conform_replay_case, "an op to record", result);
}

/* ---- prepare -------------------------------------------------------------------------------- */

/* Of any op, twice, and the second time for others of its kind. */
static bool prepares(conform_pools *pools, const nlm_device *device, const conform_options *options, const char *name,
                     conform_result *result) {
    (void)pools;
    spec_case c;
    spec_instance in;
    nlm_error err = NLM_ERROR_INIT;
    nlm_caps_v1 caps;
    if (!device->api.prepare) return true; /* stays UNSUPPORTED */
    if (spec_parse(name, &c, &err) != NLM_OK || spec_build(&c, (uint64_t)options->seed, &in, &err) != NLM_OK) {
        return conform_fail(result, "%s", err.msg);
    }
    for (int i = 0; i < in.n_tensors; i++) in.tensors[i].desc.data = NULL;
    const bool is_taken =
        nlm_device_query(device, c.op, &in.args, 1, &caps) == NLM_OK && caps.weight_layout[0] == NLM_LAYOUT_ROW_MAJOR;
    for (int i = 0; is_taken && i < 2 && result->verdict != CONFORM_FAILED; i++) {
        const nlm_status status = device->api.prepare(device->api.self, c.op, &in.args, 1, &err);
        result->verdict = CONFORM_PASSED;
        if (status != NLM_OK) conform_fail(result, "query says yes to %s, but prepare fails: %s", name, err.msg);
    }
    spec_release(&in);
    return result->verdict == CONFORM_PASSED;
}

void abi_rule_prepare(const conform_options *options, conform_result *result) {
    run_first(options, easy_cases, N(easy_cases), prepares, "prepare", result);
}

/* ---- packing ---------------------------------------------------------------------------------- */

/* A weight of the op, in the layout that query names: packed by the host, and in two parts by the device. */
typedef struct packing {
    const nlm_device *device;
    const nlm_tensor *w;
    uint32_t layout, role;
    nlm_pack_info_v1 info;
    void *stream;
    nlm_place_v1 rows, packed;
    uint8_t *by_host, *by_device;
    conform_result *result;
} packing;

static nlm_status pack_part(packing *p, int64_t from, int64_t to, nlm_error *err) {
    const nlm_device_v1 *api = &p->device->api;
    nlm_tensor w = *p->w;
    const int64_t stride = w.stride_bytes[0];
    NLM_TRY(api->upload(api->self, NULL, p->rows.buffer, p->rows.offset, (const uint8_t *)w.data + from * stride,
                        (uint64_t)((to - from) * stride), err));
    w.data = NULL;
    NLM_TRY(api->pack_device(api->self, p->stream, &w, p->layout, p->role, from, to, &p->rows, &p->packed, err));
    return api->sync(api->self, p->stream, err);
}

static nlm_status pack_twice(packing *p, nlm_error *err) {
    const nlm_device_v1 *api = &p->device->api;
    const int64_t rows = p->w->shape[0], step = p->info.row_multiple > 0 ? p->info.row_multiple : 1;
    const int64_t middle = rows / 2 / step * step;
    p->by_host = calloc(1, p->info.bytes);
    p->by_device = calloc(1, p->info.bytes);
    if (!p->by_host || !p->by_device) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for a rule");
    NLM_TRY(api->pack(api->self, p->w, p->layout, p->role, 0, rows, p->by_host, err));
    NLM_TRY(api->stream_create(api->self, &p->stream, err));
    NLM_TRY(api->buffer_alloc(api->self, (uint64_t)(rows * p->w->stride_bytes[0]), &p->rows.buffer, &p->rows.address,
                              err));
    NLM_TRY(api->buffer_alloc(api->self, p->info.bytes, &p->packed.buffer, &p->packed.address, err));
    NLM_TRY(api->upload(api->self, NULL, p->packed.buffer, 0, p->by_device, p->info.bytes, err));
    if (middle > 0) NLM_TRY(pack_part(p, 0, middle, err));
    NLM_TRY(pack_part(p, middle, rows, err));
    return api->download(api->self, NULL, p->packed.buffer, 0, p->by_device, p->info.bytes, err);
}

static void check_packing(packing *p) {
    const nlm_device_v1 *api = &p->device->api;
    nlm_error err = NLM_ERROR_INIT;
    nlm_status status = api->pack_size(api->self, p->w, p->layout, p->role, &p->info, &err);
    if (status == NLM_OK) status = pack_twice(p, &err);
    if (status != NLM_OK && status != NLM_UNSUPPORTED) conform_fail(p->result, "pack_device: %s", err.msg);
    if (status == NLM_OK) {
        p->result->verdict = CONFORM_PASSED;
        if (memcmp(p->by_host, p->by_device, p->info.bytes) != 0)
            conform_fail(p->result, "pack_device gives other bytes than pack");
    }
    if (p->rows.buffer) api->buffer_free(api->self, p->rows.buffer);
    if (p->packed.buffer) api->buffer_free(api->self, p->packed.buffer);
    if (p->stream) api->stream_destroy(api->self, p->stream);
    free(p->by_host);
    free(p->by_device);
}

static bool packs(conform_pools *pools, const nlm_device *device, const conform_options *options, const char *name,
                  conform_result *result) {
    (void)pools;
    spec_case c;
    spec_instance in;
    nlm_error err = NLM_ERROR_INIT;
    nlm_caps_v1 caps;
    if (!device->api.pack_device || nlm_device_has_host_memory(device)) return true; /* stays UNSUPPORTED */
    if (spec_parse(name, &c, &err) != NLM_OK || spec_build(&c, (uint64_t)options->seed, &in, &err) != NLM_OK) {
        return conform_fail(result, "%s", err.msg);
    }
    const spec_tensor *w = spec_find(&in, "w");
    packing p = {.device = device, .w = &w->desc, .role = w->field->role, .result = result};
    p.info.struct_size = sizeof p.info;
    const bool is_taken = nlm_device_query(device, c.op, &in.args, 1, &caps) == NLM_OK;
    p.layout = caps.weight_layout[0];
    if (is_taken && p.layout != NLM_LAYOUT_ROW_MAJOR) check_packing(&p);
    spec_release(&in);
    return result->verdict == CONFORM_PASSED;
}

void abi_rule_pack_device(const conform_options *options, conform_result *result) {
    static const char *const cases[] = {"matmul/M=3,K=256,N=48,w:f32", "matmul/M=3,K=256,N=48,w:q8_0",
                                        "embed/R=3,V=48,N=256,w:f32"};
    run_first(options, cases, N(cases), packs, "pack_device", result);
}
