/* A learned vocabulary as the tokenizer.* metadata of a GGUF. */
#ifndef NLM_TEXT_VOCAB_WRITE_H
#define NLM_TEXT_VOCAB_WRITE_H

#include "text/bpe_train.h"

/* Writes general.architecture and the keys that other programs write too. A byte-level vocabulary's first special
 * token both begins and ends texts, and encoding puts none there; a SentencePiece one's are <s> and </s>, and
 * encoding puts <s> in front. Merges of a SentencePiece vocabulary are scores to others, and a list besides. Errors
 * OUT_OF_MEMORY; those of the writer stay in it. */
nlm_status nlm_vocab_write(const nlm_bpe_vocab *vocab, nlm_gguf_writer *writer, nlm_error *err);

#endif
