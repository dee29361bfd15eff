/* Rules on stream devices: a device opened as the host opens it, two streams and buffers of numbers. */
#ifndef NLM_CONFORM_ABI_STREAM_H
#define NLM_CONFORM_ABI_STREAM_H

#include "conform.h"

enum { LAB_STREAMS = 2, LAB_BUFFERS = 3, LAB_WORDS = 1 << 14, LAB_BYTES = LAB_WORDS * 4 };

typedef struct lab {
    nlm_plugins *plugins;
    nlm_device *device;
    const nlm_device_v1 *api;
    void *self; /* api->self */
    void *streams[LAB_STREAMS];
    uint64_t buffers[LAB_BUFFERS];
    void *addresses[LAB_BUFFERS];
    uint32_t *words[LAB_BUFFERS]; /* host memory, as long */
    uint64_t busy_buffer;
    conform_result *result;
} lab;

/* Opens a device of the plugin as the host does. False, with the reason in the result: it cannot be opened. Both
 * pointers are set, to be given to conform_close. */
bool lab_open_any(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out,
                  conform_result *result);
/* The same; false too if it is a sliced device, NOT_OFFERED. */
bool lab_open_device(const conform_options *options, nlm_plugins **out_plugins, nlm_device **out,
                     conform_result *result);

/* What a rule does in it; returns false when it has failed the result. */
typedef bool (*lab_check)(lab *l);

/* Opens one, checks and closes it. NOT_OFFERED for devices without a stream, or memory, of their own. */
void lab_run(const conform_options *options, lab_check check, conform_result *result);
/* The rule does not apply, as the device has no such thing; returns true. */
bool lab_not_offered(lab *l, const char *what);

/* Whether the call came out OK; else the result says which and why. */
bool lab_ok(lab *l, const char *call, nlm_status status, const nlm_error *err);
#define LAB_TRY(l, call, ...)                                                                                \
    do {                                                                                                     \
        nlm_error lab_err_ = NLM_ERROR_INIT;                                                                 \
        if (!lab_ok((l), #call, (l)->api->call((l)->self, __VA_ARGS__, &lab_err_), &lab_err_)) return false; \
    } while (0)

/* Numbers that differ by buffer, round and place. */
void lab_make(lab *l, int buffer, uint32_t round);
uint32_t lab_word(int buffer, uint32_t round, size_t index);
/* Fills a buffer with them at once, in memory of the host too. */
bool lab_load(lab *l, int buffer, uint32_t round);
/* Whether words [from, to) that are now in a buffer are those of another buffer and round from `at` on. */
bool lab_expect(lab *l, int buffer, size_t from, size_t to, int made_as, uint32_t round, size_t at, const char *what);
/* Something on a stream that takes the device a while, in memory of its own. */
bool lab_busy(lab *l, void *stream);

#endif
