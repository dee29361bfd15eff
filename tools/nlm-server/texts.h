/* Texts and tokens, in memory of their own size. */
#ifndef NLM_SERVER_TEXTS_H
#define NLM_SERVER_TEXTS_H

#include <nlm/nlm.h>

#include "base/str.h"

/* Token ids of a text; flags as nlm_encode's. *out_ids is the caller's to free. */
nlm_status text_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags, int32_t **out_ids,
                       size_t *out_count, nlm_error *err);
/* The same of a conversation. */
nlm_status text_encode_conversation(const nlm_model *model, const nlm_conversation *conversation, int32_t **out_ids,
                                    size_t *out_count, nlm_error *err);
/* The text of ids, appended. */
nlm_status text_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags, nlm_str *out,
                       nlm_error *err);

#endif
