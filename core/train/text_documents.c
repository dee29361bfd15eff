/* The documents of a text file: what stands between separators, encoded in parts where it is long. */
#include <inttypes.h>
#include <string.h>

#include "base/status.h"
#include "train/documents.h"
#include "train/encode.h"

nlm_status nlm_document_put(nlm_document_sink *sink, bool is_counted, nlm_error *err) {
    const size_t count = sink->ids.count;
    sink->ids.count = 0;
    return nlm_token_writer_add(sink->writer, sink->ids.data, count, is_counted, err);
}

nlm_status nlm_document_begin(nlm_document_sink *sink, nlm_error *err) {
    NLM_TRY(nlm_token_writer_begin(sink->writer, err));
    const int32_t bos = nlm_tokenizer_bos(sink->tokenizer);
    if (!nlm_tokenizer_adds_bos(sink->tokenizer) || bos < 0) return NLM_OK;
    return nlm_token_writer_add(sink->writer, &bos, 1, true, err);
}

nlm_status nlm_document_end(nlm_document_sink *sink, nlm_error *err) {
    const int32_t eos = nlm_tokenizer_eos(sink->tokenizer);
    return eos < 0 ? NLM_OK : nlm_token_writer_add(sink->writer, &eos, 1, true, err);
}

/* One file on its way. */
typedef struct text_reader {
    nlm_document_sink *sink;
    nlm_input *input;
    const char *separator; /* "": there is none */
    size_t separator_length;
    bool is_open; /* a document was begun */
} text_reader;

static bool is_break(char c) {
    return c == '\n' || c == '\r';
}

static nlm_status add_part(text_reader *r, size_t length, nlm_error *err) {
    const bool is_first = !r->is_open;
    if (length == 0) return NLM_OK;
    if (is_first) NLM_TRY(nlm_document_begin(r->sink, err));
    r->is_open = true;
    const nlm_tokenizer *tokenizer = r->sink->tokenizer;
    const char *text = r->input->data;
    NLM_TRY(is_first ? nlm_tokenizer_encode(tokenizer, text, length, 0, &r->sink->ids, err)
                     : nlm_encode_more(tokenizer, text, length, 0, NULL, &r->sink->ids, err));
    return nlm_document_put(r->sink, true, err);
}

static nlm_status add_last_part(text_reader *r, size_t length, nlm_error *err) {
    while (r->separator_length > 0 && length > 0 && is_break(r->input->data[length - 1])) length--;
    NLM_TRY(add_part(r, length, err));
    const bool was_open = r->is_open;
    r->is_open = false;
    return was_open ? nlm_document_end(r->sink, err) : NLM_OK;
}

/* Writes as much of the document as can be known without its end. *window grows if that is nothing. */
static nlm_status add_some(text_reader *r, size_t *window, nlm_error *err) {
    nlm_input *input = r->input;
    const size_t length = input->length > r->separator_length ? input->length - r->separator_length : 0;
    size_t cut;
    NLM_TRY(nlm_find_cut(r->sink->tokenizer, input->data, length, &cut, err));
    if (cut > 0) {
        NLM_TRY(add_part(r, cut, err));
        nlm_input_skip(input, cut);
        *window = r->sink->window;
        return NLM_OK;
    }
    const size_t most = NLM_DOCUMENT_GROWS * r->sink->window;
    if (*window < most) {
        *window *= 2;
        return NLM_OK;
    }
    return nlm_fail(err, NLM_LIMIT, input->path,
                    "%zu bytes from byte %" PRIu64
                    " on have no place where the document can be cut to be encoded in "
                    "parts; expected a line break, or a blank between words, or a separator of documents",
                    most, input->offset);
}

/* Line breaks around a separator are no part of the documents. */
static nlm_status skip_breaks(text_reader *r, nlm_error *err) {
    do {
        NLM_TRY(nlm_input_fill(r->input, 1, err));
        size_t count = 0;
        while (count < r->input->length && is_break(r->input->data[count])) count++;
        nlm_input_skip(r->input, count);
    } while (r->input->length == 0 && !r->input->is_at_end);
    return NLM_OK;
}

nlm_status nlm_text_documents_add(nlm_document_sink *sink, nlm_input *input, nlm_error *err) {
    const char *separator = sink->options->separator ? sink->options->separator : "";
    text_reader r = {.sink = sink, .input = input, .separator = separator, .separator_length = strlen(separator)};
    for (size_t window = sink->window;;) {
        NLM_TRY(nlm_input_fill(input, window, err));
        const char *found = r.separator_length > 0 && input->length > 0
                                ? memmem(input->data, input->length, separator, r.separator_length)
                                : NULL;
        if (!found && input->is_at_end) return add_last_part(&r, input->length, err);
        if (!found) {
            NLM_TRY(add_some(&r, &window, err));
            continue;
        }
        const size_t length = (size_t)(found - input->data);
        NLM_TRY(add_last_part(&r, length, err));
        nlm_input_skip(input, length + r.separator_length);
        NLM_TRY(skip_breaks(&r, err));
        window = sink->window;
    }
}
