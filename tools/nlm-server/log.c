/* One line at a time, with the time in UTC. */
#include "nlm-server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/printable.h"
#include "nlm-server/json_out.h"

static struct { bool is_json, is_quiet; } how;

static const char *const levels[] = {"error", "warning", "info", "debug"};

void log_open(bool is_json, bool is_quiet) {
    how.is_json = is_json;
    how.is_quiet = is_quiet;
}

static void tell_time(char out[40]) {
    struct timespec now = {0};
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    const size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + n, 40 - n, ".%03ldZ", now.tv_nsec / 1000000);
}

/* One write a line: threads do not mix theirs. */
static void put(nlm_str *line) {
    nlm_str_puts(line, "\n");
    if (!line->has_failed) fwrite(line->data, 1, line->length, stderr);
    nlm_str_release(line);
}

static json_out begin_json(nlm_str *line, const char *time, const char *level) {
    json_out j = json_begin(line);
    json_object(&j, NULL);
    json_string(&j, "time", time);
    json_string(&j, "level", level);
    return j;
}

void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    char time[40];
    nlm_str line = {0};
    tell_time(time);
    if (how.is_json) {
        json_out j = begin_json(&line, time, levels[level & 3]);
        json_string(&j, "message", message);
        json_end_object(&j);
    } else {
        nlm_str_printf(&line, "%s %s: ", time, levels[level & 3]);
        nlm_str_printable(&line, message, strlen(message));
    }
    put(&line);
}

void log_text(int32_t level, const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_line(NULL, level, message);
}

void log_body(const char *path, const char *body, size_t length) {
    char time[40];
    nlm_str line = {0};
    tell_time(time);
    if (how.is_json) {
        json_out j = begin_json(&line, time, "info");
        json_string(&j, "path", path);
        json_bytes(&j, "body", body, length);
        json_end_object(&j);
    } else {
        nlm_str_printf(&line, "%s %s says ", time, path);
        nlm_str_printable(&line, body, length);
    }
    put(&line);
}

void log_request(const http_exchange *x) {
    char time[40];
    nlm_str line = {0};
    const http_head *head = http_request(x);
    if (how.is_quiet) return;
    tell_time(time);
    if (how.is_json) {
        json_out j = begin_json(&line, time, "info");
        json_string(&j, "peer", http_peer(x));
        json_string(&j, "method", head->method);
        json_string(&j, "path", head->path);
        json_i64(&j, "status", http_status(x));
        json_f64(&j, "seconds", http_seconds(x));
        json_u64(&j, "bytes", http_bytes(x));
        json_end_object(&j);
    } else {
        nlm_str_printf(&line, "%s %s %s ", time, http_peer(x), *head->method ? head->method : "-");
        nlm_str_printable(&line, *head->path ? head->path : "-", *head->path ? strlen(head->path) : 1);
        nlm_str_printf(&line, " %d %.3fs %lluB", http_status(x), http_seconds(x), (unsigned long long)http_bytes(x));
    }
    put(&line);
}
