/* The tensor types of GGUF that nothing here computes with, by name and size: for what is said of them. */
#include "base/checked.h"
#include "format/gguf.h"
#include "tensor/dtype.h"

typedef struct foreign_type {
    uint32_t number;
    const char *name;
    uint32_t block_elements, block_bytes;
} foreign_type;

/* Source: the GGUF specification (ggml docs/gguf.md) and the block layouts it names. */
static const foreign_type foreign_types[] = {
    {9, "q8_1", 32, 36},      {10, "q2_k", 256, 84},   {11, "q3_k", 256, 110},   {15, "q8_k", 256, 292},
    {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74}, {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},
    {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},  {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},
    {25, "i16", 1, 2},        {27, "i64", 1, 8},       {28, "f64", 1, 8},        {29, "iq1_m", 256, 56},
    {34, "tq1_0", 256, 54},   {35, "tq2_0", 256, 66},  {39, "mxfp4", 32, 17},
};

static const foreign_type *find(uint32_t type) {
    for (size_t i = 0; i < sizeof foreign_types / sizeof *foreign_types; i++) {
        if (foreign_types[i].number == type) return &foreign_types[i];
    }
    return NULL;
}

const char *nlm_gguf_tensor_type_name(uint32_t type) {
    const nlm_dtype_info *known = type <= INT32_MAX ? nlm_dtype_find((nlm_dtype)type) : NULL;
    const foreign_type *foreign = find(type);
    return known ? known->name : foreign ? foreign->name : NULL;
}

uint64_t nlm_gguf_foreign_bytes(uint32_t type, const uint64_t dims[4]) {
    const foreign_type *foreign = find(type);
    if (!foreign || dims[0] % foreign->block_elements != 0) return 0;
    uint64_t bytes = foreign->block_bytes;
    if (!nlm_mul_u64(bytes, dims[0] / foreign->block_elements, &bytes)) return 0;
    for (size_t d = 1; d < 4; d++) {
        if (!nlm_mul_u64(bytes, dims[d], &bytes)) return 0;
    }
    return bytes;
}
