/* The helpers that plugins compile in. */
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

static void needs_a_row(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    (void)self;
    out->scratch_bytes = (uint64_t)(nlm_dim(dims, 'M') * nlm_dim(dims, 'N')) + nth;
}

static const nlm_kit_op list[] = {
    {.op = NLM_OP_matmul, .layout = 7, .needs = needs_a_row},
    {.op = NLM_OP_rope, .flags = NLM_ROPE_HALF_SPLIT},
    {.op = NLM_OP_embed},
    {.op = NLM_OP_attention},
    {.op = NLM_OP_matmul_dx, .layout = 7 | NLM_KIT_OR_ROW_MAJOR},
};
static const nlm_kit_backend has = {.ops = list,
                                    .n_ops = sizeof list / sizeof *list,
                                    .layout = 7,
                                    .weight_types = NLM_TYPE_BIT(F32) | NLM_TYPE_BIT(Q8_0),
                                    .cache_types = NLM_TYPE_BIT(F16)};

typedef struct query_case {
    nlm_matmul_args args;
    const char *reason; /* NULL: yes */
} query_case;

static void expect_answer(const query_case *c) {
    nlm_caps_v1 caps = {.struct_size = sizeof caps};
    const nlm_status status = nlm_kit_query(&has, NULL, NLM_OP_matmul, &c->args, 3, &caps);
    CU_ASSERT_EQUAL(status, c->reason ? NLM_UNSUPPORTED : NLM_OK);
    CU_ASSERT_STRING_EQUAL(caps.reason, c->reason ? c->reason : "");
    if (c->reason) return;
    CU_ASSERT_EQUAL(caps.scratch_bytes, 3 * 5 + 3);
    CU_ASSERT_EQUAL(caps.weight_layout[0], 7);
    CU_ASSERT_EQUAL(caps.weight_layout[1], 0);
}

static void query_names_what_is_wrong_with_a_matmul(void) {
    const nlm_tensor x = matrix(NLM_F32, 3, 64, 256, 4), w = matrix(NLM_Q8_0, 5, 64, 68, 34),
                     y = matrix(NLM_F32, 3, 5, 20, 4);
    const nlm_tensor of_halves = matrix(NLM_F16, 3, 64, 128, 2), overlapping = matrix(NLM_F32, 3, 5, 16, 4),
                     narrow = matrix(NLM_F32, 3, 32, 128, 4), ragged = matrix(NLM_Q8_0, 5, 63, 68, 34),
                     unlisted = matrix(NLM_Q4_0, 5, 64, 36, 18), unknown = matrix(77, 5, 64, 36, 18);
    nlm_tensor packed = w, foreign = w;
    packed.layout = 7;
    foreign.layout = 8;
    const uint32_t size = sizeof(nlm_matmul_args);
    const query_case cases[] = {
        {{size, 0, &x, &w, NULL, NULL, &y}, NULL},
        {{size, 0, &x, &packed, NULL, NULL, &y}, NULL},
        {{size + 8, 0, &x, &w, NULL, NULL, &y}, NULL}, /* grown */
        {{4, 0, &x, &w, NULL, NULL, &y}, "struct_size is 4, expected at least 48"},
        {{16, 0, &x, &w, NULL, NULL, &y}, "struct_size is 16, expected at least 48"},
        {{size, 2, &x, &w, NULL, NULL, &y}, "flags 0x2 are not known"},
        {{size + 8, 2, &x, &w, NULL, NULL, &y}, "flags 0x2 are not known"}, /* appended */
        {{size, 0, &x, NULL, NULL, NULL, &y}, "w: is missing"},
        {{size, 0, &of_halves, &w, NULL, NULL, &y}, "x: cannot be f16"},
        {{size, 0, &x, &unlisted, NULL, NULL, &y}, "w: cannot be q4_0"},
        {{size, 0, &x, &unknown, NULL, NULL, &y}, "w: unknown type 77"},
        {{size, 0, &narrow, &w, NULL, NULL, &y}, "w is [5,64] q8_0, expected [N K] with K=32 (from x)"},
        {{size, 0, &x, &ragged, NULL, NULL, &y}, "w: q8_0 rows must be a multiple of 32, got 63"},
        {{size, 0, &x, &foreign, NULL, NULL, &y}, "w: layout 8 is not known here"},
        {{size, 0, &packed, &w, NULL, NULL, &y}, "x: cannot be q8_0"},
        {{size, 0, &x, &w, &w, NULL, &y}, "bias: cannot be q8_0"},
        {{size, 0, &x, &w, NULL, NULL, &overlapping}, "y: is written, but dimension 0 overlaps itself"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_answer(&cases[i]);
}

static void weights_stay_as_they_are_where_the_slot_takes_them_so(void) {
    const nlm_tensor dy = matrix(NLM_F32, 3, 5, 20, 4), w = matrix(NLM_F32, 5, 64, 256, 4),
                     dx = matrix(NLM_F32, 3, 64, 256, 4);
    const nlm_matmul_dx_args gradient = {sizeof gradient, 0, &dy, &w, NULL, &dx};
    const nlm_matmul_args product = {sizeof product, 0, &dx, &w, NULL, NULL, &dy};
    for (uint32_t flags = 0; flags <= NLM_CAPS_AS_HELD; flags += NLM_CAPS_AS_HELD) {
        nlm_caps_v1 caps = {.struct_size = sizeof caps, .flags = flags};
        CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, NLM_OP_matmul_dx, &gradient, 1, &caps), NLM_OK);
        CU_ASSERT_EQUAL(caps.weight_layout[0], flags ? NLM_LAYOUT_ROW_MAJOR : 7);
        CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, NLM_OP_matmul, &product, 1, &caps), NLM_OK);
        CU_ASSERT_EQUAL(caps.weight_layout[0], 7); /* which the host takes for a no */
    }
}

