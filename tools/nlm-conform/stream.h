/* An op on a stream device: its memory filled from the host's, the op enqueued or recorded, a sync, and all back. */
#ifndef NLM_CONFORM_STREAM_H
#define NLM_CONFORM_STREAM_H

#include "conform.h"
#include "guard.h"

typedef struct conform_stream_job {
    conform_call *call;
    nlm_tensor *descs;               /* that call's arguments point to, data in `blocks` */
    const conform_content *contents; /* [n_descs] of the blocks */
    int n_descs;
    guard_block *blocks; /* those without a map are not in use */
    int n_blocks;
    bool is_recorded; /* recorded and launched, rather than enqueued */
} conform_stream_job;

/* Runs the call and puts the op's status and sentence into *out_status and *err, of the slot or of the sync.
 * What the call's pointers lead to is overwritten when the slot has returned, before the work is done.
 * On a device with memory of its own every block lies there between margins, all bits of which are set: NaN
 * in every floating type, as are those of workspace and scratch. A write into a margin or into a block that is
 * only read fails the result, as do the device's own functions; a read in a margin shows as NaN in what was
 * computed. Afterwards the blocks hold what the device's memory does, the tensors are the host's again.
 * A recorded call is launched twice: first with no live rows, padding that holds anything, and (where the rows'
 * counts are not fixed) states that must stay as they are. UNSUPPORTED: the device does not record this. */
bool conform_stream_run(const conform_stream_job *job, nlm_status *out_status, nlm_error *err,
                        conform_result *result);

#endif
