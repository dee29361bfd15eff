/* Numbers and untrusted text for people. */
#ifndef NLM_MODEL_SHOW_H
#define NLM_MODEL_SHOW_H

#include "base/str.h"
#include "format/gguf.h"

#include <stdint.h>

/* Appends at most max_columns characters of text[0..length) in a form safe for a terminal: control,
 * direction and invalid bytes as \n, \x1b or \u{202e}, a cut shown by "...". */
void show_text(nlm_str *out, const char *text, uint64_t length, size_t max_columns);
/* 1234567 as "1,234,567". */
void show_count(nlm_str *out, uint64_t value);
/* Three digits and a unit: "512 B", "1.13 MiB". */
void show_bytes(nlm_str *out, uint64_t bytes);
/* An entry's value on one line; strings and arrays are shortened. */
void show_entry(nlm_str *out, const nlm_gguf_entry *entry);
/* "[512, 64]": outermost first, as the engine sees the tensor. */
void show_shape(nlm_str *out, const nlm_gguf_tensor *tensor);
/* The name of a tensor type, also of those nlm does not run; "type 99" for others. Appends. */
void show_tensor_type(nlm_str *out, uint32_t type);

#endif
