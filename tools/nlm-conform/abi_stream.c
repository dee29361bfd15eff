/* Rules on streams, events and device memory, none of which runs an op. */
#include "abi_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi.h"
#include "base/status.h"

enum { BUSY_BYTES = 4 << 20 };

/* ---- the device ---------------------------------------------------------------------------- */

bool lab_ok(lab *l, const char *call, nlm_status status, const nlm_error *err) {
    if (status == NLM_OK) return true;
    return conform_fail(l->result, "%s: %s", call, err->msg[0] ? err->msg : nlm_status_text(status));
}

bool lab_not_offered(lab *l, const char *what) {
    l->result->verdict = CONFORM_NOT_OFFERED;
    snprintf(l->result->message, sizeof l->result->message, "%s", what);
    return true;
}

static bool open_buffers(lab *l) {
    for (int i = 0; i < LAB_STREAMS; i++) LAB_TRY(l, stream_create, &l->streams[i]);
    for (int i = 0; i < LAB_BUFFERS; i++) {
        l->words[i] = malloc(LAB_BYTES);
        if (!l->words[i]) return conform_fail(l->result, "no memory for a rule");
        LAB_TRY(l, buffer_alloc, LAB_BYTES, &l->buffers[i], &l->addresses[i]);
    }
    void *address;
    LAB_TRY(l, buffer_alloc, BUSY_BYTES, &l->busy_buffer, &address);
    return true;
}

bool lab_open_any(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out,
                  conform_result *result) {
    abi_plugin plugin;
    static abi_host host; /* what probe was given lives as long as the plugin does: to the end of the process */
    nlm_error err = NLM_ERROR_INIT;
    *out_plugins = NULL;
    *out = NULL;
    if (!abi_load(options, &plugin, result) || !abi_host_create(&host, result)) return false;
    if (!abi_probe(&plugin, &host, result)) return false;
    return conform_open(options, out_plugins, out, &err) == NLM_OK || conform_fail(result, "%s", err.msg);
}

bool lab_open_device(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out,
                     conform_result *result) {
    if (!lab_open_any(options, out_plugins, out, result)) return false;
    if (!nlm_device_is_sliced(*out)) return true;
    result->verdict = CONFORM_NOT_OFFERED;
    snprintf(result->message, sizeof result->message, "a stream");
    return false;
}

void lab_run(const conform_options *options, lab_check check, conform_result *result) {
    lab l = {.result = result};
    result->verdict = CONFORM_NOT_RUN;
    if (lab_open_device(options, &l.plugins, &l.device, result)) {
        l.api = &l.device->api;
        l.self = l.api->self;
        if (nlm_device_has_host_memory(l.device)) {
            lab_not_offered(&l, "memory of its own");
        } else if (open_buffers(&l) && check(&l) && result->verdict == CONFORM_NOT_RUN) {
            result->verdict = CONFORM_PASSED;
        }
    }
    for (int i = 0; i < LAB_STREAMS; i++) {
        if (l.streams[i]) l.api->sync(l.self, l.streams[i], NULL); /* a rule that failed may have left work */
    }
    for (int i = 0; i < LAB_BUFFERS; i++) {
        if (l.buffers[i]) l.api->buffer_free(l.self, l.buffers[i]);
        free(l.words[i]);
    }
    if (l.busy_buffer) l.api->buffer_free(l.self, l.busy_buffer);
    for (int i = 0; i < LAB_STREAMS; i++) {
        if (l.streams[i]) l.api->stream_destroy(l.self, l.streams[i]);
    }
    conform_close(l.plugins, l.device);
}

/* ---- numbers ------------------------------------------------------------------------------- */

uint32_t lab_word(int buffer, uint32_t round, size_t index) {
    uint32_t word = (uint32_t)index * 2654435761u + (uint32_t)buffer * 40503u + round * 97u + 1;
    return word ^ (word >> 15);
}

void lab_make(lab *l, int buffer, uint32_t round) {
    for (size_t i = 0; i < LAB_WORDS; i++) l->words[buffer][i] = lab_word(buffer, round, i);
}

bool lab_load(lab *l, int buffer, uint32_t round) {
    lab_make(l, buffer, round);
    LAB_TRY(l, upload, NULL, l->buffers[buffer], 0, l->words[buffer], LAB_BYTES);
    return true;
}

