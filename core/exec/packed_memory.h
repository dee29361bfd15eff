/* Memory for packed weights. They stand one after another in pieces of many megabytes, as the system gives huge pages
 * to nothing smaller than one, and most weights of small models are. */
#ifndef NLM_EXEC_PACKED_MEMORY_H
#define NLM_EXEC_PACKED_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* `bytes`, aligned to a power of two of at most 2 MiB, with what they hold unknown; NULL: out of memory. With
 * is_huge it shares a piece with other weights, else (and in builds under a sanitizer, which watches the ends of
 * each) it stands alone. From any thread. */
void *nlm_packed_alloc(uint64_t bytes, uint64_t alignment, bool is_huge);
/* Gives it back; NULL is nothing. From any thread. */
void nlm_packed_free(void *memory, uint64_t bytes);
/* After a model's weights were placed: the rest of the last huge page goes back to the system. */
void nlm_packed_settle(void);

#endif
