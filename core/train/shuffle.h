/* The numbers below a limit in another order, each by itself: nothing is kept, and nothing is drawn before. */
#ifndef NLM_TRAIN_SHUFFLE_H
#define NLM_TRAIN_SHUFFLE_H

#include <stdint.h>

/* What number stands at place `at` (below `count`) of the order of this seed and pass.
 * Source   A Feistel network over the least even number of bits that hold `count`, applied again while it leads out
 * of the range: Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002. */
uint64_t nlm_shuffle(uint64_t count, uint64_t seed, uint64_t pass, uint64_t at);

/* Uniform in [0, 1): a number of its own for each document. */
double nlm_document_draw(uint64_t seed, uint64_t document);

#endif
