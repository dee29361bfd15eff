/* What the tables of rows share. */
#ifndef NLM_TESTS_ROWS_H
#define NLM_TESTS_ROWS_H

#include "spec.h"

/* One row for each way in which query() must turn the arguments of a good row down; and one that has grown, which
 * it must take. */
#define CONTRACT(row)                                                                                           \
    row ",refuse=flags", row ",refuse=appended", row ",refuse=size", row ",refuse=missing", row ",refuse=type", \
        row ",refuse=rank", row ",refuse=layout", row ",refuse=shape", row ",refuse=overlap", row ",grown"

#endif