bool lab_expect(lab *l, int buffer, size_t from, size_t to, int made_as, uint32_t round, size_t at,
                const char *what) {
    static uint32_t words[LAB_WORDS];
    LAB_TRY(l, download, NULL, l->buffers[buffer], from * 4, words, (to - from) * 4);
    for (size_t i = from; i < to; i++) {
        if (words[i - from] == lab_word(made_as, round, at + i - from)) continue;
        return conform_fail(l->result, "%s: word %zu of the buffer is not what it should be", what, i);
    }
    return true;
}

/* By all three kinds of transfer, as one of them may be what does not wait its turn: then the others are left to do
 * when that is done. */
bool lab_busy(lab *l, void *stream) {
    enum { HALF_BUSY = BUSY_BYTES / 2, TIMES = 4 };
    static uint8_t host[HALF_BUSY];
    for (int i = 0; i < 5 * TIMES; i++) {
        switch (i / TIMES % 3) {
            case 0: LAB_TRY(l, copy, stream, l->busy_buffer, HALF_BUSY, l->busy_buffer, 0, HALF_BUSY); break;
            case 1: LAB_TRY(l, upload, stream, l->busy_buffer, 0, host, HALF_BUSY); break;
            default: LAB_TRY(l, download, stream, l->busy_buffer, HALF_BUSY, host, HALF_BUSY); break;
        }
    }
    return true;
}

/* ---- memory -------------------------------------------------------------------------------- */

enum { HALF = LAB_WORDS / 2, ODD = 1031, SOME = 2053 }; /* words */

/* Parts of each buffer from and to odd places, each done when the call returns; the rest stays. */
static bool moves_at_once(lab *l) {
    const uint64_t told = l->device->info.alignment_bytes, alignment = told ? told : 64;
    for (int i = 0; i < LAB_BUFFERS; i++) {
        if ((uintptr_t)l->addresses[i] % alignment != 0)
            return conform_fail(l->result, "buffer_alloc gives an address that is not %llu-aligned, as describe says",
                                (unsigned long long)alignment);
        if (!lab_load(l, i, 0)) return false;
    }
    lab_make(l, 0, 1);
    LAB_TRY(l, upload, NULL, l->buffers[0], ODD * 4, l->words[0], SOME * 4);
    memset(l->words[0], 0, LAB_BYTES); /* the device has read it */
    LAB_TRY(l, copy, NULL, l->buffers[1], SOME * 4, l->buffers[0], ODD * 4, SOME * 4);
    return lab_expect(l, 0, 0, ODD, 0, 0, 0, "upload at an offset") &&
           lab_expect(l, 0, ODD, ODD + SOME, 0, 1, 0, "upload at an offset") &&
           lab_expect(l, 0, ODD + SOME, LAB_WORDS, 0, 0, ODD + SOME, "upload at an offset") &&
           lab_expect(l, 1, 0, SOME, 1, 0, 0, "copy at an offset") &&
           lab_expect(l, 1, SOME, 2 * SOME, 0, 1, 0, "copy at an offset") &&
           lab_expect(l, 1, 2 * SOME, LAB_WORDS, 1, 0, 2 * SOME, "copy at an offset") &&
           lab_expect(l, 2, 0, LAB_WORDS, 2, 0, 0, "a buffer that nothing was moved to");
}

void abi_rule_transfers(const conform_options *options, conform_result *result) {
    lab_run(options, moves_at_once, result);
}

