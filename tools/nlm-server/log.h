/* Lines on stderr, for people or for programs: never what a request says. */
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
/* One for each answer, unless is_quiet. */
void log_request(const http_exchange *x);

#endif
