/* Text to standard output as it comes, and Ctrl-C. */
#include "nlm-run/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define SHOW_AFTER_NS 500000000ull

static volatile sig_atomic_t has_interrupt;

static void on_interrupt(int number) {
    (void)number;
    has_interrupt = 1;
}

void interrupt_catch(void) {
    /* Without SA_RESTART: a read from the keyboard ends too. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

bool interrupt_came(void) {
    return has_interrupt != 0;
}

static void write_now(output *out, const char *text, size_t length) {
    if (out->write_errno) return;
    errno = 0;
    const bool is_written = fwrite(text, 1, length, stdout) == length && fflush(stdout) == 0;
    if (!is_written) out->write_errno = errno ? errno : EIO;
}

int32_t output_text(void *user, const char *text, size_t length) {
    output *out = user;
    if (out->collects) {
        nlm_str_append(&out->text, text, length);
    } else {
        write_now(out, text, length);
    }
    if (length) out->ends_line = text[length - 1] == '\n';
    return interrupt_came() || out->write_errno != 0 || out->text.has_failed;
}

void output_newline(output *out) {
    if (!out->collects && !out->ends_line) write_now(out, "\n", 1);
    out->ends_line = true;
}

int progress_show(void *user, double fraction) {
    progress *p = user;
    const unsigned long long now = nlm_clock_ns();
    if (p->start_ns == 0) p->start_ns = now;
    if (now - p->start_ns > SHOW_AFTER_NS && isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s %3.0f%%", p->label, 100 * fraction);
        p->is_shown = true;
    }
    return interrupt_came();
}

void progress_end(progress *p) {
    if (p->is_shown) fprintf(stderr, "\r\033[K");
    *p = (progress){.label = p->label};
}
