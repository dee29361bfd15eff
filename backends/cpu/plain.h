/* Ops that move or compare and do no arithmetic: the same code serves every CPU backend. */
#ifndef NLM_CPU_PLAIN_H
#define NLM_CPU_PLAIN_H

#include <nlm/plugin.h>

nlm_status nlm_cpu_copy(const nlm_exec_v1 *x, const nlm_copy_args *args);
nlm_status nlm_cpu_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args);

#endif
