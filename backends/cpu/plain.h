/* Ops that move, compare or choose, with next to no arithmetic: the same code serves every CPU backend. */
#ifndef NLM_CPU_PLAIN_H
#define NLM_CPU_PLAIN_H

#include <nlm/plugin.h>

nlm_status nlm_cpu_copy(const nlm_exec_v1 *x, const nlm_copy_args *args);
nlm_status nlm_cpu_argmax(const nlm_exec_v1 *x, const nlm_argmax_args *args);
nlm_status nlm_cpu_advance(const nlm_exec_v1 *x, const nlm_advance_args *args);
/* With so many bytes of scratch. */
nlm_status nlm_cpu_sample(const nlm_exec_v1 *x, const nlm_sample_args *args);
uint64_t nlm_cpu_sample_scratch(int64_t columns);

#endif
