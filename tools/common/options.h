/* What all programs share: command-line options from a table, exit codes, and how failures are told.
 *
 * A program fills an nlm_command with a table of options that point at its own variables, and calls
 * nlm_options_parse. --help and --version come with it. */
#ifndef NLM_TOOLS_OPTIONS_H
#define NLM_TOOLS_OPTIONS_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NLM_EXIT_OK = 0, NLM_EXIT_FAILED = 1, NLM_EXIT_USAGE = 2 };

typedef enum nlm_option_type {
    NLM_OPTION_FLAG,   /* out: bool, set to true */
    NLM_OPTION_TEXT,   /* out: const char *, borrowed from argv */
    NLM_OPTION_INT,    /* out: int64_t, within min and max */
    NLM_OPTION_NUMBER, /* out: double, within min and max */
    NLM_OPTION_TEXTS   /* out: nlm_option_texts; each occurrence appends */
} nlm_option_type;

#define NLM_OPTION_TEXTS_MAX 64

typedef struct nlm_option_texts {
    const char *items[NLM_OPTION_TEXTS_MAX + 1]; /* NULL after the last */
    size_t count;
} nlm_option_texts;

typedef struct nlm_option {
    const char *name; /* "model" for --model; NULL: it has a letter alone */
    char letter;      /* 'n' for -n, or 0 */
    nlm_option_type type;
    const char *argument; /* what the help calls the value: "FILE"; NULL for a flag */
    const char *help;     /* a clause or two, lines separated by '\n' */
    void *out;
    double min, max; /* inclusive; both 0: any */
} nlm_option;

/* What people know from other programs: told where the command line is wrong. */
typedef struct nlm_foreign_option {
    const char *name; /* with its dashes */
    const char *ours; /* what to give in its place */
} nlm_foreign_option;

typedef struct nlm_command {
    const char *name;     /* "nlm-run" */
    const char *usage;    /* "[CONFIG.toml] [options]" */
    const char *summary;  /* one sentence */
    const char *details;  /* further help, whole lines, printed after the options; or NULL */
    const char *examples; /* whole lines */
    const nlm_option *options;
    size_t n_options;
    size_t max_operands;
    const nlm_foreign_option *foreign; /* ended by a NULL name; or NULL */
} nlm_command;

#define NLM_OPTIONS_GO_ON (-1)

/* Parses argv into the variables of the table. Returns NLM_OPTIONS_GO_ON, or what to exit with: 0 after
 * --help or --version, NLM_EXIT_USAGE after a wrong option, which has been told on stderr (with the
 * nearest option there is, or what stands here for another program's). Operands are moved to argv[*out_first_operand
 * .. argc). Asks for the guard of file_cut.h. May be called again with the same argv: TEXTS are emptied at each call,
 * all else is set only by options given. */
int nlm_options_parse(const nlm_command *command, int argc, char **argv, int *out_first_operand);

/* "nlm-run: model.gguf: offset 24: no tensors" on stderr; that a mapped file was cut in its place, and once, if one
 * was. */
void nlm_tell(const nlm_command *command, const nlm_error *err);
/* "nlm-run: MESSAGE\nTry 'nlm-run --help'." on stderr; returns NLM_EXIT_USAGE. */
int nlm_tell_usage(const nlm_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What to exit with when an engine or a model does not open: NLM_EXIT_USAGE where something that an option names, the
 * backend (or NULL) among them, does not exist. */
int nlm_open_exit_code(const nlm_error *err, const char *backend);

/* Flushes stdout. false, and told on stderr, when something written to it was lost (a full disk, a
 * reader that is gone), or when a mapped file was cut while it was read. Call before returning success. */
bool nlm_stdout_finish(const nlm_command *command);

#endif
