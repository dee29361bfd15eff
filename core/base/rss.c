/* This process's memory as the kernel counts it. */
#include "base/rss.h"

#include <stdio.h>
#include <string.h>

static uint64_t status_field_bytes(const char *field) {
    FILE *file = fopen("/proc/self/status", "re");
    if (!file) return 0;
    char line[256];
    unsigned long long kib = 0;
    const size_t length = strlen(field);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, field, length) == 0 && sscanf(line + length, ": %llu", &kib) == 1) break;
    }
    fclose(file);
    return (uint64_t)kib * 1024;
}

uint64_t nlm_rss_bytes(void) {
    return status_field_bytes("VmRSS");
}

uint64_t nlm_rss_peak_bytes(void) {
    return status_field_bytes("VmHWM");
}
