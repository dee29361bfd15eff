/* What the vector backends pack, byte for byte. A pack cache gives a later release the bytes of an earlier one:
 * when a checksum here changes, so must the backend's LAYOUT_PANEL_VERSION.
 *
 * The checksums are of what the first, scalar packers wrote; iq4_nl is packed as q4_0. */
#include "base/checksum.h"
#include "plugin/plugins.h"
#include "tensor/dtype.h"
#include "unit/check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 48, COLUMNS = 1024 };

typedef struct layout_case {
    nlm_dtype dtype;
    uint64_t avx512, avx2;
} layout_case;

static const layout_case rows[] = {
    {NLM_F32, 0xe895f18ca26810f9u, 0xd3d867fab9ccaea6u},  {NLM_F16, 0xff6db6ff8b3e3d6au, 0x3d1a40487f7153a8u},
    {NLM_Q4_0, 0x01cc22348c858aa5u, 0x957245199a707b80u}, {NLM_Q4_1, 0x7d6c01c7effa32e6u, 0xadd38567c4f7367du},
    {NLM_Q5_0, 0xa08c6180b923f063u, 0xb53d65058ed23ceau}, {NLM_Q5_1, 0xf29694f568a95feeu, 0x06b52e1c29f2aa0fu},
    {NLM_Q8_0, 0xe54fd6b5020d9bcau, 0xec05e72dbaa62648u}, {NLM_Q4_K, 0x3299a42031f0b2e6u, 0xe44bb9828ccfebc1u},
    {NLM_Q5_K, 0x5fc218f6826c28d2u, 0x3e3d93137cbe9738u}, {NLM_Q6_K, 0x21a8e6ead1038136u, 0x1af8ab31ab35e8bfu},
    {NLM_BF16, 0xff6db6ff8b3e3d6au, 0x3d1a40487f7153a8u}, {NLM_IQ4_NL, 0x01cc22348c858aa5u, 0x957245199a707b80u},
};

/* The same bytes on every machine. */
static void fill(unsigned char *data, size_t bytes) {
    uint64_t state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        data[i] = (unsigned char)(state >> 56);
    }
}

static uint64_t checksum_of_packed(const nlm_device *device, nlm_dtype dtype) {
    nlm_tensor w;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_tensor_init(&w, dtype, 2, (const int64_t[]){ROWS, COLUMNS}, NULL, &err), NLM_OK);
    const size_t bytes = nlm_tensor_bytes(&w);
    unsigned char *data = malloc(bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    fill(data, bytes);
    w.data = data;
    nlm_pack_info_v1 info = {.struct_size = sizeof info};
    CU_ASSERT_EQUAL_FATAL(device->api.pack_size(device->api.self, &w, 1, NLM_ROLE_MATMUL, &info, &err), NLM_OK);
    void *packed = aligned_alloc(64, (info.bytes + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packed);
    CU_ASSERT_EQUAL(device->api.pack(device->api.self, &w, 1, NLM_ROLE_MATMUL, 0, ROWS, packed, &err), NLM_OK);
    CU_ASSERT_EQUAL(info.layout_version, 1);
    const uint64_t sum = nlm_checksum_of(packed, (size_t)info.bytes);
    free(packed);
    free(data);
    return sum;
}

static void check_backend(const char *backend, bool is_avx512) {
    const nlm_plugins_options options = {.registry = NLM_PLUGIN_DIRECTORY "/plugins.toml"};
    nlm_plugins *plugins = NULL;
    nlm_device *device = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(nlm_plugins_create(&options, &plugins, &err), NLM_OK);
    if (nlm_plugins_open(plugins, backend, 0, NULL, &device, &err) != NLM_OK) {
        nlm_plugins_destroy(plugins);
        CHECK_SKIP(err.msg);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const uint64_t expected = is_avx512 ? rows[i].avx512 : rows[i].avx2;
        const uint64_t found = checksum_of_packed(device, rows[i].dtype);
        if (found != expected) {
            printf("\n%s packs %s to %016" PRIx64 "; raise the version of the layout\n", backend,
                   nlm_dtype_name(rows[i].dtype), found);
        }
        CU_ASSERT_EQUAL(found, expected);
    }
    nlm_device_close(device);
    nlm_plugins_destroy(plugins);
}

static void avx512_panels_are_those_of_layout_version_1(void) {
    check_backend("cpu_avx512", true);
}

static void avx2_panels_are_those_of_layout_version_1(void) {
    check_backend("cpu_avx2", false);
}

static const check_case cases[] = {
    CHECK_CASE(avx512_panels_are_those_of_layout_version_1),
    CHECK_CASE(avx2_panels_are_those_of_layout_version_1),
};
CHECK_MAIN("pack layout", cases)
