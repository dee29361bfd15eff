/* The texts of chat templates whose renderings are known. */
#ifndef NLM_TEXT_CHAT_TEXTS_H
#define NLM_TEXT_CHAT_TEXTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct nlm_chat_text {
    uint64_t hash;    /* of the Jinja text: nlm_chat_text_hash */
    const char *eos;  /* the EOS token with which it renders so; NULL: any */
    const char *name; /* of the template that gives the same, byte for byte */
} nlm_chat_text;

/* nlm_checksum_of the text less one newline at its end, which Jinja drops. */
uint64_t nlm_chat_text_hash(const char *text, size_t length);

/* NULL if this text is none of those known. */
const nlm_chat_text *nlm_chat_text_find(const char *text, size_t length, const char *eos, size_t eos_length);

#endif
