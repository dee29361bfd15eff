/* Who could have written a file. */
#ifndef NLM_PLUGIN_TRUST_H
#define NLM_PLUGIN_TRUST_H

#include <limits.h>
#include "plugin/verdict.h"

/* Is `path` a regular file that, once its links are resolved, only root or the effective user could
 * have put there? Every directory above it must belong to root or to us, and no other may write to it.
 * A directory with the sticky bit (/tmp) may be writable by all: there nobody can replace what belongs
 * to us or to root, and that is checked of the next part of the path.
 * On success `resolved` is the path without links, which is what must be opened: between the check and
 * the opening nobody but root and us can put another file there. */
bool nlm_trust_check(const char *path, char resolved[PATH_MAX], nlm_verdict *verdict);

#endif
