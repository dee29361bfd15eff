/* Threads that do what would hold up the event loop: read JSON, write prompts by a template, tokenize, compile
 * grammars. Work comes from the loop's thread and returns to it. */
#ifndef NLM_SERVER_WORKERS_H
#define NLM_SERVER_WORKERS_H

#include <nlm/status.h>

#include "nlm-server/work_queue.h"

struct event_base;

typedef struct workers workers;

/* Errors OUT_OF_MEMORY, IO (no thread, eventfd or event). */
nlm_status workers_create(struct event_base *base, workers **out, nlm_error *err);
/* Done in turns of clients, as threads become free; there is always one for what is not long. */
void workers_add(workers *all, work *w);
/* Waits for what runs, and does what is left; NULL is fine. */
void workers_destroy(workers *all);

#endif
