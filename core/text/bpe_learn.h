/* From the counts of words to a vocabulary. */
#ifndef NLM_TEXT_BPE_LEARN_H
#define NLM_TEXT_BPE_LEARN_H

#include "text/bpe_train.h"
#include "text/word_counts.h"

/* Whether there can be such a vocabulary. Errors as nlm_bpe_trainer_create. */
nlm_status nlm_bpe_learn_check(const nlm_bpe_train_options *options, nlm_error *err);

/* Takes the words, one at least, and frees them as soon as it can. Errors as nlm_bpe_trainer_finish. */
nlm_status nlm_bpe_learn(const nlm_bpe_train_options *options, nlm_word_counts *words, nlm_bpe_vocab *out,
                         nlm_error *err);

#endif
