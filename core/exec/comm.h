/* Ranks: programs of one graph, each in a thread, a process or a machine of its own, that add up values as they run.
 * A place-holder with its contract: who connects the ranks brings the functions. */
#ifndef NLM_EXEC_COMM_H
#define NLM_EXEC_COMM_H

#include "plugin/device.h"

typedef struct nlm_comm {
    void *self; /* passed to the functions */
    uint32_t rank, n_ranks;
    /* Replaces `count` f32 by their sums over all ranks. Every rank calls it for the same values, in the same order
     * and of the same length. The sum is taken in an order of its own choice that is the same each time, so that it
     * has the same bits on all ranks and in all runs. device NULL: at->address is host memory; the sum is there when
     * it returns. Else at is in the memory of that device, and the sum is work of the stream, behind what it was
     * given before. Called from the thread that runs the program. Errors   CANCELLED (a rank has given up), and its
     * own. */
    nlm_status (*sum)(void *self, const nlm_device *device, void *stream, const nlm_place_v1 *at, uint64_t count,
                      nlm_error *err);
    /* This rank's run has failed: sums of all ranks, those under way too, return CANCELLED from now on instead of
     * waiting for it. */
    void (*give_up)(void *self);
} nlm_comm;

#endif
