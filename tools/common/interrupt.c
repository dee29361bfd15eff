/* SIGINT, SIGTERM and SIGHUP for programs that end their work in order. */
#include "common/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define ONE_INTERRUPT_NS 500000000u /* `timeout` sends its signal to the program, and then to all of its group */

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

static volatile sig_atomic_t first; /* the signal that came first; 0: none */
static uint64_t first_ns;           /* when it came; written and read by the handler alone */
static int no_input = -1;           /* a file that is empty, to be standard input then; -1: that stays */

static void note(int number) {
    const uint64_t now_ns = nlm_clock_ns();
    if (!first) {
        first_ns = now_ns;
        first = number;
        const int before = errno;
        if (no_input >= 0) (void)dup2(no_input, STDIN_FILENO);
        errno = before;
    }
    if (now_ns - first_ns < ONE_INTERRUPT_NS) return;
    signal(number, SIG_DFL);
    raise(number);
}

static void set_handlers(void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&action.sa_mask, numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        const bool is_known = sigaction(numbers[i], NULL, &before) == 0;
        if (numbers[i] == SIGHUP && is_known && before.sa_handler == SIG_IGN) continue;
        sigaction(numbers[i], &action, NULL);
    }
}

void nlm_interrupt_catch(void) {
    first = 0;
    set_handlers(note);
}

void nlm_interrupt_catch_reading(void) {
    if (no_input < 0) no_input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    nlm_interrupt_catch();
}

bool nlm_interrupt_came(void) {
    return first != 0;
}

void nlm_interrupt_begin_files(void) {
    nlm_interrupt_catch();
    nlm_file_cancel_by(&first);
}

nlm_status nlm_interrupt_end_files(nlm_status status) {
    nlm_file_cancel_by(NULL);
    set_handlers(SIG_DFL);
    if (status == NLM_OK && first) raise(first);
    return status;
}
