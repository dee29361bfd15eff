/* Joules of the package between two moments, where the kernel counts them. */
#include "nlm-bench/energy.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "/sys/class/powercap/intel-rapl:%d/%s"

static bool read_text(const char *path, char *out, int size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const bool is_read = fgets(out, size, file) != NULL;
    fclose(file);
    return is_read;
}

static bool read_number(const char *path, uint64_t *out) {
    char text[32];
    return read_text(path, text, sizeof text) && sscanf(text, "%" SCNu64, out) == 1;
}

void energy_open(energy_meter *meter) {
    *meter = (energy_meter){0};
    for (int i = 0; i < ENERGY_DOMAINS; i++) {
        energy_domain *domain = &meter->domains[meter->count];
        char path[96], name[32];
        snprintf(path, sizeof path, FOLDER, i, "name");
        if (!read_text(path, name, sizeof name) || strncmp(name, "package", 7) != 0) continue;
        snprintf(path, sizeof path, FOLDER, i, "max_energy_range_uj");
        snprintf(domain->path, sizeof domain->path, FOLDER, i, "energy_uj");
        if (!read_number(path, &domain->range_uj) || !read_number(domain->path, &domain->last_uj)) continue;
        meter->count++;
    }
}

double energy_joules(energy_meter *meter) {
    if (meter->count == 0) return NAN;
    double joules = 0;
    for (int i = 0; i < meter->count; i++) {
        energy_domain *domain = &meter->domains[i];
        uint64_t now;
        if (!read_number(domain->path, &now)) return NAN;
        const uint64_t wrapped = now < domain->last_uj ? domain->range_uj : 0;
        joules += (double)(now + wrapped - domain->last_uj) * 1e-6;
        domain->last_uj = now;
    }
    return joules;
}
