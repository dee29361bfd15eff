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
 * the opening nobody but root and us can put another file there.
 * In the folder of nlm's own plugins the rule is that of nlm_trust_check_own. A refusal says what to do. */
bool nlm_trust_check(const char *path, char resolved[PATH_MAX], nlm_verdict *verdict);

/* The same for a file that was installed with `code`, the program or library that holds nlm (absolute, without
 * links): the file and the folders that are not above `code` too may also belong to the owner of `code` or of its
 * folder, and may be written by whoever may write to one of these, who can change what runs already. So a tree that
 * is built with umask 002, by a colleague, or in a container's bind mount serves as it is. */
bool nlm_trust_check_own(const char *path, const char *code, char resolved[PATH_MAX], nlm_verdict *verdict);

#endif
