/* config.json, read into the keys of a GGUF and written from a model. */
#ifndef NLM_MODEL_HF_CONFIG_H
#define NLM_MODEL_HF_CONFIG_H

#include "model/hf.h"

#define NLM_HF_CONFIG_JSON "config.json"

/* Adds the keys that the config.json of a folder stands for to w; *out: whose it is, and its numbers (its JSON is
 * gone then). The arena, which is borrowed, outlives w. */
nlm_status nlm_hf_config_import(const char *folder, nlm_arena *arena, nlm_gguf_writer *w, nlm_hf_config *out,
                                nlm_error *err);
/* Appends the text of a model's config.json; *family: the model's. */
nlm_status nlm_hf_config_export(const nlm_model *model, const char *dtype_name, nlm_str *out,
                                const nlm_model_family **family, nlm_error *err);

#endif
