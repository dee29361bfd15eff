/* Threads that do what would hold up the event loop: read JSON, write prompts by a template, tokenize, compile
 * grammars. Work comes from the loop's thread and returns to it. */
#ifndef NLM_SERVER_WORKERS_H
#define NLM_SERVER_WORKERS_H

#include <nlm/status.h>

struct event_base;

typedef struct workers workers;

/* At the head of what is to be done. */
typedef struct work {
    struct work *next;
    void (*run)(struct work *w);  /* on one of the threads */
    void (*done)(struct work *w); /* on the loop's, after it; the work is its own again */
} work;

/* Errors OUT_OF_MEMORY, IO (no thread, eventfd or event). */
nlm_status workers_create(struct event_base *base, workers **out, nlm_error *err);
/* In the order given, as threads become free. */
void workers_add(workers *all, work *w);
/* Waits for what runs, and does what is left; NULL is fine. */
void workers_destroy(workers *all);

#endif
