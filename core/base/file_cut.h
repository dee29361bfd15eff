/* Mapped files that are cut while they are in use. Reading pages that are gone raises SIGBUS, which ends a process
 * without a word. A program that has asked for the guard reads zeros there instead, and every check from then on says
 * what has happened. A library asks for none by itself: signals are its host's. */
#ifndef NLM_BASE_FILE_CUT_H
#define NLM_BASE_FILE_CUT_H

#include <nlm/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NLM_FILE_CUT_ADVICE \
    "a model in use is replaced by renaming another to its name, or read into memory (--no-mmap)"

/* Takes SIGBUS for the process: a fault in a watched file is noted, any other goes to whom it would have gone to.
 * Calling it again changes nothing. Threads  call it before others are started. */
void nlm_file_cut_guard(void);

/* Watches a mapped file until unwatch, which comes before its pages and `fd` are given up. Returns 0 where there is
 * no room to watch it, which every function below takes. Threads  any. */
uint32_t nlm_file_cut_watch(const void *data, size_t size, int fd, const char *path);
void nlm_file_cut_unwatch(uint32_t watch);
/* Whether pages of it were gone when they were read: zeros were read in their place, even if it has grown again. */
bool nlm_file_cut_has_fault(uint32_t watch);

/* The status IO with what has happened to a file of `size` bytes that is open as `fd`, and what to do. */
nlm_status nlm_file_cut_fail(const char *path, size_t size, int fd, nlm_error *err);
/* Whether zeros were read in place of a file that is watched now. Errors IO. */
nlm_status nlm_file_cut_check_open(nlm_error *err);
/* Whether they ever were in this process. Errors IO, for the first of the files. */
nlm_status nlm_file_cut_check(nlm_error *err);
/* Of memory that the system could not read (EFAULT): whether it is in a watched file, which is then noted as cut.
 * Errors IO. */
nlm_status nlm_file_cut_check_memory(const void *data, nlm_error *err);

#endif
