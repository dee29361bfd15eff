/* Byte-level BPE: words of bytes, merged in the order of the merge list.
 * Source: Sennrich et al. 2016; Radford et al. 2019. */
#ifndef NLM_TEXT_BPE_H
#define NLM_TEXT_BPE_H

#include "text/merge.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

typedef struct nlm_bpe {
    const nlm_vocab *vocab;
    const nlm_pre_rule *rule;
    nlm_pre_tokenizer *pre;
    nlm_arena arena;       /* of the bytes of extra symbols */
    nlm_piece_map symbols; /* bytes to symbol numbers: ids, then what merges name beside tokens */
    size_t symbol_count;
    nlm_pair_table merges;     /* of symbols */
    int32_t byte_symbols[256]; /* -1: no merge names the byte */
} nlm_bpe;

/* `vocab` is borrowed; merges come from the file. Errors NOT_FOUND (no merges), BAD_FORMAT (which merge),
 * OUT_OF_MEMORY. Release `out` after an error too. */
nlm_status nlm_bpe_create(const nlm_vocab *vocab, const nlm_pre_rule *rule, const nlm_gguf *gguf, nlm_bpe *out,
                          nlm_error *err);
void nlm_bpe_release(nlm_bpe *bpe);

/* Appends the ids of text[0..length), which holds no special token. `merger` is scratch. */
nlm_status nlm_bpe_encode(const nlm_bpe *bpe, nlm_merger *merger, const char *text, size_t length, nlm_ids *out,
                          nlm_error *err);

#endif
