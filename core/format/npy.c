/* Arrays of f32 as NumPy reads them. */
#include "format/npy.h"

#include "base/checked.h"
#include "base/file.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Magic, version, header length and the dictionary, padded so that the data is 64-byte aligned. */
#define HEADER_BYTES 128
#define PREFIX_BYTES 10

struct nlm_npy_writer {
    nlm_file_writer *file;
    uint64_t columns;
    uint64_t rows_left;
};

static void fill_header(char header[HEADER_BYTES], uint64_t rows, uint64_t columns) {
    char dictionary[HEADER_BYTES - PREFIX_BYTES];
    snprintf(dictionary, sizeof dictionary,
             "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }", rows, columns);
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER_BYTES - PREFIX_BYTES);
    header[9] = 0;
    memcpy(header + PREFIX_BYTES, dictionary, strlen(dictionary));
    header[HEADER_BYTES - 1] = '\n';
}

nlm_status nlm_npy_create(const char *path, uint64_t rows, uint64_t columns, nlm_npy_writer **out, nlm_error *err) {
    uint64_t bytes;
    if (!nlm_mul_u64(columns, sizeof(float), &bytes) || !nlm_mul_u64(rows, bytes, &bytes) || bytes > INT64_MAX) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, path, "%" PRIu64 " rows of %" PRIu64 " floats do not fit a file",
                        rows, columns);
    }
    nlm_npy_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    *writer = (nlm_npy_writer){NULL, columns, rows};
    char header[HEADER_BYTES];
    fill_header(header, rows, columns);
    nlm_status status = nlm_file_writer_create(path, &writer->file, err);
    if (status == NLM_OK) status = nlm_file_writer_write(writer->file, header, sizeof header, err);
    if (status != NLM_OK) {
        nlm_npy_destroy(writer);
        return status;
    }
    *out = writer;
    return NLM_OK;
}

nlm_status nlm_npy_write_rows(nlm_npy_writer *writer, const float *values, uint64_t count, nlm_error *err) {
    if (count > writer->rows_left) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "%" PRIu64 " more rows, expected at most %" PRIu64,
                        count, writer->rows_left);
    }
    writer->rows_left -= count;
    return nlm_file_writer_write(writer->file, values, (size_t)(count * writer->columns * sizeof *values), err);
}

nlm_status nlm_npy_finish(nlm_npy_writer *writer, nlm_error *err) {
    if (writer->rows_left != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, __func__, "%" PRIu64 " rows are missing", writer->rows_left);
    }
    return nlm_file_writer_commit(writer->file, err);
}

void nlm_npy_destroy(nlm_npy_writer *writer) {
    if (!writer) return;
    nlm_file_writer_destroy(writer->file);
    free(writer);
}
