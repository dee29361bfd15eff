/* Runs the test of one shim, if this CPU has what the shim is made for: SHIM_NEEDS, names of features with a space
 * after each. Compiled for any CPU of the architecture. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "shim_cases.h"

#define SKIPPED 77

static char *page_end;

static int open_pages(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + page, page, PROT_NONE) != 0) return 0;
    page_end = memory + page;
    return 1;
}

void *shim_at_end(const void *bytes, size_t size) {
    return memmove(page_end - size, bytes, size);
}

void *shim_room(size_t size) {
    return memset(page_end - size, 0, size);
}

/* The first feature that this CPU lacks, in `name`. */
static int lacks(char *name, size_t size) {
    const char *at = SHIM_NEEDS;
    for (size_t length; *at; at += length + 1) {
        length = strcspn(at, " ");
        snprintf(name, size, "%.*s", (int)length, at);
        const int feature = nlm_cpu_feature_from_name(name);
        if (feature < 0 || !(nlm_cpu_features() >> feature & 1)) return 1;
    }
    return 0;
}

int main(void) {
    char missing[32];
    check_case cases[64];
    size_t count = 0;
    if (lacks(missing, sizeof missing)) {
        printf("skipped: this CPU has no %s\n", missing);
        return SKIPPED;
    }
    if (!open_pages()) return 1;
    for (size_t i = 0; i < n_shim_float_cases; i++) cases[count++] = shim_float_cases[i];
    for (size_t i = 0; i < n_shim_integer_cases; i++) cases[count++] = shim_integer_cases[i];
    return check_main(SHIM_NAME, cases, count);
}
