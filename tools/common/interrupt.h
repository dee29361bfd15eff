/* SIGINT, SIGTERM and SIGHUP for programs that end their work in order. */
#ifndef NLM_COMMON_INTERRUPT_H
#define NLM_COMMON_INTERRUPT_H

#include <nlm/status.h>
#include <stdbool.h>

/* From now on each of the three is noted. One that comes half a second or more after the first ends the program at
 * once. A hangup that is ignored, as under nohup, stays so. */
void nlm_interrupt_catch(void);
/* The same, and the first of them ends standard input: a read of it that is about to begin waits for nothing. */
void nlm_interrupt_catch_reading(void);
/* Whether one came since they are caught. */
bool nlm_interrupt_came(void);

/* Around the writing of files: catches the three, and the first of them makes the writing fail with CANCELLED, so
 * that no temporary is left. The end takes what the writing came to and gives it back, and the three have their
 * default action again. One that came too late for the writing to notice ends the program there. */
void nlm_interrupt_begin_files(void);
nlm_status nlm_interrupt_end_files(nlm_status status);

#endif
