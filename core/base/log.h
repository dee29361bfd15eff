/* The log sink: the one piece of writable global state. */
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

/* Thread-safe; one line a call. Messages over 1,000 bytes are cut. */
void nlm_log(int32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
