/* What a plugin may leave running or open in a process of which the rest stands still. */
#ifndef NLM_PLUGIN_LEFTOVERS_H
#define NLM_PLUGIN_LEFTOVERS_H

#include <stddef.h>
#include "plugin/verdict.h"

#define NLM_LEFTOVERS_DESCRIPTORS 1024

typedef struct nlm_leftovers {
    size_t n_threads;
    bool is_open[NLM_LEFTOVERS_DESCRIPTORS]; /* by number; those above are not looked at */
} nlm_leftovers;

/* Notes the process's threads and descriptors. Only of use where no other code starts or opens any, as in
 * a child process made to look at a plugin. */
void nlm_leftovers_start(nlm_leftovers *before);
/* Has a device node (/dev/nvidiactl) been opened since? Such a process holds a driver's runtime, whose threads,
 * descriptors and processes cannot be told from the plugin's. */
bool nlm_leftovers_hold_device(const nlm_leftovers *before);
/* Refuses if there are more threads or descriptors than before, or a descriptor is gone; `culprit` ("its
 * probe") is named. Where a device is held nothing is refused. */
bool nlm_leftovers_check(const nlm_leftovers *before, const char *culprit, nlm_verdict *verdict);

#endif
