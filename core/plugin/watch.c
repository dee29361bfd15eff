/* What a plugin must leave as it was: noted, compared, put back. */
#include "plugin/watch.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void nlm_watch_start(nlm_watch *watch) {
    memset(watch, 0, sizeof *watch);
    watch->fp_mode = nlm_fp_mode_get();
    const char *locale = setlocale(LC_ALL, NULL);
    snprintf(watch->locale, sizeof watch->locale, "%s", locale ? locale : "C");
    if (!getcwd(watch->directory, sizeof watch->directory)) watch->directory[0] = '\0';
    pthread_sigmask(SIG_SETMASK, NULL, &watch->mask);
    for (int i = 1; i < NLM_WATCH_SIGNALS; i++) sigaction(i, NULL, &watch->handlers[i]);
}

static bool restore_fp_mode(const nlm_watch *watch) {
    if (nlm_fp_mode_get() == watch->fp_mode) return true;
    nlm_fp_mode_set(watch->fp_mode);
    return false;
}

static bool restore_locale(const nlm_watch *watch) {
    const char *locale = setlocale(LC_ALL, NULL);
    if (!locale || strncmp(locale, watch->locale, sizeof watch->locale - 1) == 0) return true;
    setlocale(LC_ALL, watch->locale);
    return false;
}

static bool restore_directory(const nlm_watch *watch) {
    char now[PATH_MAX];
    if (!watch->directory[0]) return true;
    if (getcwd(now, sizeof now) && strcmp(now, watch->directory) == 0) return true;
    if (chdir(watch->directory) != 0) return false; /* gone meanwhile: nothing to go back to */
    return false;
}

static bool restore_mask(const nlm_watch *watch) {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    bool is_same = true;
    for (int i = 1; i < NLM_WATCH_SIGNALS; i++) {
        is_same = is_same && sigismember(&now, i) == sigismember(&watch->mask, i);
    }
    if (!is_same) pthread_sigmask(SIG_SETMASK, &watch->mask, NULL);
    return is_same;
}

/* Set by the C library with whatever handler is installed, and not by the caller; the kernel gives it back. A handler
 * that is put back in place may gain it. */
#define KERNEL_FLAGS 0x04000000 /* SA_RESTORER, which no header of the C library names */

static bool is_same_handler(const struct sigaction *a, const struct sigaction *b) {
    return a->sa_handler == b->sa_handler && (a->sa_flags & ~KERNEL_FLAGS) == (b->sa_flags & ~KERNEL_FLAGS);
}

static bool restore_handlers(const nlm_watch *watch) {
    bool is_same = true;
    for (int i = 1; i < NLM_WATCH_SIGNALS; i++) {
        struct sigaction now = {0};
        sigaction(i, NULL, &now);
        if (is_same_handler(&now, &watch->handlers[i])) continue;
        sigaction(i, &watch->handlers[i], NULL);
        is_same = false;
    }
    return is_same;
}

bool nlm_watch_check(const nlm_watch *watch, const char *culprit, nlm_verdict *verdict) {
    static const struct {
        bool (*restore)(const nlm_watch *); /* true if there was nothing to restore */
        const char *what;
    } checks[] = {
        {restore_fp_mode, "the floating-point mode (linked with -ffast-math?)"},
        {restore_locale, "the locale"},
        {restore_directory, "the working directory"},
        {restore_mask, "the signal mask"},
        {restore_handlers, "a signal handler"},
    };
    bool is_good = true;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (!checks[i].restore(watch)) is_good = nlm_refuse(verdict, "%s changes %s", culprit, checks[i].what);
    }
    return is_good;
}