/* Each call needs what the one before it did; host memory changes once the stream is waited for. */
static bool keeps_order(lab *l) {
    for (uint32_t round = 1; round <= 24; round++) {
        void *stream = l->streams[round / 2 % LAB_STREAMS];
        for (int i = 0; i < LAB_BUFFERS; i++) {
            if (!lab_load(l, i, 0)) return false;
        }
        lab_make(l, 0, round);
        memset(l->words[1], 0, LAB_BYTES);
        if (round % 2 && !lab_busy(l, stream)) return false; /* what does not wait for it comes too early */
        LAB_TRY(l, upload, stream, l->buffers[0], ODD * 4, l->words[0], SOME * 4);
        LAB_TRY(l, copy, stream, l->buffers[1], SOME * 4, l->buffers[0], ODD * 4, SOME * 4);
        LAB_TRY(l, copy, stream, l->buffers[2], 0, l->buffers[1], SOME * 4, SOME * 4);
        LAB_TRY(l, copy, stream, l->buffers[0], 0, l->buffers[2], HALF * 4, SOME * 4);
        LAB_TRY(l, download, stream, l->buffers[2], 4, l->words[1], (SOME - 1) * 4);
        LAB_TRY(l, upload, stream, l->buffers[2], 0, l->words[2], SOME * 4); /* behind all that reads it */
        LAB_TRY(l, sync, stream);
        for (size_t i = 0; i + 1 < SOME; i++) {
            if (l->words[1][i] == lab_word(0, round, i + 1)) continue;
            return conform_fail(l->result, "work of a stream is not done in order: upload, copies, download");
        }
        if (!lab_expect(l, 0, 0, SOME, 2, 0, HALF, "work of a stream is not done in order: copy")) return false;
        if (!lab_expect(l, 2, 0, SOME, 2, 0, 0, "work of a stream is not done in order: upload")) return false;
    }
    return true;
}

void abi_rule_streams(const conform_options *options, conform_result *result) {
    lab_run(options, keeps_order, result);
}

/* ---- events -------------------------------------------------------------------------------- */

/* Stream 1 takes what stream 0 brings, late. */
static bool waits_truly(lab *l, void *event, uint32_t round) {
    if (!lab_load(l, 0, 0) || !lab_load(l, 1, 0) || !lab_load(l, 2, 0)) return false;
    lab_make(l, 2, round);
    if (!lab_busy(l, l->streams[0])) return false;
    LAB_TRY(l, upload, l->streams[0], l->buffers[0], 0, l->words[2], LAB_BYTES);
    LAB_TRY(l, event_record, l->streams[0], event);
    LAB_TRY(l, event_wait, l->streams[1], event);
    LAB_TRY(l, copy, l->streams[1], l->buffers[2], 0, l->buffers[0], 0, LAB_BYTES);
    LAB_TRY(l, sync, l->streams[1]);
    return lab_expect(l, 2, 0, LAB_WORDS, 2, round, 0, "event_wait does not wait for what was recorded");
}

static bool has_events(lab *l) {
    void *event = NULL, *never = NULL;
    LAB_TRY(l, event_create, 0, &event);
    LAB_TRY(l, event_create, 0, &never);
    LAB_TRY(l, event_wait, l->streams[1], never); /* was never recorded: no wait */
    bool is_good = true;
    for (uint32_t round = 1; is_good && round <= 12; round++) is_good = waits_truly(l, event, round);
    l->api->event_destroy(l->self, event);
    l->api->event_destroy(l->self, never);
    if (!is_good) return false;
    LAB_TRY(l, event_create, 0, &event);
    LAB_TRY(l, event_record, l->streams[0], event);
    LAB_TRY(l, event_wait, l->streams[1], event);
    l->api->event_destroy(l->self, event); /* while it is waited for */
    LAB_TRY(l, sync, l->streams[1]);
    LAB_TRY(l, sync, l->streams[0]);
    return true;
}

void abi_rule_events(const conform_options *options, conform_result *result) {
    lab_run(options, has_events, result);
}

static bool expect_done(lab *l, void *event, const char *when) {
    uint32_t is_done = 77;
    LAB_TRY(l, event_query, event, &is_done);
    return is_done == 1 || conform_fail(l->result, "event_query says %u of an event %s", is_done, when);
}

/* Goes on by itself until it is done: nothing waits for it. */
static bool comes_to_be_done(lab *l, void *event) {
    uint32_t is_done = 0;
    if (!lab_busy(l, l->streams[0])) return false;
    LAB_TRY(l, event_record, l->streams[0], event);
    while (!is_done) LAB_TRY(l, event_query, event, &is_done); /* the time limit of a rule ends it */
    LAB_TRY(l, sync, l->streams[0]);
    return expect_done(l, event, "of work that was waited for");
}

