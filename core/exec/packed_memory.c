/* Pieces of memory that packed weights share. */
#include "exec/packed_memory.h"

#include <nlm/plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"

#define HUGE_BYTES  (2ull << 20)  /* of a huge page, as most machines have them */
#define PIECE_BYTES (64ull << 20) /* of addresses; memory is taken as it is written */

typedef struct packed_piece {
    struct packed_piece *next;
    char *base;
    uint64_t bytes, used;
    uint64_t live; /* weights in it */
} packed_piece;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static packed_piece *pieces; /* the first is the one that is being filled */

static uint64_t up(uint64_t value, uint64_t alignment) {
    return (value + alignment - 1) & ~(alignment - 1);
}

/* Memory from the system that begins with a huge page. */
static char *map_aligned(uint64_t bytes) {
    char *all =
        mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return NULL;
    const uint64_t before = up((uintptr_t)all, HUGE_BYTES) - (uintptr_t)all;
    if (before > 0) (void)munmap(all, before);
    if (before < HUGE_BYTES) (void)munmap(all + before + bytes, HUGE_BYTES - before);
    return all + before;
}

static packed_piece *begin_piece(uint64_t bytes) {
    packed_piece *piece = malloc(sizeof *piece);
    if (!piece) return NULL;
    *piece = (packed_piece){.next = pieces, .bytes = bytes > PIECE_BYTES ? bytes : PIECE_BYTES};
    piece->base = map_aligned(piece->bytes);
    if (!piece->base) {
        free(piece);
        return NULL;
    }
    (void)madvise(piece->base, piece->bytes, MADV_HUGEPAGE);
    return pieces = piece;
}

static void *take(uint64_t bytes, uint64_t alignment) {
    packed_piece *piece = pieces;
    if (!piece || up(piece->used, alignment) + bytes > piece->bytes) piece = begin_piece(up(bytes, HUGE_BYTES));
    if (!piece) return NULL;
    char *memory = piece->base + up(piece->used, alignment);
    piece->used = (uint64_t)(memory - piece->base) + bytes;
    piece->live++;
    return memory;
}

void *nlm_packed_alloc(uint64_t bytes, uint64_t alignment, bool is_huge) {
    uint64_t padded;
    if (!nlm_align_u64(bytes, HUGE_BYTES, &padded) || padded + HUGE_BYTES < padded) return NULL;
    if (!is_huge || NLM_SANITIZER_BUILD != 0) return aligned_alloc(alignment, up(bytes, alignment));
    pthread_mutex_lock(&lock);
    void *memory = take(bytes, alignment);
    pthread_mutex_unlock(&lock);
    return memory;
}

/* Whole pages of what is free go back at once, all of a piece with its last weight. */
static void give_back(packed_piece **at, char *memory, uint64_t bytes) {
    packed_piece *piece = *at;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t from = up((uintptr_t)memory, page), to = (uintptr_t)(memory + bytes) & ~(page - 1);
    if (--piece->live == 0) {
        *at = piece->next;
        (void)munmap(piece->base, piece->bytes);
        free(piece);
    } else if (from < to) {
        (void)madvise((void *)(uintptr_t)from, to - from, MADV_DONTNEED);
    }
}

void nlm_packed_free(void *memory, uint64_t bytes) {
    if (!memory) return;
    pthread_mutex_lock(&lock);
    packed_piece **at = &pieces;
    const char *byte = memory;
    while (*at && !(byte >= (*at)->base && byte < (*at)->base + (*at)->bytes)) at = &(*at)->next;
    const bool is_alone = !*at;
    if (!is_alone) give_back(at, memory, bytes);
    pthread_mutex_unlock(&lock);
    if (is_alone) free(memory);
}

void nlm_packed_settle(void) {
    pthread_mutex_lock(&lock);
    if (pieces) {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        const uint64_t from = up(pieces->used, page), to = up(pieces->used, HUGE_BYTES);
        if (from < to) {
            (void)madvise(pieces->base + from, to - from, MADV_NOHUGEPAGE);
            (void)madvise(pieces->base + from, to - from, MADV_DONTNEED);
        }
    }
    pthread_mutex_unlock(&lock);
}
