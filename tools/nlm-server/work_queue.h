/* What waits to be done by threads, in an order in which nobody's many keep another's few waiting. */
#ifndef NLM_SERVER_WORK_QUEUE_H
#define NLM_SERVER_WORK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

/* At the head of what is to be done. */
typedef struct work {
    struct work *next;
    void (*run)(struct work *w);  /* on one of the threads */
    void (*done)(struct work *w); /* on the loop's, after it; the work is its own again */
    uint64_t client;              /* whose it is: clients take turns */
    bool is_long;                 /* may take seconds */
    uint64_t turn;                /* the queue's own */
} work;

/* Zeroed: empty. */
typedef struct work_queue {
    work *first;   /* by turn, then as they came */
    uint64_t turn; /* that has come */
} work_queue;

/* Turns from one piece of a client's work to its next: that one comes behind the first of other clients, but of no
 * more of them than this. */
#define WORK_STRIDE 16

/* A client's first comes before another's second, and so on. */
void work_queue_add(work_queue *queue, work *w);
/* The next one; NULL: there is none, or none that is not long where those are not taken. */
work *work_queue_take(work_queue *queue, bool takes_long);

#endif
