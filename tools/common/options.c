/* Command lines by a table, with help made of it. */
#include "common/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nlm/nlm.h>
#include "base/file_cut.h"
#include "base/printable.h"
#include "base/str.h"

/* getopt_long's values: letters for themselves, then table lines, then the two every program has. */
enum { FIRST_LINE = 256, MAX_LINES = 64, VALUE_HELP = FIRST_LINE + MAX_LINES, VALUE_VERSION };

typedef struct getopt_tables {
    struct option longs[MAX_LINES + 3];
    size_t n_longs;
    char shorts[2 * MAX_LINES + 8];
} getopt_tables;

int nlm_tell_usage(const nlm_command *command, const char *format, ...) {
    char message[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    nlm_make_printable(message, sizeof message);
    fprintf(stderr, "%s: %s\nTry '%s --help'.\n", command->name, message, command->name);
    return NLM_EXIT_USAGE;
}

static bool has_told_cut;

/* Of a file that was cut under us this is told, whatever else has followed from the zeros that were read. */
void nlm_tell(const nlm_command *command, const nlm_error *err) {
    nlm_error cut = NLM_ERROR_INIT;
    if (nlm_file_cut_check(&cut) != NLM_OK) {
        if (has_told_cut) return;
        has_told_cut = true;
        err = &cut;
    }
    fflush(stdout);
    const bool has_where = err->where[0] != '\0';
    fprintf(stderr, "%s: %s%s%s\n", command->name, has_where ? err->where : "", has_where ? ": " : "", err->msg);
}

int nlm_open_exit_code(const nlm_error *err, const char *backend) {
    if (nlm_file_cut_check(NULL) != NLM_OK) return NLM_EXIT_FAILED; /* what zeros look like is nobody's option */
    const bool is_unknown_backend = backend && err->code == NLM_NOT_FOUND && strcmp(err->where, "backend") == 0;
    return err->code == NLM_INVALID_ARGUMENT || is_unknown_backend ? NLM_EXIT_USAGE : NLM_EXIT_FAILED;
}

bool nlm_stdout_finish(const nlm_command *command) {
    const bool had_failed = ferror(stdout) != 0;
    const bool is_flushed = fflush(stdout) == 0;
    nlm_error cut = NLM_ERROR_INIT;
    if (nlm_file_cut_check(&cut) != NLM_OK) {
        nlm_tell(command, &cut);
        return false;
    }
    if (is_flushed && !had_failed) return true;
    fprintf(stderr, "%s: stdout: %s\n", command->name, errno ? strerror(errno) : "a write failed");
    return false;
}

static void print_option(FILE *file, char letter, const char *name, const char *argument, const char *help) {
    char left[64];
    int used = snprintf(left, sizeof left, letter ? "  -%c" : "    ", letter);
    if (name) used += snprintf(left + used, sizeof left - (size_t)used, "%s--%s", letter ? ", " : "  ", name);
    if (argument) snprintf(left + used, sizeof left - (size_t)used, " %s", argument);
    if (strlen(left) > 28) {
        fprintf(file, "%s\n%30s", left, "");
    } else {
        fprintf(file, "%-30s", left);
    }
    for (const char *line = help; *line;) {
        const size_t length = strcspn(line, "\n");
        fprintf(file, "%s%.*s\n", line == help ? "" : "                              ", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

static int print_help(const nlm_command *command) {
    printf("Usage: %s %s\n%s\n\nOptions\n", command->name, command->usage, command->summary);
    for (size_t i = 0; i < command->n_options; i++) {
        const nlm_option *o = &command->options[i];
        print_option(stdout, o->letter, o->name, o->argument, o->help);
    }
    print_option(stdout, 'h', "help", NULL, "this text");
    print_option(stdout, 0, "version", NULL, "the version");
    if (command->details) printf("\n%s", command->details);
    printf("\nExamples\n%s", command->examples);
    printf("\nExit codes: 0 done, 1 failed, 2 wrong use or configuration.\n");
    return nlm_stdout_finish(command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}

static int print_version(const nlm_command *command) {
    printf("%s %s\n", command->name, nlm_version());
    return nlm_stdout_finish(command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}

static void fill_tables(const nlm_command *command, getopt_tables *tables) {
    *tables = (getopt_tables){.shorts = ":h"};
    size_t n_shorts = strlen(tables->shorts);
    for (size_t i = 0; i < command->n_options && i < MAX_LINES; i++) {
        const nlm_option *o = &command->options[i];
        const int has_value = o->type == NLM_OPTION_FLAG ? no_argument : required_argument;
        if (o->name) {
            tables->longs[tables->n_longs++] = (struct option){o->name, has_value, NULL, FIRST_LINE + (int)i};
        }
        if (!o->letter) continue;
        tables->shorts[n_shorts++] = o->letter;
        if (has_value) tables->shorts[n_shorts++] = ':';
    }
    tables->longs[tables->n_longs++] = (struct option){"help", no_argument, NULL, VALUE_HELP};
    tables->longs[tables->n_longs++] = (struct option){"version", no_argument, NULL, VALUE_VERSION};
}

static const nlm_option *find_option(const nlm_command *command, int value) {
    if (value >= FIRST_LINE) return &command->options[value - FIRST_LINE];
    for (size_t i = 0; i < command->n_options; i++) {
        if (command->options[i].letter == value) return &command->options[i];
    }
    return NULL;
}

static int wrong_value(const nlm_command *command, const nlm_option *o, const char *text, const char *expected) {
    const char letter[2] = {o->letter, '\0'};
    const char *dashes = o->name ? "--" : "-";
    const char *name = o->name ? o->name : letter;
    if (o->min == 0 && o->max == 0) {
        return nlm_tell_usage(command, "%s%s: '%s' is not %s", dashes, name, text, expected);
    }
    return nlm_tell_usage(command, "%s%s: '%s' is not %s from %g to %g", dashes, name, text, expected, o->min,
                          o->max);
}

static bool is_in_range(const nlm_option *o, double value) {
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

static int store(const nlm_command *command, const nlm_option *o, const char *text) {
    char *end = NULL;
    errno = 0;
    switch (o->type) {
        case NLM_OPTION_FLAG: *(bool *)o->out = true; break;
        case NLM_OPTION_TEXT: *(const char **)o->out = text; break;
        case NLM_OPTION_INT: {
            const long long value = strtoll(text, &end, 10);
            if (errno || end == text || *end || !is_in_range(o, (double)value)) {
                return wrong_value(command, o, text, "a whole number");
            }
            *(int64_t *)o->out = value;
            break;
        }
        case NLM_OPTION_NUMBER: {
            const double value = strtod(text, &end);
            if (errno || end == text || *end || value != value || !is_in_range(o, value)) {
                return wrong_value(command, o, text, "a number");
            }
            *(double *)o->out = value;
            break;
        }
        case NLM_OPTION_TEXTS: {
            nlm_option_texts *texts = o->out;
            if (texts->count == NLM_OPTION_TEXTS_MAX) {
                return nlm_tell_usage(command, "--%s: given more than %d times", o->name, NLM_OPTION_TEXTS_MAX);
            }
            texts->items[texts->count++] = text;
            texts->items[texts->count] = NULL;
            break;
        }
    }
    return NLM_OPTIONS_GO_ON;
}

/* Is there an option of another program in argv? It is what was meant, however this one has read it. */
static const nlm_foreign_option *find_foreign(const nlm_command *command, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const size_t length = strcspn(argv[i], "=");
        for (const nlm_foreign_option *f = command->foreign; f && f->name; f++) {
            if (strlen(f->name) == length && strncmp(f->name, argv[i], length) == 0) return f;
        }
    }
    return NULL;
}

/* How the user may spell an option: "--model" or "-n". */
static const char *spell(const nlm_command *command, int value, char buffer[64]) {
    const nlm_option *o = value < VALUE_HELP ? find_option(command, value) : NULL;
    if (value >= FIRST_LINE && (!o || o->name)) {
        snprintf(buffer, 64, "--%s", o ? o->name : value == VALUE_HELP ? "help" : "version");
    } else {
        snprintf(buffer, 64, "-%c", value);
    }
    return buffer;
}

static int unknown_name(const nlm_command *command, const getopt_tables *tables, const char *word) {
    const char *names[MAX_LINES + 3];
    for (size_t i = 0; i < tables->n_longs; i++) names[i] = tables->longs[i].name;
    char given[64];
    snprintf(given, sizeof given, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *nearest = nlm_nearest(given, names, tables->n_longs);
    if (nearest) return nlm_tell_usage(command, "unknown option '--%s'; did you mean '--%s'?", given, nearest);
    return nlm_tell_usage(command, "unknown option '--%s'", given);
}

static int wrong_option(const nlm_command *command, const getopt_tables *tables, int value, const char *word) {
    char buffer[64];
    if (value == ':') return nlm_tell_usage(command, "option '%s' needs a value", spell(command, optopt, buffer));
    if (optopt == 0) return unknown_name(command, tables, word);
    if (optopt >= FIRST_LINE) {
        return nlm_tell_usage(command, "option '%s' takes no value", spell(command, optopt, buffer));
    }
    return nlm_tell_usage(command, "unknown option '-%c'", optopt);
}

static int parse(const nlm_command *command, int argc, char **argv, int *out_first_operand) {
    getopt_tables tables;
    fill_tables(command, &tables);
    for (size_t i = 0; i < command->n_options; i++) {
        if (command->options[i].type == NLM_OPTION_TEXTS) ((nlm_option_texts *)command->options[i].out)->count = 0;
    }
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (;;) {
        const int value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL);
        if (value == -1) break;
        if (value == 'h' || value == VALUE_HELP) return print_help(command);
        if (value == VALUE_VERSION) return print_version(command);
        if (value == '?' || value == ':') return wrong_option(command, &tables, value, argv[optind - 1]);
        const int result = store(command, find_option(command, value), optarg);
        if (result != NLM_OPTIONS_GO_ON) return result;
    }
    if ((size_t)(argc - optind) > command->max_operands) {
        return nlm_tell_usage(command, "unexpected argument '%s'", argv[optind + (int)command->max_operands]);
    }
    *out_first_operand = optind;
    return NLM_OPTIONS_GO_ON;
}

/* A standard stream that is closed stays so for who uses it, but no file that is opened later gets its number, and
 * with it what is meant for the stream. */
static void hold_streams(void) {
    static const int unusable[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", unusable[fd]); /* the least number that is free */
}

int nlm_options_parse(const nlm_command *command, int argc, char **argv, int *out_first_operand) {
    hold_streams();
    nlm_file_cut_guard(); /* every program begins here */
    const int result = parse(command, argc, argv, out_first_operand);
    const nlm_foreign_option *foreign = result == NLM_EXIT_USAGE ? find_foreign(command, argc, argv) : NULL;
    if (foreign) fprintf(stderr, "Here '%s' is %s.\n", foreign->name, foreign->ours);
    return result;
}
