/* Text to token ids and back, from a GGUF's tokenizer.* metadata. */
#ifndef NLM_TEXT_TOKENIZER_H
#define NLM_TEXT_TOKENIZER_H

#include "base/str.h"
#include "format/gguf.h"
#include "text/token_trie.h"

typedef struct nlm_tokenizer nlm_tokenizer;

/* Copies what it needs: the GGUF may be closed afterwards. Errors NOT_FOUND (no tokenizer metadata),
 * UNSUPPORTED (a model or pre-tokenizer that is not known: named, with those that are), BAD_FORMAT. */
nlm_status nlm_tokenizer_create(const nlm_gguf *gguf, nlm_tokenizer **out, nlm_error *err);
/* As nlm_tokenizer_create; `controls`, NULL-terminated or NULL, are control tokens where the vocabulary has
 * them, whatever the file says of their type: what a user writes never becomes one. */
nlm_status nlm_tokenizer_create_for(const nlm_gguf *gguf, const char *const *controls, nlm_tokenizer **out,
                                    nlm_error *err);
/* One more holder, who calls nlm_tokenizer_destroy too; from any thread. */
nlm_tokenizer *nlm_tokenizer_retain(nlm_tokenizer *tokenizer);
void nlm_tokenizer_destroy(nlm_tokenizer *tokenizer); /* the last holder's call frees it */

/* A growing array of ids; zeroed is empty. */
typedef struct nlm_ids {
    int32_t *data;
    size_t count;
    size_t capacity;
} nlm_ids;
nlm_status nlm_ids_append(nlm_ids *ids, int32_t id);
void nlm_ids_release(nlm_ids *ids);

enum {
    NLM_ENCODE_BOS = 1,    /* put BOS/EOS where the model's add_bos_token/add_eos_token say */
    NLM_ENCODE_SPECIAL = 2 /* text that spells a control token becomes that token (templates; not user text) */
};

/* Appends the ids of text[0..length), which may hold any bytes. User-defined tokens are found in it
 * always. What a SentencePiece vocabulary cannot spell becomes its unknown token, or U+FFFD, and
 * U+2581 is a space to it. A byte-level one leaves out the bytes that it has no token for, and spells those that no
 * UTF-8 holds as U+FFFD. Time linear in length (n log n in the longest word).
 * Errors   LIMIT (over 1 GiB), UNSUPPORTED (a SentencePiece vocabulary can spell neither a byte nor U+FFFD),
 *          OUT_OF_MEMORY; *out is then as it was.
 * Threads  safe on one tokenizer. */
nlm_status nlm_tokenizer_encode(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                nlm_ids *out, nlm_error *err);

/* Parts [from, to) of a text that a user wrote: ascending, not overlapping. */
typedef struct nlm_text_span {
    size_t from, to;
} nlm_text_span;
/* A growing array of spans; zeroed is empty. */
typedef struct nlm_text_spans {
    nlm_text_span *data;
    size_t count, capacity;
} nlm_text_spans;
void nlm_text_spans_release(nlm_text_spans *spans);

/* As nlm_tokenizer_encode, but what a user span touches never becomes a control token, as without
 * NLM_ENCODE_SPECIAL. Not the same as encoding the parts one by one: words may cross their ends. */
nlm_status nlm_tokenizer_encode_spans(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                                      const nlm_text_spans *user_spans, nlm_ids *out, nlm_error *err);

/* Appends the bytes of one id as they stand in running text (control tokens give nothing unless
 * `with_special`). Exact for every byte sequence. An id out of range is INVALID_ARGUMENT. */
nlm_status nlm_tokenizer_decode(const nlm_tokenizer *tokenizer, int32_t id, bool with_special, nlm_str *out,
                                nlm_error *err);
/* One token as it stands in running text. */
typedef struct nlm_piece {
    const char *text; /* the tokenizer's, not terminated */
    size_t length;
    bool is_hidden; /* a control token or its like, which is not shown */
} nlm_piece;
/* An id out of range is INVALID_ARGUMENT. */
nlm_status nlm_tokenizer_piece(const nlm_tokenizer *tokenizer, int32_t id, nlm_piece *out, nlm_error *err);

/* Whole texts: as the above for each, less the spaces that the encoder put in front of the text and after
 * control tokens (SentencePiece). */
nlm_status nlm_tokenizer_decode_all(const nlm_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    bool with_special, nlm_str *out, nlm_error *err);

/* The same, id by id. *owes_space, which belongs to the text: the encoder put a space in front of what comes; at the
 * beginning nlm_tokenizer_adds_space. */
nlm_status nlm_tokenizer_decode_next(const nlm_tokenizer *tokenizer, int32_t id, bool with_special, bool *owes_space,
                                     nlm_str *out, nlm_error *err);
bool nlm_tokenizer_adds_space(const nlm_tokenizer *tokenizer);

size_t nlm_tokenizer_count(const nlm_tokenizer *tokenizer);
int32_t nlm_tokenizer_bos(const nlm_tokenizer *tokenizer); /* -1: none */
int32_t nlm_tokenizer_eos(const nlm_tokenizer *tokenizer);
bool nlm_tokenizer_adds_bos(const nlm_tokenizer *tokenizer);
/* Ends a generation: EOS, EOT, <|im_end|>, <|eot_id|> and what the metadata names so. */
bool nlm_tokenizer_is_end(const nlm_tokenizer *tokenizer, int32_t id);
/* The id whose vocabulary entry is exactly this text, or -1. Looks at all entries. */
int32_t nlm_tokenizer_find(const nlm_tokenizer *tokenizer, const char *piece, size_t length);
/* The texts of tokens that are shown and do not end a generation, and those that do end it, for what rules tokens
 * out; made at the first call, and the tokenizer's. Errors   as nlm_token_trie_create. Threads  safe. */
nlm_status nlm_tokenizer_trie(nlm_tokenizer *tokenizer, const nlm_token_trie **out, nlm_error *err);
/* A checksum of all that decides what ids a text gets: where it is the same, so are they. Looks at all entries and
 * merges. */
uint64_t nlm_tokenizer_fingerprint(const nlm_tokenizer *tokenizer);

#endif
