/* The text on its way to stdout, and Ctrl-C. */
#ifndef NLM_RUN_OUTPUT_H
#define NLM_RUN_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

typedef struct output {
    bool is_silent;  /* --json: nothing is written as it comes */
    bool keeps;      /* the text, for --json and for what a chat goes on from */
    bool escapes;    /* control characters, for a terminal: common/terminal.h */
    nlm_str text;    /* what was kept */
    bool ends_line;  /* the last byte written was a newline, or none was written */
    int write_errno; /* why stdout failed; 0: it has not */
} output;

/* An nlm_text_fn over an output: writes at once, and ends the generation after Ctrl-C or a failed write. */
int32_t output_text(void *user, const char *text, size_t length);
/* Ends a line that the text has not ended. */
void output_newline(output *out);
/* The same on stderr, before what is told there, if it goes where stdout does; stdout has the text alone. */
void output_separate(const output *out);

/* From now on Ctrl-C (SIGINT, SIGTERM) sets a flag, the second time it kills, as does a SIGTERM that nothing has
 * looked at within seconds; a reader of stdout that is gone is an error of the write, not a signal. */
void interrupt_catch(void);
bool interrupt_came(void);
/* Takes a Ctrl-C as done with: the next one is the first again. A SIGTERM stays. */
void interrupt_forget(void);

/* An nlm_progress_fn that shows "LABEL 42%" on stderr if that is a terminal and it takes a while; cancels
 * after Ctrl-C. */
typedef struct progress {
    const char *label;
    unsigned long long start_ns; /* 0: begins with the next call */
    unsigned long long shown_ns;
    bool is_shown;
} progress;
int progress_show(void *user, double fraction);
/* Erases it. */
void progress_end(progress *p);

#endif
