/* The fake stream device by itself: two streams and a buffer of a few numbers. */
#ifndef NLM_TESTS_FAKE_RIG_H
#define NLM_TESTS_FAKE_RIG_H

#include "plugin/plugins.h"
#include "unit/check.h"
#include "unit/fake_fixture.h"

#include <string.h>

enum { N_NUMBERS = 8, BYTES = N_NUMBERS * 4 };

typedef struct rig {
    nlm_plugins *plugins;
    nlm_device *device;
    const nlm_device_v1 *api;
    const nlm_capture_v1 *capture;
    void *streams[2];
    uint64_t buffer;
    void *address;
} rig;

#define OK(call)                                                 \
    do {                                                         \
        nlm_error ok_err_ = NLM_ERROR_INIT, *error = &ok_err_;   \
        const nlm_status ok_status_ = (call);                    \
        if (ok_status_ != NLM_OK) printf("\n  %s", ok_err_.msg); \
        CU_ASSERT_EQUAL_FATAL(ok_status_, NLM_OK);               \
    } while (0)

/* options: key, value, ..., NULL; or NULL. */
static inline rig open_rig(const char *const *options) {
    rig r = {0};
    const nlm_plugins_options registry = {.registry = FAKE_REGISTRY};
    OK(nlm_plugins_create(&registry, &r.plugins, error));
    OK(nlm_plugins_open(r.plugins, "fake_stream", 0, options, &r.device, error));
    r.api = &r.device->api;
    r.capture = &r.device->capture;
    for (int i = 0; i < 2; i++) OK(r.api->stream_create(r.api->self, &r.streams[i], error));
    OK(r.api->buffer_alloc(r.api->self, BYTES, &r.buffer, &r.address, error));
    return r;
}

static inline rig open_rig_with(const char *key, const char *value) {
    const char *const options[] = {key, value, NULL};
    return open_rig(options);
}

static inline void close_rig(rig *r) {
    r->api->buffer_free(r->api->self, r->buffer);
    for (int i = 0; i < 2; i++) r->api->stream_destroy(r->api->self, r->streams[i]);
    nlm_device_close(r->device);
    nlm_plugins_destroy(r->plugins);
}

static inline uint32_t read_now(const rig *r) {
    uint32_t value = 0;
    OK(r->api->download(r->api->self, NULL, r->buffer, 0, &value, sizeof value, error));
    return value;
}

static inline void write_on(const rig *r, int stream, const uint32_t *value) {
    OK(r->api->upload(r->api->self, r->streams[stream], r->buffer, 0, value, sizeof *value, error));
}

/* A column of so many of the rig's numbers. */
static inline nlm_tensor column(const rig *r, int64_t rows) {
    return (nlm_tensor){.data = r->address,
                        .buffer = r->buffer,
                        .dtype = NLM_F32,
                        .rank = 2,
                        .shape = {rows, 1, 1, 1},
                        .stride_bytes = {4, 4, 0, 0},
                        .row_kind = NLM_ROWS_TOKENS};
}

/* Doubles x in place; the call's own structs are gone when it returns. */
static inline nlm_status scale_by_two(const rig *r, const nlm_tensor *x, nlm_exec_v1 exec, nlm_error *err) {
    const nlm_scale_args args = {.struct_size = sizeof args, .x = x, .factor = 2, .y = x};
    exec.struct_size = sizeof exec;
    exec.nth = 1;
    exec.device = r->api->self;
    exec.error = err;
    return r->device->ops.scale(&exec, &args);
}

static inline nlm_status prepare_scale(const rig *r, const nlm_tensor *x, nlm_error *err) {
    const nlm_scale_args args = {.struct_size = sizeof args, .x = x, .factor = 2, .y = x};
    return r->api->prepare(r->api->self, NLM_OP_scale, &args, 1, err);
}

#endif
