/* Where a model's packed weights are kept between processes. */
#ifndef NLM_MODEL_PACKED_H
#define NLM_MODEL_PACKED_H

#include "exec/pack_cache.h"
#include "model/model.h"

/* Looks for the model's weights, as `device` packs them, in a file in `folder`, and has those that must be packed
 * noted for nlm_model_save_packed. Before the first plan. The file is named after the model, and keyed by
 *   - the model's size, its time of change, and a checksum of its header and of samples of its content,
 *   - the backend's name and version, and the device's `arch` (its instruction set);
 * each weight in it by its name, type, shape, roles, and the layout's number and version.
 * A model that is no file has no cache. Errors OUT_OF_MEMORY; what is wrong with the file is none. */
nlm_status nlm_model_use_packed(nlm_model *model, const char *folder, const nlm_device *device, nlm_error *err);

/* Before it: verifies what the file holds, with whatever threads call this. */
void nlm_model_check_packed(nlm_model *model);

/* After the first plan: writes what was packed. A failure is a line in the log. */
void nlm_model_save_packed(nlm_model *model);

#endif
