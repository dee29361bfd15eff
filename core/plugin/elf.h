/* What a shared object says of itself, read from the file before anything of it is loaded. */
#ifndef NLM_PLUGIN_ELF_H
#define NLM_PLUGIN_ELF_H

#include <stddef.h>
#include <stdint.h>
#include "plugin/verdict.h"

/* Bytes of a file: in memory (data), or behind a descriptor (data NULL). */
typedef struct nlm_elf_image {
    const uint8_t *data;
    int fd;
    uint64_t size;
} nlm_elf_image;

/* Is this a complete shared object for this machine that exports nlm_plugin_query_v1 and nothing else,
 * is built with this host's sanitizer, and whose dependencies are never looked for in the current
 * directory? Reads every offset with bounds; does not trust section headers, as the loader does not. */
bool nlm_elf_check(const nlm_elf_image *image, nlm_verdict *verdict);
/* As nlm_elf_check for a file. */
bool nlm_elf_check_file(const char *path, nlm_verdict *verdict);

#endif
