/* The log sink: the one piece of writable global state, beside where a thread's messages go instead. */
#ifndef NLM_BASE_LOG_H
#define NLM_BASE_LOG_H

#include <stdint.h>

/* level: NLM_LOG_ERROR .. NLM_LOG_DEBUG of nlm/plugin.h. `message` is printable: base/printable.h. */
typedef void (*nlm_log_fn)(void *user, int32_t level, const char *message);

/* Replaces the sink (NULL: the default, stderr) and its least important level that is still shown.
 * Thread-safe; a message under way may still reach the old sink. */
void nlm_log_set_sink(nlm_log_fn fn, void *user);
void nlm_log_set_level(int32_t level);
int32_t nlm_log_level(void);

/* A sink of somebody's own. */
typedef struct nlm_log_sink {
    nlm_log_fn fn;
    void *user;
    int32_t level;
} nlm_log_sink;

/* From here on the calling thread's messages go to *sink, which must live until they no longer do; NULL: to the
 * process's. Returns where they went before. */
const nlm_log_sink *nlm_log_redirect(const nlm_log_sink *sink);
/* Where the calling thread's messages go; NULL: to the process's sink. */
const nlm_log_sink *nlm_log_redirected(void);

/* Thread-safe; one line a call. Messages over 1,000 bytes are cut. */
void nlm_log(int32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
