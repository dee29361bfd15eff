/* Failing on demand. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake.h"

nlm_status fake_fail(nlm_error *error, nlm_status status, const char *format, ...) {
    if (!error) return status;
    va_list args;
    error->code = status;
    error->native_code = 0;
    snprintf(error->where, sizeof error->where, "%s", FAKE_NAME);
    va_start(args, format);
    vsnprintf(error->msg, sizeof error->msg, format, args);
    va_end(args);
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

static uint64_t read_number(const nlm_host_v1 *host, const char *key) {
    const char *text = host->option(host->self, key);
    return text ? strtoull(text, NULL, 10) : 0;
}

void fake_read_options(fake_device *device) {
    const nlm_host_v1 *host = device->host;
    device->fail_call = read_number(host, "fail_call");
    device->fail_alloc = read_number(host, "fail_alloc");
    device->fail_work = read_number(host, "fail_work");
    device->lost_call = read_number(host, "lost_call");
    device->status = read_number(host, "status");
    device->is_silent = read_number(host, "silent") != 0;
    device->wants_packed = read_number(host, "pack") != 0;
    device->random = read_number(host, "seed") * 2 + 1;
    device->refuse = host->option(host->self, "refuse");
    device->spoil = host->option(host->self, "spoil");
    if (!device->refuse) device->refuse = "";
    if (!device->spoil) device->spoil = "";
}

static nlm_status fail_as_told(const fake_device *device, nlm_error *error, nlm_status status, const char *text) {
    fake_log(device, NLM_LOG_INFO, "fault: %s", text);
    if (device->status) status = (nlm_status)device->status;
    return device->is_silent ? status : fake_fail(error, status, "%s", text);
}

nlm_status fake_enter(fake_device *device, const char *call, nlm_error *error) {
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

nlm_status fake_enter_alloc(fake_device *device, uint64_t bytes, nlm_error *error) {
    char text[128];
    if (++device->allocs != device->fail_alloc) return NLM_OK;
    snprintf(text, sizeof text, "no %" PRIu64 " bytes for allocation %" PRIu64, bytes, device->allocs);
    return fail_as_told(device, error, NLM_OUT_OF_MEMORY, text);
}

nlm_status fake_enter_work(fake_device *device, nlm_error *error) {
    char text[128];
    if (++device->works != device->fail_work) return NLM_OK;
    snprintf(text, sizeof text, "work %" PRIu64 " of the streams was told to fail", device->works);
    return fail_as_told(device, error, NLM_DEVICE_ERROR, text);
}
