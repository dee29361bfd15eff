#include "unit/check.h"

#include <nlm/plugin_kit.h>

static const nlm_device_info_v1 info = {
    .struct_size = sizeof info, .kind = NLM_DEVICE_SLICED, .name = "a device", .arch = "any"};
static const nlm_device_v1 device = {
    .struct_size = sizeof device, .self = (void *)&info, .describe = nlm_kit_describe};
NLM_KIT_PLUGIN("demo", "3", "a demonstration", 0, device)

static void slices_cover_every_item_once(void) {
    for (uint32_t nth = 1; nth <= 9; nth++) {
        for (int64_t total = 0; total < 70; total++) {
            int64_t next = 0, cells_seen = 0;
            for (uint32_t ith = 0; ith < nth; ith++) {
                const nlm_exec_v1 x = {.struct_size = sizeof x, .ith = ith, .nth = nth};
                const nlm_kit_range range = nlm_kit_slice(&x, total, 8);
                CU_ASSERT_EQUAL_FATAL(range.from, next);
                CU_ASSERT_TRUE_FATAL(range.from % 8 == 0 || range.from == total);
                next = range.to;
                nlm_kit_cells cells = nlm_kit_cells_of(&x, total, 7);
                while (nlm_kit_cells_next(&cells)) {
                    CU_ASSERT_EQUAL_FATAL(cells.row * 7 + cells.from, cells_seen);
                    cells_seen += cells.to - cells.from;
                }
            }
            CU_ASSERT_EQUAL_FATAL(next, total);
            CU_ASSERT_EQUAL_FATAL(cells_seen, total * 7);
        }
    }
}

static nlm_tensor matrix(nlm_dtype dtype, int64_t rows, int64_t columns, int64_t row_bytes, int64_t unit) {
    return (nlm_tensor){
        .dtype = dtype, .rank = 2, .shape = {rows, columns, 1, 1}, .stride_bytes = {row_bytes, unit, 0, 0}};
}

