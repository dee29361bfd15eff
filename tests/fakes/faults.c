/* Failing on demand, and telling the host what it did wrong. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

static void write_error(nlm_error *error, nlm_status status, const char *text) {
    if (!error) return;
    error->code = status;
    error->native_code = 0;
    snprintf(error->where, sizeof error->where, "%s", FAKE_NAME);
    snprintf(error->msg, sizeof error->msg, "%s", text);
}

nlm_status fake_fail(nlm_error *error, nlm_status status, const char *format, ...) {
    char text[sizeof error->msg];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    write_error(error, status, text);
    return status;
}

void fake_log(const fake_device *device, int32_t level, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    device->host->log(device->host->self, level, text);
}

nlm_status fake_blame(const fake_device *device, nlm_error *error, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    device->host->log(device->host->self, NLM_LOG_ERROR, text);
    write_error(error, NLM_INVALID_ARGUMENT, text);
    return NLM_INVALID_ARGUMENT;
}

/* ---- options ---- */

static uint64_t read_number(const nlm_host_v1 *host, const char *key, uint64_t otherwise) {
    const char *text = host->option(host->self, key);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static const char *read_text(const nlm_host_v1 *host, const char *key, const char *otherwise) {
    const char *text = host->option(host->self, key);
    return text ? text : otherwise;
}

uint32_t fake_count_devices(const nlm_host_v1 *host) {
    const uint64_t count = read_number(host, "devices", 1);
    return count < FAKE_MAX_DEVICES ? (uint32_t)count : FAKE_MAX_DEVICES;
}

bool fake_is_listed(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = strstr(list, word); at; at = strstr(at + 1, word)) {
        const bool begins = at == list || at[-1] == ' ';
        if (begins && (at[length] == ' ' || at[length] == 0)) return true;
    }
    return false;
}

static uint32_t read_claims(const nlm_host_v1 *host) {
    static const struct {
        const char *word;
        uint32_t flag;
    } words[] = {{"deterministic", NLM_DEVICE_DETERMINISTIC},
                 {"batch", NLM_DEVICE_BATCH_INVARIANT},
                 {"replay", NLM_DEVICE_REPLAY_EXACT},
                 {"f16", NLM_DEVICE_F16_ACTIVATIONS},
                 {"bf16", NLM_DEVICE_BF16_ACTIVATIONS}};
    const char *list = read_text(host, "claims", "deterministic batch replay");
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (fake_is_listed(list, words[i].word)) flags |= words[i].flag;
    }
    return flags;
}

void fake_read_options(fake_device *device) {
    const nlm_host_v1 *host = device->host;
    device->fail_call = read_number(host, "fail_call", 0);
    device->fail_alloc = read_number(host, "fail_alloc", 0);
    device->fail_work = read_number(host, "fail_work", 0);
    device->lost_call = read_number(host, "lost_call", 0);
    device->lost_work = read_number(host, "lost_work", 0);
    device->status = read_number(host, "status", 0);
    device->max_parts = read_number(host, "parts", UINT64_MAX);
    device->is_silent = read_number(host, "silent", 0) != 0;
    device->goes_on = read_number(host, "go_on", 0) != 0;
    device->wants_packed = read_number(host, "pack", 0) != 0;
    device->packs_itself = read_number(host, "pack_device", 1) != 0;
    device->must_be_prepared = read_number(host, "prepared", 0) != 0;
    device->is_alone = read_number(host, "alone", 0) != 0;
    device->random = read_number(host, "seed", 0) * 2 + 1;
    device->claims = read_claims(host);
    device->is_shared = read_number(host, "shared", 0) != 0;
    device->refuse = read_text(host, "refuse", "");
    device->without = read_text(host, "without", "");
    device->spoil = read_text(host, "spoil", "");
    device->lose_op = read_text(host, "lose_op", "");
    device->lie = read_text(host, "lie", "");
}

/* ---- faults ---- */

