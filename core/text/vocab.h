/* The vocabulary of a GGUF: what each token is, spells, and is for. */
#ifndef NLM_TEXT_VOCAB_H
#define NLM_TEXT_VOCAB_H

#include "base/arena.h"
#include "format/gguf.h"
#include "text/piece_map.h"

/* The numbers of tokenizer.ggml.token_type. */
typedef enum nlm_token_type {
    NLM_TOKEN_NORMAL = 1,
    NLM_TOKEN_UNKNOWN = 2,
    NLM_TOKEN_CONTROL = 3,
    NLM_TOKEN_USER_DEFINED = 4,
    NLM_TOKEN_UNUSED = 5,
    NLM_TOKEN_BYTE = 6
} nlm_token_type;

/* How the file writes a space in a SentencePiece vocabulary: U+2581. */
#define NLM_SPACE_MARK        "\xE2\x96\x81"
#define NLM_SPACE_MARK_LENGTH 3
#define NLM_SPACE_MARK_CODE   0x2581u

typedef struct nlm_vocab {
    nlm_arena arena;           /* of the arrays and the text below */
    bool is_spm;               /* tokenizer.ggml.model is "llama"; else "gpt2", byte-level BPE */
    size_t count;              /* tokens; ids are 0 .. count-1 */
    nlm_bytes *texts;          /* as the file writes them */
    nlm_bytes *spelled;        /* the bytes they stand for in running text */
    uint8_t *types;            /* nlm_token_type */
    uint8_t *is_end;           /* ends a generation */
    int32_t byte_ids[256];     /* the token that spells one byte, or -1 */
    int32_t bos, eos, unknown; /* -1: none */
    bool adds_bos, adds_eos;
    bool adds_space_prefix;         /* SentencePiece: a text is encoded with a space in front */
    bool shares_space_prefix;       /* ... but where it begins with one */
    bool prefixes_start_only;       /* ... and not behind a control token */
    bool removes_extra_whitespaces; /* SentencePiece: runs of spaces become one, none at the ends */
} nlm_vocab;

/* Hugging Face's Metaspace puts no space before one, "first" not after a control token, other programs' files always
 * both: the value of this key is its prepend_scheme. */
#define NLM_VOCAB_PREPEND_KEY "tokenizer.nlm.prepend_scheme"

typedef struct nlm_vocab_options {
    bool is_spm;                 /* else byte-level BPE */
    bool adds_bos;               /* where the file has no tokenizer.ggml.add_bos_token */
    const char *const *controls; /* texts, NULL-terminated, of tokens that are control tokens whatever their type
                                    in the file; or NULL */
} nlm_vocab_options;

/* Reads tokens, types and special ids into a zeroed vocabulary. Special ids that are none of its tokens are
 * absent ones, with a warning in the log. Errors NOT_FOUND (no tokens), BAD_FORMAT (key, index, what was
 * expected), OUT_OF_MEMORY. Release the vocabulary after an error too. */
nlm_status nlm_vocab_read(nlm_vocab *vocab, const nlm_gguf *gguf, const nlm_vocab_options *options, nlm_error *err);
void nlm_vocab_release(nlm_vocab *vocab);
/* The first entry whose text is exactly this, or -1. Looks at all of them: for a few names at load. */
int32_t nlm_vocab_find(const nlm_vocab *vocab, const char *text, size_t length);

/* Whether encoding text with a byte-level BPE vocabulary may give the token: it is text, and written as bytes. Some
 * files have raw text in normal tokens, beside one that is written as bytes or alone: other tokenizers only decode
 * them. */
bool nlm_vocab_is_mergeable(const nlm_vocab *vocab, size_t id);

/* Whether encoding with a byte-level BPE vocabulary leaves a byte out: it has no token, as Hugging Face's tokenizers
 * do. A byte that no UTF-8 holds has been U+FFFD before it comes to them, and is not left out. */
bool nlm_vocab_drops(const nlm_vocab *vocab, unsigned char byte);

/* The array of metadata under `key`, NULL when there is none; BAD_FORMAT if it is no array of strings
 * (is_strings) or of numbers. */
nlm_status nlm_vocab_array(const nlm_gguf *gguf, const char *key, bool is_strings, const nlm_gguf_entry **out,
                           nlm_error *err);

/* Byte-level BPE writes each byte as a printable character: the bytes that Latin-1 shows stand for
 * themselves, the other 68 are U+0100 onwards in order. Turns such text into its bytes; false if it
 * holds a character that is none of the 256. `out` has room for text.length bytes, or is NULL.
 * Source: Radford et al. 2019, encoder.py, bytes_to_unicode. */
bool nlm_bpe_bytes(nlm_bytes text, char *out, uint32_t *out_length);
/* The code point of the character that a byte is written as. */
uint32_t nlm_bpe_code(unsigned char byte);

#endif