static void what_is_not_listed_is_a_no(void) {
    const nlm_tensor x = {.dtype = NLM_F32, .rank = 3, .shape = {2, 1, 8, 1}, .stride_bytes = {32, 32, 4, 0}};
    const nlm_tensor pos = {.dtype = NLM_I32, .rank = 1, .shape = {2, 1, 1, 1}, .stride_bytes = {4, 0, 0, 0}};
    nlm_rope_args rope = {sizeof rope, NLM_ROPE_HALF_SPLIT, &x, &pos, NULL, &x, 10000, 1, 8, 0};
    nlm_caps_v1 caps = {.struct_size = sizeof caps};
    CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, NLM_OP_rope, &rope, 1, &caps), NLM_OK);
    rope.flags |= NLM_ROPE_INVERSE; /* which this backend does not list, though the table has it */
    CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, NLM_OP_rope, &rope, 1, &caps), NLM_UNSUPPORTED);
    CU_ASSERT_STRING_EQUAL(caps.reason, "flags 0x2 are not known");
    CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, NLM_OP_add, &rope, 1, &caps), NLM_UNSUPPORTED);
    CU_ASSERT_STRING_EQUAL(caps.reason, "this backend does not have op 8");
    CU_ASSERT_EQUAL(nlm_kit_query(&has, NULL, 4711, &rope, 1, &caps), NLM_UNSUPPORTED);
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
    CHECK_CASE(query_names_what_is_wrong_with_a_matmul),
    CHECK_CASE(weights_stay_as_they_are_where_the_slot_takes_them_so),
    CHECK_CASE(what_is_not_listed_is_a_no),
    CHECK_CASE(describe_fills_what_the_caller_has_room_for),
    CHECK_CASE(plugin_has_one_device_and_says_so),
    CHECK_CASE(fail_keeps_to_the_record_it_is_given),
};

CHECK_MAIN("plugin_kit", cases)
