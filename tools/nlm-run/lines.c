/* Lines of standard input, each a question. */
#include "nlm-run/lines.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "common/input.h"
#include "nlm-run/output.h"

/* Of a line that a terminal passes on when it edits it itself, its newline included. */
#define CANONICAL_BYTES 4096u
/* Of any line: more than a context holds. */
#define MAX_BYTES       (64u << 20)

void lines_open(lines *in) {
    *in = (lines){.is_terminal = isatty(STDIN_FILENO)};
    if (in->is_terminal) in->editor = editor_open();
}

void lines_close(lines *in) {
    editor_close(in->editor);
}

static nlm_status read_plain(const lines *in, nlm_str *out, bool *out_has_line, nlm_error *err) {
    if (in->is_terminal) fprintf(stderr, "> ");
    int c = 0;
    while (c != '\n' && (c = getc_unlocked(stdin)) != EOF) {
        const char byte = (char)c;
        nlm_str_append(out, &byte, 1);
        if (out->has_failed) return NLM_OK; /* told by the caller */
        if (out->length <= MAX_BYTES) continue;
        return nlm_fail(err, NLM_LIMIT, "stdin", "line %zu is longer than %u bytes", in->number + 1, MAX_BYTES);
    }
    *out_has_line = out->length > 0 && !interrupt_came();
    if (!ferror(stdin) || interrupt_came()) return NLM_OK;
    return nlm_fail_errno(err, NLM_IO, "stdin", "cannot be read");
}

nlm_status lines_read(lines *in, nlm_str *out, bool *out_has_line, nlm_error *err) {
    out->length = 0;
    if (in->editor)
        *out_has_line = editor_read(in->editor, out);
    else
        NLM_TRY(read_plain(in, out, out_has_line, err));
    if (out->has_failed) return nlm_fail(err, NLM_OUT_OF_MEMORY, "stdin", "no memory for the line");
    if (!*out_has_line) return NLM_OK;
    in->number++;
    if (memchr(out->data, '\0', out->length)) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "stdin", "line %zu holds a NUL byte, which no question may",
                        in->number);
    }
    if (in->is_terminal && !in->editor && out->length == CANONICAL_BYTES) {
        return nlm_fail(err, NLM_LIMIT, "stdin",
                        "the terminal has cut the line at %u bytes: give it by --prompt-file", CANONICAL_BYTES - 1);
    }
    if (out->length && out->data[out->length - 1] == '\n') out->data[--out->length] = '\0';
    if (out->length && out->data[out->length - 1] == '\r') out->data[--out->length] = '\0';
    if (in->number == 1) nlm_clean_input(out);
    return NLM_OK;
}