static bool queries_events(lab *l) {
    void *event = NULL;
    if (!l->api->event_query) return lab_not_offered(l, "event_query");
    LAB_TRY(l, event_create, 0, &event);
    const bool is_good = expect_done(l, event, "that was never recorded") && comes_to_be_done(l, event);
    l->api->event_destroy(l->self, event);
    return is_good;
}

void abi_rule_event_query(const conform_options *options, conform_result *result) {
    lab_run(options, queries_events, result);
}

/* Of three events in order: no time is lost between them, and work takes some. */
static bool adds_up(lab *l, void *const events[3]) {
    uint64_t first = 0, second = 0, both = 0, none = 1;
    for (int i = 0; i < 3; i++) {
        LAB_TRY(l, event_record, l->streams[0], events[i]);
        if (i < 2 && !lab_busy(l, l->streams[0])) return false;
    }
    LAB_TRY(l, sync, l->streams[0]);
    LAB_TRY(l, event_elapsed, events[0], events[1], &first);
    LAB_TRY(l, event_elapsed, events[1], events[2], &second);
    LAB_TRY(l, event_elapsed, events[0], events[2], &both);
    LAB_TRY(l, event_elapsed, events[1], events[1], &none);
    const uint64_t sum = first + second, apart = both > sum ? both - sum : sum - both;
    if (none != 0)
        return conform_fail(l->result, "event_elapsed: %llu ns from an event to itself", (unsigned long long)none);
    if (both == 0) return conform_fail(l->result, "event_elapsed: work takes no time");
    return apart <= 2000 + both / 100 ||
           conform_fail(l->result, "event_elapsed: %llu and %llu ns make %llu", (unsigned long long)first,
                        (unsigned long long)second, (unsigned long long)both);
}

static bool measures_time(lab *l) {
    void *events[3] = {NULL};
    if (!l->api->event_elapsed) return lab_not_offered(l, "event_elapsed");
    for (int i = 0; i < 3; i++) LAB_TRY(l, event_create, NLM_EVENT_TIMING, &events[i]);
    const bool is_good = adds_up(l, events) && adds_up(l, events);
    for (int i = 0; i < 3; i++) l->api->event_destroy(l->self, events[i]);
    return is_good;
}

void abi_rule_event_elapsed(const conform_options *options, conform_result *result) {
    lab_run(options, measures_time, result);
}

/* ---- the optional calls on memory ------------------------------------------------------------ */

static bool expect_bytes(lab *l, uint64_t from, uint64_t to, uint8_t byte) {
    const uint8_t *bytes = (const uint8_t *)l->words[0];
    LAB_TRY(l, download, NULL, l->buffers[0], 0, l->words[0], LAB_BYTES);
    for (uint64_t i = 0; i < LAB_BYTES; i++) {
        const bool is_inside = i >= from && i < to;
        const uint32_t was = lab_word(0, 1, (size_t)i / 4) >> (8 * (i % 4)) & 255;
        const uint32_t expected = is_inside ? byte : was;
        if (bytes[i] == expected) continue;
        return conform_fail(l->result, "fill of bytes %llu to %llu %s byte %llu", (unsigned long long)from,
                            (unsigned long long)to, is_inside ? "does not set" : "changes", (unsigned long long)i);
    }
    return true;
}

static bool fills(lab *l) {
    static const struct {
        uint64_t from, to;
        uint8_t byte;
    } rows[] = {{0, LAB_BYTES, 0}, {0, LAB_BYTES, 255}, {13, 14, 7}, {1027, 8191, 0x5a}, {4096, 4096, 1}};
    if (!l->api->fill) return lab_not_offered(l, "fill");
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        const uint64_t from = rows[i / 2].from, to = rows[i / 2].to;
        void *stream = i % 2 ? l->streams[0] : NULL;
        if (!lab_load(l, 0, 1)) return false;
        LAB_TRY(l, fill, stream, l->buffers[0], from, rows[i / 2].byte, to - from);
        if (stream) LAB_TRY(l, sync, stream);
        if (!expect_bytes(l, from, to, rows[i / 2].byte)) return false;
    }
    return true;
}

void abi_rule_fill(const conform_options *options, conform_result *result) {
    lab_run(options, fills, result);
}

