/* Text to standard output as it comes, and Ctrl-C. */
#include "nlm-run/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "common/terminal.h"

#define SHOW_AFTER_NS 500000000ull
#define SHOW_EVERY_NS 100000000ull /* a terminal that redraws takes the CPU from what it shows */
#define TERM_SECONDS  3

static volatile sig_atomic_t has_interrupt, has_term;

static void on_signal(int number) {
    if (number == SIGINT) {
        has_interrupt = 1;
    } else {
        has_term = 1;
        alarm(TERM_SECONDS);
    }
}

/* Not every step asks for signals, and who sent a SIGTERM may send but one. It has its default action by now. */
static void on_alarm(int number) {
    (void)number;
    raise(SIGTERM);
}

static void catch_once(int number) {
    /* Without SA_RESTART: a read from the keyboard ends too. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

void interrupt_catch(void) {
    catch_once(SIGINT);
    catch_once(SIGTERM);
    struct sigaction on_time = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &on_time, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

bool interrupt_came(void) {
    return has_interrupt || has_term;
}

void interrupt_forget(void) {
    has_interrupt = 0;
    catch_once(SIGINT);
}

static void write_now(output *out, const char *text, size_t length) {
    if (out->write_errno) return;
    errno = 0;
    const bool is_whole =
        out->escapes ? nlm_write_shown(stdout, text, length) : fwrite(text, 1, length, stdout) == length;
    const bool is_written = is_whole && fflush(stdout) == 0;
    if (!is_written) out->write_errno = errno ? errno : EIO;
}

int32_t output_text(void *user, const char *text, size_t length) {
    output *out = user;
    if (out->keeps) nlm_str_append(&out->text, text, length);
    if (!out->is_silent) write_now(out, text, length);
    if (length) out->ends_line = text[length - 1] == '\n';
    return interrupt_came() || out->write_errno != 0 || out->text.has_failed;
}

void output_newline(output *out) {
    if (!out->is_silent && !out->ends_line) write_now(out, "\n", 1);
    out->ends_line = true;
}

void output_separate(const output *out) {
    struct stat text, told;
    if (out->is_silent || out->ends_line || fstat(STDOUT_FILENO, &text) != 0 || fstat(STDERR_FILENO, &told) != 0)
        return;
    if (text.st_dev == told.st_dev && text.st_ino == told.st_ino) fputs("\n", stderr);
}

int progress_show(void *user, double fraction) {
    progress *p = user;
    const unsigned long long now = nlm_clock_ns();
    if (p->start_ns == 0) p->start_ns = now;
    const bool is_due = now - p->start_ns > SHOW_AFTER_NS && now - p->shown_ns > SHOW_EVERY_NS;
    if (is_due && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s %3.0f%%", p->label, 100 * fraction);
        p->is_shown = true;
        p->shown_ns = now;
    }
    return interrupt_came();
}

void progress_end(progress *p) {
    if (p->is_shown) fprintf(stderr, "\r\033[K");
    *p = (progress){.label = p->label};
}
