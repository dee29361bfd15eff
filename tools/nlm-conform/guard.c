/* Memory between guard pages, and what a fault there means. */
#include "guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATTERN    0xA5
#define MAX_BLOCKS 128

/* Live blocks, for the fault handler, which gets no argument. */
static const guard_block *live_blocks[MAX_BLOCKS];
static char *const *fault_message;
static size_t fault_message_bytes;
static void (*fault_leave)(void);

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

bool guard_alloc(guard_block *block, const char *name, uint64_t bytes, uint64_t alignment, bool at_start) {
    const size_t page = page_bytes();
    const uint64_t rounded = (bytes + alignment - 1) / alignment * alignment;
    const size_t usable = (rounded + page - 1) / page * page;
    *block = (guard_block){.name = name, .map_bytes = usable + 2 * page, .bytes = bytes};
    block->map = mmap(NULL, block->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block->map == MAP_FAILED) return false;
    uint8_t *first = block->map + page;
    if (usable && mprotect(first, usable, PROT_READ | PROT_WRITE) != 0) {
        munmap(block->map, block->map_bytes);
        return false;
    }
    block->data = at_start ? first : first + usable - rounded;
    memset(first, PATTERN, usable);
    for (size_t i = 0; i < MAX_BLOCKS; i++) {
        if (live_blocks[i]) continue;
        live_blocks[i] = block;
        break;
    }
    return true;
}

void guard_protect(guard_block *block) {
    block->is_protected = true;
    const size_t page = page_bytes();
    if (block->map_bytes > 2 * page) mprotect(block->map + page, block->map_bytes - 2 * page, PROT_READ);
}

void guard_unprotect(guard_block *block) {
    block->is_protected = false;
    const size_t page = page_bytes();
    if (block->map_bytes > 2 * page) mprotect(block->map + page, block->map_bytes - 2 * page, PROT_READ | PROT_WRITE);
}

static bool is_pattern(const uint8_t *from, const uint8_t *to) {
    while (from < to && *from == PATTERN) from++;
    return from >= to;
}

bool guard_is_intact(const guard_block *block) {
    const size_t page = page_bytes();
    return is_pattern(block->map + page, block->data) &&
           is_pattern(block->data + block->bytes, block->map + block->map_bytes - page);
}

void guard_free(guard_block *block) {
    if (!block->map) return;
    for (size_t i = 0; i < MAX_BLOCKS; i++) {
        if (live_blocks[i] == block) live_blocks[i] = NULL;
    }
    munmap(block->map, block->map_bytes);
    block->map = NULL;
}

static void describe_fault(const uint8_t *address, char *out, size_t bytes) {
    for (size_t i = 0; i < MAX_BLOCKS; i++) {
        const guard_block *b = live_blocks[i];
        if (!b || address < b->map || address >= b->map + b->map_bytes) continue;
        if (address < b->data) {
            snprintf(out, bytes, "touches memory %ld bytes before %s", (long)(b->data - address), b->name);
        } else if (address >= b->data + b->bytes) {
            snprintf(out, bytes, "touches memory %ld bytes past the end of %s (%lu bytes)",
                     (long)(address - (b->data + b->bytes)), b->name, (unsigned long)b->bytes);
        } else {
            snprintf(out, bytes, "writes to %s, which is only read, at byte %ld", b->name, (long)(address - b->data));
        }
        return;
    }
    snprintf(out, bytes, "touches memory at %p, which is in none of its buffers", (const void *)address);
}

/* Another thread may come to it meanwhile. */
static struct {
    uint8_t *_Atomic page;
    void (*arrive)(void);
} trap;

void guard_trap(const guard_block *block, void (*arrive)(void)) {
    const size_t page = page_bytes();
    trap.arrive = arrive;
    trap.page = block->map + page + block->bytes / 4 / page * page;
    mprotect(trap.page, page, PROT_NONE);
}

static bool is_trapped(const uint8_t *address) {
    uint8_t *page = trap.page;
    if (!page || address < page || address >= page + page_bytes()) return false;
    trap.arrive();
    mprotect(page, page_bytes(), PROT_READ);
    return true;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    if (info->si_code == SEGV_ACCERR && is_trapped(info->si_addr)) return;
    if (info->si_code == SI_KERNEL) { /* x86 tells no address then */
        snprintf(*fault_message, fault_message_bytes,
                 "faults without an address: a vector access that is not aligned?");
    } else {
        describe_fault(info->si_addr, *fault_message, fault_message_bytes);
    }
    fault_leave();
}

void guard_on_fault(char *const *message, size_t bytes, void (*leave)(void)) {
    fault_message = message;
    fault_message_bytes = bytes;
    fault_leave = leave;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

void guard_watch_thread(void) {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
}
