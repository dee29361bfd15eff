/* Unicode normalisation form C. */
#ifndef NLM_TEXT_NFC_H
#define NLM_TEXT_NFC_H

#include "base/str.h"

#include <nlm/status.h>

/* Whether text[0..length), of any bytes, is surely in form C already: it has nothing at or above
 * U+0300, where the first combining mark is. */
bool nlm_nfc_is_trivial(const char *text, size_t length);

/* Appends text[0..length) in form C; bytes that are no valid UTF-8 are kept as they are, and nothing
 * composes across them. Time linear in length (n log n in the longest run of combining marks).
 * Source   Unicode Standard Annex 15. */
nlm_status nlm_nfc_append(const char *text, size_t length, nlm_str *out, nlm_error *err);

#endif
