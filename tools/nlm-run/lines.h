/* The lines of a chat: edited where stdin is a terminal and libedit is there, else as they come. */
#ifndef NLM_RUN_LINES_H
#define NLM_RUN_LINES_H

#include <nlm/status.h>
#include <stdbool.h>
#include "base/str.h"

struct editor;

typedef struct lines {
    bool is_terminal;
    struct editor *editor; /* NULL: the terminal's own lines */
    size_t number;         /* of the last one read, from 1 */
} lines;

void lines_open(lines *in);
void lines_close(lines *in);
/* Replaces *out by the next line, less its end; *out_has_line: false at the end of the input and after Ctrl-C.
 * Errors   IO, OUT_OF_MEMORY, INVALID_ARGUMENT (a NUL byte), LIMIT (too long, or cut by the terminal). */
nlm_status lines_read(lines *in, nlm_str *out, bool *out_has_line, nlm_error *err);

/* ---- between lines.c and edit.c ----------------------------------------------------------- */

/* NULL where there is no libedit, or no terminal that it can use. */
struct editor *editor_open(void);
void editor_close(struct editor *editor);
/* One line or what was pasted, with its newline; false at the end and after Ctrl-C. */
bool editor_read(struct editor *editor, nlm_str *out);

#endif
