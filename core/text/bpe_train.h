/* Learning a vocabulary from text by byte-pair encoding, with the result that the package tokenizers gives.
 *
 * Two kinds. Byte-level: words as GPT-2 cuts them, symbols are bytes. SentencePiece's: a space is U+2581 and one
 * stands before the text, words begin at it, symbols are characters. The most frequent pair of symbols becomes a
 * token, of equals that whose parts came first. Source   Sennrich et al. 2016; Kudo & Richardson 2018; BpeTrainer of
 * the package tokenizers. */
#ifndef NLM_TEXT_BPE_TRAIN_H
#define NLM_TEXT_BPE_TRAIN_H

#include "base/arena.h"
#include "text/vocab.h"

typedef struct nlm_bpe_train_options {
    bool is_spm;                 /* else byte-level */
    size_t vocab_size;           /* tokens in all; fewer where the text has no more pairs */
    uint64_t min_frequency;      /* pairs that come less often do not merge */
    size_t alphabet_size;        /* SentencePiece: keep that many characters, the most frequent; 0: all */
    const char *const *specials; /* control tokens of the user's; after <unk>, <s>, </s> and <0x00> to <0xFF>, which a
                                    SentencePiece vocabulary always has, and before all others */
    size_t special_count;
    uint32_t threads; /* as nlm_pool_options.threads */
    /* Called now and then with how far learning is; false ends it with CANCELLED. Or NULL. */
    bool (*on_progress)(void *user, size_t tokens);
    void *user;
} nlm_bpe_train_options;

/* A merge of two tokens into a third, by id. */
typedef struct nlm_bpe_merge {
    int32_t left, right, result;
} nlm_bpe_merge;

/* What was learned. Byte-level tokens are spelled in the printable characters that stand for bytes. */
typedef struct nlm_bpe_vocab {
    nlm_arena arena;
    bool is_spm;
    nlm_bytes *texts; /* in the order of ids */
    uint8_t *types;   /* nlm_token_type */
    size_t count;
    nlm_bpe_merge *merges; /* in the order they are applied */
    size_t merge_count;
} nlm_bpe_vocab;

typedef struct nlm_bpe_trainer nlm_bpe_trainer;

/* The options are copied, what they point to is borrowed. Errors INVALID_ARGUMENT (a vocabulary too small or too
 * large, a special token that is empty or given twice), OUT_OF_MEMORY. */
nlm_status nlm_bpe_trainer_create(const nlm_bpe_train_options *options, nlm_bpe_trainer **out, nlm_error *err);
void nlm_bpe_trainer_destroy(nlm_bpe_trainer *trainer);

/* A text, or a part of one whose end nlm_bpe_train_cut gave. */
typedef struct nlm_train_text {
    const char *data;
    size_t length;
    bool is_start; /* of a text: SentencePiece puts a space in front */
} nlm_train_text;

/* Counts the words of some texts, which the trainer's threads share. Bytes that are no UTF-8 are words of their own
 * (byte-level) or part none (SentencePiece). The memory it takes grows with the number of distinct words. */
nlm_status nlm_bpe_trainer_feed(nlm_bpe_trainer *trainer, const nlm_train_text *texts, size_t count, nlm_error *err);
/* The last place from text + from on where text[0..length), which goes on, can be cut without a change to its words;
 * 0: none. */
size_t nlm_bpe_train_cut(bool is_spm, const char *text, size_t from, size_t length);

/* Learns from what was fed. Depends on the texts alone, not on threads or order. Errors NOT_FOUND (there was no
 * text), INVALID_ARGUMENT (the alphabet does not fit the vocabulary), CANCELLED, OUT_OF_MEMORY. Release `out` after
 * an error too. */
nlm_status nlm_bpe_trainer_finish(nlm_bpe_trainer *trainer, nlm_bpe_vocab *out, nlm_error *err);
void nlm_bpe_vocab_release(nlm_bpe_vocab *vocab);

#endif
