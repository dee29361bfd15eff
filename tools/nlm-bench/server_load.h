/* --server: many clients at once ask servers for texts, the servers in turns. */
#ifndef NLM_BENCH_SERVER_LOAD_H
#define NLM_BENCH_SERVER_LOAD_H

#include "nlm-bench/settings.h"

/* Prints what it measured. Errors of server_ask, with the server's URL and the number of clients. */
nlm_status server_load_run(const settings *set, nlm_error *err);

#endif
