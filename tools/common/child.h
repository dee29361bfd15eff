/* Processes that a program starts for parts of its work. */
#ifndef NLM_COMMON_CHILD_H
#define NLM_COMMON_CHILD_H

#include <sys/types.h>

/* fork(), of which the child is killed when the calling thread ends, however that comes about: it does not go on
 * alone when somebody has ended the program. */
pid_t nlm_fork(void);

#endif
