/* Handing texts and ids to a caller's buffer. */
#ifndef NLM_SESSION_TEXT_OUT_H
#define NLM_SESSION_TEXT_OUT_H

#include <nlm/status.h>
#include "base/str.h"
#include "text/tokenizer.h"

/* Copies as much of *text as fits in out[0..capacity), with a terminator if `is_terminated`; *out_length is
 * the length of the whole. OUT_OF_MEMORY if the text has failed to grow. */
nlm_status nlm_text_out(const nlm_str *text, bool is_terminated, char *out, size_t capacity, size_t *out_length,
                        nlm_error *err);

/* Copies as many ids as fit; out_ids NULL: they are only counted. LIMIT, which says where, if not all fit. */
nlm_status nlm_ids_out(const nlm_ids *ids, int32_t *out_ids, size_t capacity, size_t *out_count, const char *where,
                       nlm_error *err);
/* LIMIT: there is room for `capacity` alone. */
nlm_status nlm_fail_capacity(size_t capacity, size_t count, const char *where, nlm_error *err);

#endif