static bool goes_through(lab *l, uint32_t *pinned) {
    if (((uintptr_t)pinned & 63) != 0)
        return conform_fail(l->result, "host_alloc gives memory that is not 64-aligned");
    lab_make(l, 0, 3);
    memcpy(pinned, l->words[0], LAB_BYTES);
    LAB_TRY(l, upload, l->streams[0], l->buffers[1], 0, pinned, LAB_BYTES);
    LAB_TRY(l, sync, l->streams[0]);
    if (!lab_expect(l, 1, 0, LAB_WORDS, 0, 3, 0, "upload from memory of host_alloc")) return false;
    memset(pinned, 0, LAB_BYTES);
    LAB_TRY(l, download, l->streams[0], l->buffers[1], 0, pinned, LAB_BYTES);
    LAB_TRY(l, sync, l->streams[0]);
    return memcmp(pinned, l->words[0], LAB_BYTES) == 0 ||
           conform_fail(l->result, "download to memory of host_alloc: other bytes");
}

static bool pins_memory(lab *l) {
    void *blocks[2] = {NULL};
    if (!l->api->host_alloc) return lab_not_offered(l, "host_alloc");
    for (int i = 0; i < 2; i++) LAB_TRY(l, host_alloc, i ? LAB_BYTES : 1, &blocks[i]);
    const bool is_good = goes_through(l, blocks[1]);
    for (int i = 0; i < 2; i++) l->api->host_free(l->self, blocks[i]);
    return is_good;
}

void abi_rule_pinned(const conform_options *options, conform_result *result) {
    lab_run(options, pins_memory, result);
}

/* The buffer goes while it is still to be read; memory that is allocated meanwhile is not the same. */
static bool frees_late(lab *l) {
    void *address;
    for (uint32_t round = 1; round <= 8; round++) {
        if (!lab_load(l, 0, 0) || !lab_load(l, 1, round) || !lab_busy(l, l->streams[0])) return false;
        LAB_TRY(l, copy, l->streams[0], l->buffers[2], 0, l->buffers[1], 0, LAB_BYTES);
        l->api->buffer_free(l->self, l->buffers[1]);
        l->buffers[1] = 0;
        LAB_TRY(l, buffer_alloc, LAB_BYTES, &l->buffers[1], &address);
        LAB_TRY(l, upload, NULL, l->buffers[1], 0, l->words[0], LAB_BYTES);
        LAB_TRY(l, sync, l->streams[0]);
        if (!lab_expect(l, 2, 0, LAB_WORDS, 1, round, 0, "buffer_free does not wait for pending work")) return false;
    }
    return true;
}

/* Of the process, for devices that are software, and of the device. */
static uint64_t used_bytes(const lab *l) {
    nlm_device_info_v1 info = {.struct_size = sizeof info};
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    if (file) fclose(file);
    if (l->api->describe(l->self, &info, NULL) != NLM_OK) info.memory_total_bytes = info.memory_free_bytes = 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) + info.memory_total_bytes - info.memory_free_bytes;
}

/* A checker of memory may hold back some 256 MiB of what is freed. */
enum { LEAK_ROUNDS = 100, LEAK_BYTES = 4 << 20, LEAK_LIMIT = 300 << 20 };

static bool fill_and_free(lab *l, const void *bytes) {
    for (int i = 0; i < LEAK_ROUNDS; i++) {
        uint64_t buffer;
        void *address;
        LAB_TRY(l, buffer_alloc, LEAK_BYTES, &buffer, &address);
        const nlm_status status = l->api->upload(l->self, NULL, buffer, 0, bytes, LEAK_BYTES, NULL);
        l->api->buffer_free(l->self, buffer);
        if (status != NLM_OK) return conform_fail(l->result, "upload: %s", nlm_status_text(status));
    }
    return true;
}

static bool frees_all(lab *l) {
    void *bytes = calloc(1, LEAK_BYTES);
    if (!bytes) return conform_fail(l->result, "no memory for a rule");
    const uint64_t before = used_bytes(l);
    const bool is_good = fill_and_free(l, bytes);
    const uint64_t after = used_bytes(l), more = after > before ? after - before : 0;
    free(bytes);
    if (!is_good || more < LEAK_LIMIT) return is_good;
    return conform_fail(l->result, "buffer_free: %d buffers of %d MiB, freed one by one, take %llu MiB", LEAK_ROUNDS,
                        LEAK_BYTES >> 20, (unsigned long long)more >> 20);
}

