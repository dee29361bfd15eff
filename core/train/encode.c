/* Encoding a text in parts. */
#include "train/encode.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define MAX_TRIES 32 /* of places of one kind, before a longer text is looked at */

/* ---- what goes on ----------------------------------------------------------------------------------------- */

/* The spans as they are behind one more character. */
static nlm_status shift_spans(const nlm_text_spans *spans, nlm_text_spans *out, nlm_error *err) {
    *out = (nlm_text_spans){0};
    if (!spans || spans->count == 0) return NLM_OK;
    out->data = malloc(spans->count * sizeof *out->data);
    if (!out->data) return nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "no memory for %zu spans", spans->count);
    for (size_t i = 0; i < spans->count; i++) {
        out->data[i] = (nlm_text_span){spans->data[i].from + 1, spans->data[i].to + 1};
    }
    out->count = out->capacity = spans->count;
    return NLM_OK;
}

/* The ids of the text behind a line break, less that one's; *out_is_apart: it stayed by itself. */
static nlm_status encode_behind(const nlm_tokenizer *tokenizer, const nlm_str *text, uint32_t flags,
                                const nlm_text_spans *spans, nlm_ids *out, bool *out_is_apart, nlm_error *err) {
    nlm_ids lead = {0}, all = {0};
    nlm_status status = nlm_tokenizer_encode(tokenizer, "\n", 1, 0, &lead, err);
    if (status == NLM_OK) {
        status = nlm_tokenizer_encode_spans(tokenizer, text->data, text->length, flags, spans, &all, err);
    }
    *out_is_apart = status == NLM_OK && lead.count > 0 && all.count >= lead.count &&
                    memcmp(lead.data, all.data, lead.count * sizeof *lead.data) == 0;
    for (size_t i = lead.count; *out_is_apart && status == NLM_OK && i < all.count; i++) {
        status = nlm_ids_append(out, all.data[i]);
        if (status != NLM_OK) nlm_fail(err, status, __func__, "no memory for the ids");
    }
    nlm_ids_release(&lead);
    nlm_ids_release(&all);
    return status;
}

nlm_status nlm_encode_more(const nlm_tokenizer *tokenizer, const char *text, size_t length, uint32_t flags,
                           const nlm_text_spans *user_spans, nlm_ids *out, nlm_error *err) {
    bool is_apart = false;
    if (nlm_tokenizer_adds_space(tokenizer)) {
        nlm_str behind = {0};
        nlm_text_spans shifted;
        nlm_str_puts(&behind, "\n");
        nlm_str_append(&behind, text, length);
        nlm_status status = shift_spans(user_spans, &shifted, err);
        if (behind.has_failed) status = nlm_fail(err, NLM_OUT_OF_MEMORY, __func__, "no memory for %zu bytes", length);
        if (status == NLM_OK) status = encode_behind(tokenizer, &behind, flags, &shifted, out, &is_apart, err);
        nlm_text_spans_release(&shifted);
        nlm_str_release(&behind);
        NLM_TRY(status);
    }
    if (is_apart) return NLM_OK;
    return nlm_tokenizer_encode_spans(tokenizer, text, length, flags, user_spans, out, err);
}

/* ---- where to cut --------------------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return (unsigned char)c <= ' ';
}

/* Places that tokenizers do not merge across, as a rule: behind a lone line break, or before a lone blank. */
static bool is_candidate(const char *text, size_t at, bool is_line) {
    if (is_line) return text[at - 1] == '\n' && !is_blank(text[at - 2]) && !is_blank(text[at]);
    return text[at] == ' ' && !is_blank(text[at - 1]) && !is_blank(text[at + 1]);
}

/* Whether the text around the place gets the same ids cut there. */
static nlm_status try_cut(const nlm_tokenizer *tokenizer, const char *text, size_t length, size_t at, bool *out,
                          nlm_error *err) {
    size_t from = at > NLM_CUT_CONTEXT ? at - NLM_CUT_CONTEXT : 0;
    while (from < at && ((unsigned char)text[from] & 0xC0) == 0x80) from++; /* not within a character */
    const size_t after = length - at < NLM_CUT_CONTEXT ? length - at : NLM_CUT_CONTEXT;
    const size_t to = at + nlm_utf8_complete(text + at, after);
    nlm_ids whole = {0}, parts = {0};
    nlm_status status = nlm_tokenizer_encode(tokenizer, text + from, to - from, 0, &whole, err);
    if (status == NLM_OK) status = nlm_tokenizer_encode(tokenizer, text + from, at - from, 0, &parts, err);
    if (status == NLM_OK) status = nlm_encode_more(tokenizer, text + at, to - at, 0, NULL, &parts, err);
    *out = status == NLM_OK && whole.count == parts.count &&
           (whole.count == 0 || memcmp(whole.data, parts.data, whole.count * sizeof *whole.data) == 0);
    nlm_ids_release(&whole);
    nlm_ids_release(&parts);
    return status;
}

nlm_status nlm_find_cut(const nlm_tokenizer *tokenizer, const char *text, size_t length, size_t *out_cut,
                        nlm_error *err) {
    *out_cut = 0;
    for (int is_line = 1; is_line >= 0; is_line--) {
        int n_tries = 0;
        for (size_t at = length > NLM_CUT_CONTEXT ? length - NLM_CUT_CONTEXT : 0; at > 1; at--) {
            if (!is_candidate(text, at, is_line)) continue;
            bool is_good = false;
            NLM_TRY(try_cut(tokenizer, text, length, at, &is_good, err));
            if (is_good) *out_cut = at;
            if (is_good || ++n_tries == MAX_TRIES) break;
        }
        if (*out_cut) return NLM_OK;
    }
    return NLM_OK;
}
