/* What a run needs to go on where it stopped: parameters, the optimizer's states, the number of steps. */
#ifndef NLM_TRAIN_CHECKPOINT_H
#define NLM_TRAIN_CHECKPOINT_H

#include "train/trainer.h"

/* Writes FOLDER/step-NNNNNNNN.safetensors, whole or not at all, with a checksum of its content; then removes the
 * older ones but for the last `keep` (0: removes none). `run` is what must be the same when it is read again: data,
 * batches, seed. Errors IO, PERMISSION, NOT_FOUND, OUT_OF_MEMORY. */
nlm_status nlm_checkpoint_save(const nlm_trainer *trainer, const char *folder, const char *run, int32_t keep,
                               nlm_error *err);

/* The last checkpoint of the folder that is whole, into the trainer; damaged ones are passed over with a warning.
 * *out_found: whether there was one. Errors INVALID_ARGUMENT (of another run, or another model: what differs), IO. */
nlm_status nlm_checkpoint_restore(nlm_trainer *trainer, const char *folder, const char *run, bool *out_found,
                                  nlm_error *err);

#endif