static bool frees(lab *l) {
    return frees_late(l) && frees_all(l);
}

void abi_rule_freed(const conform_options *options, conform_result *result) {
    lab_run(options, frees, result);
}

static bool syncs_all(lab *l) {
    if (!lab_load(l, 0, 0) || !lab_load(l, 1, 0) || !lab_load(l, 2, 0) || !lab_busy(l, l->streams[0])) return false;
    for (int i = 0; i < LAB_STREAMS; i++) {
        lab_make(l, i, 5);
        LAB_TRY(l, upload, l->streams[i], l->buffers[i], 0, l->words[i], LAB_BYTES);
        LAB_TRY(l, download, l->streams[i], l->buffers[i], 0, l->words[2] + i * HALF, HALF * 4);
    }
    LAB_TRY(l, sync, NULL);
    for (int i = 0; i < LAB_STREAMS; i++) {
        if (memcmp(l->words[2] + i * HALF, l->words[i], HALF * 4) != 0)
            return conform_fail(l->result, "sync(NULL) does not wait for all streams");
    }
    return true;
}

void abi_rule_sync_all(const conform_options *options, conform_result *result) {
    lab_run(options, syncs_all, result);
}

/* ---- peers --------------------------------------------------------------------------------- */

static bool copies_from(lab *l, nlm_device *peer) {
    const nlm_device_v1 *other = &peer->api;
    uint64_t buffer = 0;
    void *address, *stream = NULL, *event = NULL;
    nlm_error err = NLM_ERROR_INIT;
    bool is_good = lab_load(l, 0, 0);
    lab_make(l, 1, 6);
    is_good =
        is_good &&
        lab_ok(l, "buffer_alloc", other->buffer_alloc(other->self, LAB_BYTES, &buffer, &address, &err), &err) &&
        lab_ok(l, "stream_create", other->stream_create(other->self, &stream, &err), &err) &&
        lab_ok(l, "event_create", other->event_create(other->self, 0, &event, &err), &err) &&
        lab_ok(l, "upload", other->upload(other->self, stream, buffer, 0, l->words[1], LAB_BYTES, &err), &err) &&
        lab_ok(l, "event_record", other->event_record(other->self, stream, event, &err), &err) &&
        lab_ok(l, "event_wait", l->api->event_wait(l->self, l->streams[0], event, &err), &err);
    if (is_good) {
        const nlm_status status = l->api->copy_from(l->self, l->streams[0], l->buffers[0], ODD * 4, other->self,
                                                    buffer, SOME * 4, SOME * 4, &err);
        is_good = status == NLM_UNSUPPORTED ? lab_not_offered(l, "copy_from between these devices")
                                            : lab_ok(l, "copy_from", status, &err);
    }
    is_good = is_good && lab_ok(l, "sync", l->api->sync(l->self, l->streams[0], &err), &err);
    if (is_good && l->result->verdict != CONFORM_NOT_OFFERED) {
        is_good = lab_expect(l, 0, ODD, ODD + SOME, 1, 6, SOME, "copy_from") &&
                  lab_expect(l, 0, ODD + SOME, LAB_WORDS, 0, 0, ODD + SOME, "copy_from");
    }
    if (stream) {
        other->sync(other->self, stream, NULL);
        other->stream_destroy(other->self, stream);
    }
    if (event) other->event_destroy(other->self, event);
    if (buffer) other->buffer_free(other->self, buffer);
    return is_good;
}

static bool reaches_peers(lab *l) {
    nlm_device *peer = NULL;
    nlm_error err = NLM_ERROR_INIT;
    if (!l->api->copy_from) return lab_not_offered(l, "copy_from");
    const int32_t ordinal = l->device->device_id == 0 ? 1 : 0;
    if (nlm_plugins_open(l->plugins, l->device->backend, ordinal, NULL, &peer, &err) != NLM_OK)
        return lab_not_offered(l, "a second device");
    const bool is_good = copies_from(l, peer);
    nlm_device_close(peer);
    return is_good;
}

void abi_rule_peers(const conform_options *options, conform_result *result) {
    lab_run(options, reaches_peers, result);
}
