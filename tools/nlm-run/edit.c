/* Lines edited with libedit: history, and a paste of several lines as one question. */
#include "nlm-run/lines.h"

#ifdef NLM_HAS_LIBEDIT

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "nlm-run/output.h"

#define HISTORY_LINES 1000

/* A terminal that knows them puts what is pasted between ESC [200~ and ESC [201~. */
#define PASTE_ON  "\033[?2004h"
#define PASTE_OFF "\033[?2004l"
static const wchar_t paste_end[] = L"\033[201~";

struct editor {
    EditLine *line;
    History *history;
    bool has_paste;
};

static char *prompt(EditLine *line) {
    (void)line;
    static char text[] = "> ";
    return text;
}

/* Grows *text to hold one more character than `count` and the end. */
static bool reserve(wchar_t **text, size_t count, size_t *capacity) {
    if (count + 2 <= *capacity) return true;
    const size_t wanted = *capacity ? 2 * *capacity : 1024;
    wchar_t *larger = realloc(*text, wanted * sizeof *larger);
    if (!larger) return false;
    *text = larger;
    *capacity = wanted;
    return true;
}

/* What is pasted, up to its end mark; NULL when memory or the input ran out. Terminals send a newline as a carriage
 * return; other control characters but tabs are nothing to edit. */
static wchar_t *read_paste(EditLine *line) {
    const size_t n_end = wcslen(paste_end);
    wchar_t *text = NULL, c;
    size_t count = 0, capacity = 0;
    for (;;) {
        if (el_wgetc(line, &c) != 1 || !reserve(&text, count, &capacity)) break;
        if (c == L'\r') c = L'\n';
        if (c < L' ' && c != L'\n' && c != L'\t' && c != paste_end[0]) continue;
        text[count++] = c;
        if (count < n_end || wmemcmp(text + count - n_end, paste_end, n_end) != 0) continue;
        text[count - n_end] = L'\0';
        return text;
    }
    free(text);
    return NULL;
}

static unsigned char take_paste(EditLine *line, int key) {
    (void)key;
    wchar_t *text = read_paste(line);
    const bool is_taken = text && el_winsertstr(line, text) == 0;
    free(text);
    return is_taken ? CC_REFRESH : CC_ERROR;
}

/* As libedit's own, but ended by Ctrl-C. Bytes that are no character of the locale are left out. */
static int read_character(EditLine *line, wchar_t *out) {
    (void)line;
    mbstate_t state = {0};
    for (;;) {
        char byte;
        const ssize_t count = read(STDIN_FILENO, &byte, 1);
        if (count < 0 && errno == EINTR && !interrupt_came()) continue;
        if (count <= 0) return (int)count;
        const size_t result = mbrtowc(out, &byte, 1, &state);
        if (result == (size_t)-1) state = (mbstate_t){0};
        if (result == 1 || result == 0) return 1;
    }
}

/* What is typed is UTF-8, whatever the locale says of it. */
static void choose_locale(void) {
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

struct editor *editor_open(void) {
    if (!isatty(STDERR_FILENO)) return NULL;
    choose_locale();
    struct editor *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    const char *terminal = getenv("TERM");
    e->has_paste = terminal && strcmp(terminal, "dumb") != 0;
    e->line = el_init("nlm-run", stdin, stderr, stderr);
    e->history = history_init();
    HistEvent event;
    if (!e->line || !e->history || history(e->history, &event, H_SETSIZE, HISTORY_LINES) < 0) {
        editor_close(e);
        return NULL;
    }
    el_set(e->line, EL_PROMPT, prompt);
    el_set(e->line, EL_EDITOR, "emacs");
    el_set(e->line, EL_HIST, history, e->history);
    el_set(e->line, EL_GETCFN, read_character);
    el_set(e->line, EL_ADDFN, "nlm-paste", "take what is pasted", take_paste);
    el_set(e->line, EL_BIND, "\\e[200~", "nlm-paste", NULL);
    el_source(e->line, NULL);
    return e;
}

void editor_close(struct editor *e) {
    if (!e) return;
    if (e->history) history_end(e->history);
    if (e->line) el_end(e->line);
    free(e);
}

bool editor_read(struct editor *e, nlm_str *out) {
    /* Before the prompt, which libedit would show first: a Ctrl-D between the two would be lost. */
    el_set(e->line, EL_PREP_TERM, 1);
    if (e->has_paste) fputs(PASTE_ON, stderr);
    int count = 0;
    const char *text = el_gets(e->line, &count);
    if (e->has_paste) fputs(PASTE_OFF, stderr);
    if (!text || count <= 0) {
        fputs("\n", stderr);
        return false;
    }
    nlm_str_puts(out, text);
    HistEvent event;
    if (text[0] != '\n') history(e->history, &event, H_ENTER, text);
    return true;
}

#else

struct editor *editor_open(void) {
    return NULL;
}

void editor_close(struct editor *editor) {
    (void)editor;
}

bool editor_read(struct editor *editor, nlm_str *out) {
    (void)editor;
    (void)out;
    return false;
}

#endif
