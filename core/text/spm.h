/* SentencePiece BPE: the whole text is merged, pieces with the best score first.
 * Source: Kudo & Richardson 2018, and the behaviour of the sentencepiece library's BPE model. */
#ifndef NLM_TEXT_SPM_H
#define NLM_TEXT_SPM_H

#include "text/merge.h"
#include "text/special.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

typedef struct nlm_spm {
    const nlm_vocab *vocab;
    nlm_piece_map symbols;         /* pieces and lone characters to symbol numbers: ids, then others */
    nlm_pair_table merges;         /* of symbols */
    nlm_pair_table joints;         /* of code points that stand side by side in some piece */
    uint8_t ascii_joints[128][16]; /* the same for ASCII, a bit each; 0 stands for U+2581 too */
    int32_t ascii_symbols[128];
    int32_t space_symbol; /* of U+2581 */
    nlm_bytes *extras;    /* the symbols that are no token: count onwards */
    size_t extra_count, extra_capacity;
    bool has_unused; /* some piece is of type unused */
} nlm_spm;

/* `vocab` is borrowed; scores come from the file, and merges, if it lists them: then pieces are put together in these
 * ways alone, in this order, as Hugging Face's tokenizers do. Errors BAD_FORMAT, OUT_OF_MEMORY. Release `out` after
 * an error too. */
nlm_status nlm_spm_create(const nlm_vocab *vocab, const nlm_gguf *gguf, nlm_spm *out, nlm_error *err);
void nlm_spm_release(nlm_spm *spm);

/* Appends the ids of text[0..length), which holds no control token and begins the whole text (is_start) or follows
 * one; the space of the space-prefix rule is put in front. User-defined tokens are cut out of what results, as the
 * sentencepiece library does. `merger` is scratch. */
nlm_status nlm_spm_encode(const nlm_spm *spm, const nlm_specials *specials, nlm_merger *merger, const char *text,
                          size_t length, bool is_start, nlm_ids *out, nlm_error *err);

#endif