bool fake_lies(const fake_device *device, const char *how) {
    return strcmp(device->lie, how) == 0;
}

static nlm_status fail_as_told(fake_device *device, nlm_error *error, nlm_status status, const char *text) {
    fake_log(device, NLM_LOG_INFO, "fault: %s", text);
    if (device->status) status = (nlm_status)device->status;
    if (status == NLM_DEVICE_LOST) device->is_lost = true;
    if (!device->is_silent) write_error(error, status, text);
    return status;
}

static nlm_status fault_of_call(fake_device *device, const char *call, nlm_error *error) {
    char text[128];
    device->calls++;
    if (device->is_lost) return fake_fail(error, NLM_DEVICE_LOST, "%s: the device is lost", call);
    snprintf(text, sizeof text, "%s, call %" PRIu64 ", was told to fail", call, device->calls);
    if (device->calls == device->fail_call) return fail_as_told(device, error, NLM_DEVICE_ERROR, text);
    if (device->calls != device->lost_call) return NLM_OK;
    device->is_lost = true;
    snprintf(text, sizeof text, "the device was lost in %s, call %" PRIu64, call, device->calls);
    return fail_as_told(device, error, NLM_DEVICE_LOST, text);
}

nlm_status fake_leave(fake_device *device, nlm_status status) {
    if (status != NLM_OK && device->recorder) device->recorder->is_broken = true;
    return status;
}

nlm_status fake_enter(fake_device *device, const char *call, nlm_error *error) {
    const nlm_status status = fault_of_call(device, call, error);
    if (status != NLM_OK || !device->recorder) return fake_leave(device, status);
    return fake_leave(device, fake_blame(device, error, "%s is called while a stream records", call));
}

static bool is_own(const fake_device *device, const void *stream) {
    const fake_stream *s = device->streams;
    while (s && s != stream) s = s->next;
    return s != NULL;
}

nlm_status fake_enter_on(fake_device *device, const void *stream, const char *call, nlm_error *error) {
    const fake_stream *recorder = device->recorder;
    const nlm_status status = fault_of_call(device, call, error);
    if (status != NLM_OK) return fake_leave(device, status);
    if (stream && !is_own(device, stream)) {
        return fake_leave(device, fake_blame(device, error, "%s: not a stream of this device", call));
    }
    if (!recorder) return NLM_OK;
    if (stream != recorder) {
        return fake_leave(device, fake_blame(device, error, "%s: %s while a stream records", call,
                                             stream ? "another stream is used" : "it is called without a stream"));
    }
    if (!recorder->is_broken) return NLM_OK;
    return fake_blame(device, error, "%s: a call has failed while the stream recorded, which is to be aborted", call);
}

void fake_enter_free(fake_device *device, const char *call) {
    if (device->recorder && !device->is_lost) {
        fake_leave(device, fake_blame(device, NULL, "%s is called while a stream records", call));
    }
}

nlm_status fake_enter_alloc(fake_device *device, uint64_t bytes, nlm_error *error) {
    char text[128];
    if (++device->allocs != device->fail_alloc) return NLM_OK;
    snprintf(text, sizeof text, "no %" PRIu64 " bytes for allocation %" PRIu64, bytes, device->allocs);
    return fail_as_told(device, error, NLM_OUT_OF_MEMORY, text);
}

nlm_status fake_enter_work(fake_device *device, nlm_error *error) {
    char text[128];
    const uint64_t number = ++device->works;
    if (number == device->fail_work) {
        snprintf(text, sizeof text, "work %" PRIu64 " of the streams was told to fail", number);
        return fail_as_told(device, error, NLM_DEVICE_ERROR, text);
    }
    if (number != device->lost_work) return NLM_OK;
    device->is_lost = true;
    snprintf(text, sizeof text, "the device was lost in work %" PRIu64 " of the streams", number);
    return fail_as_told(device, error, NLM_DEVICE_LOST, text);
}
