/* Lines on stderr, for people or for programs: what requests say only where that is asked for (log_body). */
#ifndef NLM_SERVER_LOG_H
#define NLM_SERVER_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "nlm-server/http.h"

/* For all that follows. */
void log_open(bool is_json, bool is_quiet);
/* level as nlm_set_log's; from any thread. */
void log_line(void *user, int32_t level, const char *message);
void log_text(int32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What a request says, quiet or not; from any thread. */
void log_body(const char *path, const char *body, size_t length);
/* One for each answer, unless is_quiet. */
void log_request(const http_exchange *x);

#endif
