/* Text from outside on its way to a terminal, and what a long run is at. */
#ifndef NLM_TOOLS_TERMINAL_H
#define NLM_TOOLS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes text[0..length), whole characters, with newlines and tabs as they are and every other control character and
 * byte that is not UTF-8 escaped: it can neither clear the screen nor set the title. false: errno says why. */
bool nlm_write_shown(FILE *file, const char *text, size_t length);

/* Shows on stderr, if that is a terminal, what the program is at, in place of what it was at before. */
void nlm_show_step(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Erases it. */
void nlm_end_steps(void);

#endif
