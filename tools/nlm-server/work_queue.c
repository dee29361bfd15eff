/* Fair queueing: each piece of work has a turn, and the smallest goes first. */
#include "nlm-server/work_queue.h"

#include <stddef.h>

void work_queue_add(work_queue *queue, work *w) {
    w->turn = queue->turn;
    for (const work *other = queue->first; other; other = other->next) {
        if (other->client == w->client && other->turn + WORK_STRIDE > w->turn) w->turn = other->turn + WORK_STRIDE;
    }
    work **link = &queue->first;
    while (*link && (*link)->turn <= w->turn) link = &(*link)->next;
    w->next = *link;
    *link = w;
}

work *work_queue_take(work_queue *queue, bool takes_long) {
    work **link = &queue->first;
    while (*link && (*link)->is_long && !takes_long) link = &(*link)->next;
    work *w = *link;
    if (!w) return NULL;
    *link = w->next;
    w->next = NULL;
    queue->turn++; /* so that clients who come anew do not go first for ever */
    if (w->turn > queue->turn) queue->turn = w->turn;
    return w;
}
