/* Memory of this process. */
#ifndef NLM_BASE_RSS_H
#define NLM_BASE_RSS_H

#include <stdint.h>

/* Resident set size in bytes, now and at its peak, from /proc/self/status; 0 if it cannot be read. */
uint64_t nlm_rss_bytes(void);
uint64_t nlm_rss_peak_bytes(void);

#endif
