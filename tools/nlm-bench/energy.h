/* Energy of the machine's CPU packages, where the kernel lets it be read (RAPL through powercap). */
#ifndef NLM_BENCH_ENERGY_H
#define NLM_BENCH_ENERGY_H

#include <stdint.h>

#define ENERGY_DOMAINS 16

typedef struct energy_domain {
    char path[96]; /* of energy_uj */
    uint64_t last_uj, range_uj;
} energy_domain;

typedef struct energy_meter {
    energy_domain domains[ENERGY_DOMAINS];
    int count; /* 0: nothing can be read */
} energy_meter;

void energy_open(energy_meter *meter);
/* Joules since the last call (or since energy_open), all packages; NaN if they cannot be read. Call more often than
 * the counters wrap (minutes). */
double energy_joules(energy_meter *meter);

#endif
