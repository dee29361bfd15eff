/* Writing a float32 matrix as NumPy's .npy (format 1.0, little-endian, C order), row by row.
 * Source   NumPy Enhancement Proposal 1. */
#ifndef NLM_FORMAT_NPY_H
#define NLM_FORMAT_NPY_H

#include <nlm/status.h>
#include <stdint.h>

typedef struct nlm_npy_writer nlm_npy_writer;

/* Writes a temporary beside `path`; finish gives it its name. Errors those of base/file.h. */
nlm_status nlm_npy_create(const char *path, uint64_t rows, uint64_t columns, nlm_npy_writer **out, nlm_error *err);
/* values: [count, columns] f32, contiguous. INVALID_ARGUMENT if there are more rows than promised. */
nlm_status nlm_npy_write_rows(nlm_npy_writer *writer, const float *values, uint64_t count, nlm_error *err);
/* INVALID_ARGUMENT if there were fewer rows than promised; then the file does not appear. */
nlm_status nlm_npy_finish(nlm_npy_writer *writer, nlm_error *err);
void nlm_npy_destroy(nlm_npy_writer *writer); /* NULL is fine; without finish nothing is left behind */

#endif
