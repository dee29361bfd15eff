/* The ratios of two results. */
#ifndef NLM_BENCH_COMPARE_H
#define NLM_BENCH_COMPARE_H

#include <nlm/status.h>
#include <stdbool.h>

/* Prints B / A for every number that both files have, one a line: its path ("decode.tok_s.median",
 * "micro[3].gb_s"), A, B and the ratio; as JSON an object of {a, b, ratio} by path. A ratio over 0 is null.
 * Errors   NOT_FOUND, IO, BAD_FORMAT (not JSON, and where; no number in common). */
nlm_status compare_files(const char *a, const char *b, bool is_json, nlm_error *err);

#endif
