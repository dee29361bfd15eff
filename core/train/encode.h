/* Text in parts: encoding one as the continuation of another, and where a long text may be cut. */
#ifndef NLM_TRAIN_ENCODE_H
#define NLM_TRAIN_ENCODE_H

#include "text/tokenizer.h"

/* As nlm_tokenizer_encode_spans without NLM_ENCODE_BOS, but of a text that goes on: it gets no space in front, and
 * loses none. */
nlm_status nlm_encode_more(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                           const nlm_text_spans *user_spans, nlm_ids *out, nlm_error *err);

/* What nlm_find_cut looks at on both sides of a place, and how far from the end a place is at least. */
#define NLM_CUT_CONTEXT 256u

/* The last place in text[0..length), which more text follows, where it can be cut so that the parts' ids are those of
 * the whole: beside a lone blank or line break, and tried out on the text around it. *out_cut is 0 if there is none.
 * Errors   the encoder's. */
nlm_status nlm_find_cut(const nlm_tokenizer *tokenizer, const char *text, size_t length, size_t *out_cut,
                        nlm_error *err);

#endif
