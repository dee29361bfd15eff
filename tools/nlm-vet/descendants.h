/* Processes that a plugin has started. */
#ifndef NLM_VET_DESCENDANTS_H
#define NLM_VET_DESCENDANTS_H

#include <stddef.h>

/* Ends all descendants of this process, which must be a subreaper: those that left their group or session as well, as
 * each becomes a child of this one when its parent ends. Returns how many had not ended by themselves. */
size_t end_descendants(void);

#endif