static void check_of_matmul_names_what_is_wrong(void) {
    const nlm_tensor x = matrix(NLM_F32, 3, 64, 256, 4), w = matrix(NLM_Q8_0, 5, 64, 68, 34),
                     y = matrix(NLM_F32, 3, 5, 20, 4);
    const nlm_tensor of_halves = matrix(NLM_F16, 3, 64, 128, 2), overlapping = matrix(NLM_F32, 3, 5, 16, 4),
                     narrow = matrix(NLM_F32, 3, 32, 128, 4), ragged = matrix(NLM_Q8_0, 5, 63, 68, 34);
    nlm_tensor packed = w;
    packed.layout = 7;
    const struct {
        nlm_matmul_args args;
        const char *reason;
    } cases[] = {
        {{sizeof(nlm_matmul_args), 0, &x, &w, NULL, NULL, &y}, NULL},
        {{16, 0, &x, &w, NULL, NULL, &y}, "struct_size is 16, expected at least 48"},
        {{sizeof(nlm_matmul_args), 2, &x, &w, NULL, NULL, &y}, "flags 0x2 are not known"},
        {{sizeof(nlm_matmul_args), 0, &x, NULL, NULL, NULL, &y}, "w: is missing"},
        {{sizeof(nlm_matmul_args), 0, &of_halves, &w, NULL, NULL, &y}, "x: cannot be f16"},
        {{sizeof(nlm_matmul_args), 0, &narrow, &w, NULL, NULL, &y}, "w: dimension 1 is 64, expected 32 of [NK]"},
        {{sizeof(nlm_matmul_args), 0, &x, &ragged, NULL, NULL, &y}, "w: q8_0 rows must be a multiple of 32, got 63"},
        {{sizeof(nlm_matmul_args), 0, &x, &packed, NULL, NULL, &y}, "w: layout 7 is not row-major"},
        {{sizeof(nlm_matmul_args), 0, &x, &w, &w, NULL, &y}, "bias: cannot be q8_0"},
        {{sizeof(nlm_matmul_args), 0, &x, &w, NULL, NULL, &overlapping},
         "y: is written, but dimension 0 overlaps itself"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nlm_kit_dims dims;
        nlm_caps_v1 caps = {.struct_size = sizeof caps};
        const nlm_status status = nlm_kit_check_matmul(&cases[i].args, &dims, &caps);
        CU_ASSERT_EQUAL(status, cases[i].reason ? NLM_UNSUPPORTED : NLM_OK);
        CU_ASSERT_STRING_EQUAL(caps.reason, cases[i].reason ? cases[i].reason : "");
        if (!cases[i].reason) CU_ASSERT_TRUE(nlm_kit_dim(&dims, 'M') == 3 && nlm_kit_dim(&dims, 'N') == 5);
    }
}

static void describe_fills_what_the_caller_has_room_for(void) {
    nlm_device_info_v1 out = {.struct_size = offsetof(nlm_device_info_v1, name)};
    out.name[0] = '?';
    CU_ASSERT_EQUAL(nlm_kit_describe(device.self, &out, NULL), NLM_OK);
    CU_ASSERT_EQUAL(out.struct_size, offsetof(nlm_device_info_v1, name));
    CU_ASSERT_EQUAL(out.kind, NLM_DEVICE_SLICED);
    CU_ASSERT_EQUAL(out.name[0], '?');
    out.struct_size = sizeof out;
    CU_ASSERT_EQUAL(nlm_kit_describe(device.self, &out, NULL), NLM_OK);
    CU_ASSERT_STRING_EQUAL(out.name, "a device");
}

static void plugin_has_one_device_and_says_so(void) {
    const nlm_plugin_v1 *plugin = nlm_plugin_query_v1(0);
    const nlm_device_v1 *opened = NULL;
    nlm_error error = NLM_ERROR_INIT;
    nlm_probe_v1 probe = {.struct_size = sizeof probe};
    CU_ASSERT_EQUAL(plugin->struct_size, sizeof *plugin);
    CU_ASSERT_STRING_EQUAL(plugin->name, "demo");
    CU_ASSERT_STRING_EQUAL(plugin->version, "3");
    CU_ASSERT_STRING_EQUAL(plugin->description, "a demonstration");
    CU_ASSERT_EQUAL(plugin->sanitizer, NLM_SANITIZER_BUILD);
    CU_ASSERT_EQUAL(plugin->probe(NULL, &probe, &error), NLM_OK);
    CU_ASSERT_EQUAL(probe.device_count, 1);
    CU_ASSERT_EQUAL(plugin->open(NULL, 0, &opened, &error), NLM_OK);
    CU_ASSERT_PTR_EQUAL(opened, &device);
    plugin->close(opened);
    CU_ASSERT_EQUAL(plugin->open(NULL, 1, &opened, &error), NLM_INVALID_ARGUMENT);
    CU_ASSERT_STRING_EQUAL(error.msg, "device 1, but there is only device 0");
    CU_ASSERT_PTR_NULL(plugin->extension("nlm.capture", 1));
}

static void fail_keeps_to_the_record_it_is_given(void) {
    nlm_error error = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_kit_fail(NULL, NLM_IO, "here", "%d", 1), NLM_IO);
    CU_ASSERT_EQUAL(nlm_kit_fail(&error, NLM_IO, "here", "%0*d", 2000, 7), NLM_IO);
    CU_ASSERT_EQUAL(error.code, NLM_IO);
    CU_ASSERT_STRING_EQUAL(error.where, "here");
    CU_ASSERT_EQUAL(strlen(error.msg), sizeof error.msg - 1);
    error = (nlm_error){.struct_size = 8};
    CU_ASSERT_EQUAL(nlm_kit_fail(&error, NLM_IO, "here", "%d", 1), NLM_IO);
    CU_ASSERT_EQUAL(error.msg[0], 0);
}

static const check_case cases[] = {
    CHECK_CASE(slices_cover_every_item_once),
    CHECK_CASE(check_of_matmul_names_what_is_wrong),
    CHECK_CASE(describe_fills_what_the_caller_has_room_for),
    CHECK_CASE(plugin_has_one_device_and_says_so),
    CHECK_CASE(fail_keeps_to_the_record_it_is_given),
};

CHECK_MAIN("plugin_kit", cases)
