/* Ids for text that no token spells: byte by byte, or as unknown. */
#ifndef NLM_TEXT_EMIT_H
#define NLM_TEXT_EMIT_H

#include "text/tokenizer.h"
#include "text/vocab.h"

/* Appends the ids of text[0..length) as single bytes. Bytes without a token that nlm_vocab_drops are left
 * out; others become the unknown token, once for a run of them, or U+FFFD each where the vocabulary has no token of
 * type unknown. Errors UNSUPPORTED (a SentencePiece vocabulary cannot spell that either), OUT_OF_MEMORY. */
nlm_status nlm_emit_bytes(const nlm_vocab *vocab, const char *text, size_t length, nlm_ids *out, nlm_error *err);

/* Appends one id. */
nlm_status nlm_emit_id(int32_t id, nlm_ids *out, nlm_error *err);

#endif
