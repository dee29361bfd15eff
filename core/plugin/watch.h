/* What a plugin must leave as it was. */
#ifndef NLM_PLUGIN_WATCH_H
#define NLM_PLUGIN_WATCH_H

#include <limits.h>
#include <signal.h>
#include "plugin/fp_mode.h"
#include "plugin/verdict.h"

#define NLM_WATCH_SIGNALS 32

typedef struct nlm_watch {
    nlm_fp_mode fp_mode;
    char locale[256];
    char directory[PATH_MAX];
    sigset_t mask;
    struct sigaction handlers[NLM_WATCH_SIGNALS]; /* by number; 0 is unused */
} nlm_watch;

/* Notes the calling thread's floating-point mode and signal mask, and the process's locale, working
 * directory and signal handlers. */
void nlm_watch_start(nlm_watch *watch);
/* Refuses if one of them has changed, `culprit` ("its probe") being named; and puts it back. */
bool nlm_watch_check(const nlm_watch *watch, const char *culprit, nlm_verdict *verdict);

#endif
