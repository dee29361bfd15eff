/* Processes that a program starts: none that goes on without it. */
#include "common/child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

pid_t nlm_fork(void) {
    const pid_t parent = getpid(), child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it was ended before that */
    return 0;
}
