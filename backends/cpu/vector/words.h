/* Weights opened to words of 16 bits, where the shim has dot products of them. */
#ifndef NLM_CPU_WORDS_H
#define NLM_CPU_WORDS_H

#include "cpu/vector/quant_format.h"

/* A group of 4 columns as words, without the offset: of each the columns 0 and 2, and 1 and 3. */
V_INLINE void to_words(const nlm_quant_format *f, vi w, vi words[2]) {
    const int is_signed = !f->is_small && f->offset == 0;
    const vi offset = vi_set1_i16((int16_t)f->offset);
    words[0] = is_signed ? vi_sra16(vi_shl16(w, 8), 8) : vi_and(w, vi_set1_i16(0xFF));
    words[1] = is_signed ? vi_sra16(w, 8) : vi_shr16(w, 8);
    if (!f->offset) return;
    words[0] = vi_sub16(words[0], offset);
    words[1] = vi_sub16(words[1], offset);
}

/* The low word of each dword, in both its words. */
V_INLINE vi dword_words(vi a) {
    return vi_or(vi_shl32(a, 16), vi_and(a, vi_set1(UINT16_MAX)));
}

#endif
