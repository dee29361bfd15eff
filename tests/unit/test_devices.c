/* Opening a plugin's devices and asking them. */
#include "unit/plugin_folder.h"

#include "base/log.h"

static nlm_device *must_open(nlm_plugins *plugins, const char *backend, int32_t device_id,
                             const char *const *options) {
    nlm_device *device = NULL;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_plugins_open(plugins, backend, device_id, options, &device, &err), NLM_OK);
    if (!device) printf("\n    %s: %s\n", err.where, err.msg);
    CU_ASSERT_PTR_NOT_NULL_FATAL(device);
    return device;
}

static void devices_that_break_the_contract_are_not_opened(void) {
    static const char *const more[] = {"more", "1", NULL};
    static const struct {
        int32_t ordinal;
        const char *const *options;
        nlm_status status;
        const char *msg;
    } rows[] = {
        {0, NULL, NLM_OK, ""},
        {1, NULL, NLM_DEVICE_ERROR, "device 1: open failed: the card is taken"},
        {2, NULL, NLM_BAD_FORMAT, "open succeeded without giving a device"},
        {3, NULL, NLM_BAD_FORMAT, "its table says it has 16 bytes; expected"},
        {4, NULL, NLM_BAD_FORMAT, "it has no table of ops"},
        {5, NULL, NLM_BAD_FORMAT, "the table of ops says it has 13 bytes"},
        {6, NULL, NLM_BAD_FORMAT, "the table of ops says it has 0 bytes"},
        {7, NULL, NLM_BAD_FORMAT, "lacks the function describe"},
        {8, NULL, NLM_BAD_FORMAT, "lacks the function query, which every device needs"},
        {9, NULL, NLM_DEVICE_LOST, "device 9: describe failed: no answer from the card"},
        {10, NULL, NLM_BAD_FORMAT, "its kind is neither"},
        {11, NULL, NLM_BAD_FORMAT, "alignment_bytes is not a power of two"},
        {12, NULL, NLM_BAD_FORMAT, "describes itself with another ordinal"},
        {13, NULL, NLM_BAD_FORMAT, "a sliced device must have NLM_DEVICE_HOST_MEMORY"},
        {14, NULL, NLM_BAD_FORMAT, "lacks the function stream_create, which a stream device needs"},
        {15, NULL, NLM_BAD_FORMAT, "lacks the function pack_size, which goes with"},
        {14, more, NLM_BAD_FORMAT, "lacks the function buffer_alloc, which a device without"},
        {15, more, NLM_OK, ""},
        {16, NULL, NLM_INVALID_ARGUMENT, "there is no device 16; the backend 'devices' has 0 to 15"},
    };
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "devices", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_device *device = NULL;
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status =
            nlm_plugins_open(plugins, "devices", rows[i].ordinal, rows[i].options, &device, &err);
        CU_ASSERT_EQUAL(status, rows[i].status);
        CU_ASSERT_EQUAL(device != NULL, status == NLM_OK);
        expect_contains(err.msg, rows[i].msg);
        if (rows[i].ordinal == 1) CU_ASSERT_EQUAL(err.native_code, 46);
        if (rows[i].options && device) CU_ASSERT_EQUAL(strlen(device->info.name), sizeof device->info.name - 1);
        nlm_device_close(device);
    }
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void opened_device_has_full_tables_and_stubs(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "good", "");
    folder_add(&folder, "newer_minor", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    static const char *const names[] = {"good", "newer_minor"};
    for (size_t i = 0; i < 2; i++) {
        nlm_device *device = must_open(plugins, names[i], -1, NULL);
        CU_ASSERT_STRING_EQUAL(device->backend, names[i]);
        CU_ASSERT_EQUAL(device->device_id, 0);
        CU_ASSERT_EQUAL(device->info.alignment_bytes, 64);
        CU_ASSERT_STRING_EQUAL(device->info.name, "fixture device");
        CU_ASSERT_TRUE(nlm_device_is_sliced(device));
        CU_ASSERT_PTR_EQUAL(device->api.ops, &device->ops);
        CU_ASSERT_EQUAL(device->api.struct_size, sizeof device->api);
        CU_ASSERT_EQUAL(device->ops.struct_size, sizeof device->ops);
        nlm_error err = NLM_ERROR_INIT;
        const nlm_exec_v1 x = {.struct_size = sizeof x, .nth = 1, .error = &err};
        const nlm_add_args add = {.struct_size = sizeof add};
        const nlm_rope_args rope = {.struct_size = sizeof rope};
        CU_ASSERT_EQUAL(device->ops.add(&x, &add), NLM_OK);
        CU_ASSERT_EQUAL(device->ops.rope(&x, &rope), NLM_UNSUPPORTED);
        CU_ASSERT_STRING_EQUAL(err.msg, "the device has no op 'rope'");
        nlm_device_close(device);
    }
    nlm_device *second = must_open(plugins, "good", 1, NULL);
    CU_ASSERT_EQUAL(second->device_id, 1);
    CU_ASSERT_EQUAL(second->info.ordinal, 1);
    nlm_device_close(second);
    nlm_device_close(NULL);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* Every op's slot, whichever it is: a table of no slots at all gives a stub that names its op. */
static void every_op_has_a_stub_with_its_name(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "good", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    nlm_device *device = must_open(plugins, "good", 0, NULL);
    nlm_error err = NLM_ERROR_INIT;
    const nlm_exec_v1 x = {.struct_size = sizeof x, .nth = 1, .error = &err};
    size_t stubs = 0;
#define NLM_OP(number, name)                                           \
    if (NLM_OP_##name != NLM_OP_add) {                                 \
        const nlm_##name##_args args = {.struct_size = sizeof args};   \
        CU_ASSERT_EQUAL(device->ops.name(&x, &args), NLM_UNSUPPORTED); \
        CU_ASSERT_STRING_EQUAL(err.where, #name);                      \
        CU_ASSERT_STRING_EQUAL(nlm_op_name(NLM_OP_##name), #name);     \
        CU_ASSERT_EQUAL(nlm_op_from_name(#name), NLM_OP_##name);       \
        stubs++;                                                       \
    }
#include <nlm/ops.def>
#undef NLM_OP
    CU_ASSERT_TRUE(stubs >= 17);
    CU_ASSERT_STRING_EQUAL(nlm_op_name(NLM_OP_NONE), "unknown op");
    CU_ASSERT_STRING_EQUAL(nlm_op_name(99999), "unknown op");
    CU_ASSERT_EQUAL(nlm_op_from_name("rose"), NLM_OP_NONE);
    nlm_device_close(device);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void query_answers_yes_or_no_whatever_the_plugin_says(void) {
#define ROW(name, status, reason) \
    { NLM_OP_##name, (uint32_t)sizeof(nlm_##name##_args), status, reason }
    static const struct {
        nlm_op op;
        uint32_t size;
        nlm_status status;
        const char *reason;
    } rows[] = {
        ROW(add, NLM_OK, ""),
        ROW(mul, NLM_UNSUPPORTED, "query answered status 4711 (unknown status) in place of yes or no"),
        ROW(scale, NLM_UNSUPPORTED, "query answered status 7 (device error) in place of yes or no"),
        ROW(softmax, NLM_UNSUPPORTED, "rrrrrrrr"),
        ROW(copy, NLM_UNSUPPORTED, "the backend gives no reason"),
        ROW(matmul, NLM_UNSUPPORTED, "names a packed layout, but the device has no function pack"),
        ROW(argmax, NLM_UNSUPPORTED, "asks for more workspace than any machine has"),
        ROW(rope, NLM_UNSUPPORTED, "the device has no op 'rope'"),
        {NLM_OP_NONE, 8, NLM_UNSUPPORTED, "the device has no op 'unknown op'"},
        {4711, 8, NLM_UNSUPPORTED, "the device has no op 'unknown op'"},
        {NLM_OP_add, 8, NLM_UNSUPPORTED, "the arguments say they have 8 bytes; expected"},
        {NLM_OP_add, 0, NLM_UNSUPPORTED, "the arguments say they have 0 bytes; expected"},
    };
#undef ROW
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "queries", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    nlm_device *device = must_open(plugins, "queries", 0, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t args[128] = {rows[i].size};
        nlm_caps_v1 caps;
        memset(&caps, 0xAA, sizeof caps);
        CU_ASSERT_EQUAL(nlm_device_query(device, rows[i].op, args, 1, &caps), rows[i].status);
        expect_contains(caps.reason, rows[i].reason);
        CU_ASSERT_EQUAL(caps.struct_size, sizeof caps);
        CU_ASSERT_EQUAL(caps.workspace_bytes, rows[i].status == NLM_OK ? 128 : 0);
        CU_ASSERT_TRUE(strnlen(caps.reason, sizeof caps.reason) < sizeof caps.reason);
    }
    nlm_caps_v1 caps;
    CU_ASSERT_EQUAL(nlm_device_query(device, NLM_OP_add, NULL, 1, &caps), NLM_UNSUPPORTED);
    nlm_device_close(device);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void collect(void *user, int32_t level, const char *message) {
    nlm_str_printf(user, "%d %s\n", (int)level, message);
}

static void host_serves_log_memory_and_options_until_the_last_close(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "host_user", "[plugin.options]\ncolor = 'blue'\ncount = 3");
    nlm_plugins *plugins = folder_must_load(&folder);
    nlm_str log = {0};
    const int32_t level = nlm_log_level();
    nlm_log_set_sink(collect, &log);
    nlm_log_set_level(NLM_LOG_INFO);
    nlm_device *none;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_plugins_open(plugins, "host_user", 0, NULL, &none, &err), NLM_INTERNAL);
    expect_contains(err.msg, "the option color is not green");
    const char *const options[] = {"color", "green", NULL};
    nlm_device *first = must_open(plugins, "host_user", 0, options);
    nlm_device *second = must_open(plugins, "host_user", 1, options);
    nlm_device_close(first);
    nlm_device_close(second); /* logs through the first device's table */
    CU_ASSERT_STRING_EQUAL(log.data,
                           "2 host_user: a message\n2 host_user: a message\n"
                           "2 host_user: closing\n2 host_user: closing\n");

    nlm_str_release(&log);
    nlm_device *leaky = must_open(plugins, "host_user", 1, options);
    nlm_log_set_level(NLM_LOG_WARN);
    nlm_device_close(leaky); /* only ordinal 0 gives its memory back */
    CU_ASSERT_PTR_NOT_NULL_FATAL(log.data);
    expect_contains(log.data, "1 host_user: left 1 allocations after close");
    nlm_log_set_sink(NULL, NULL);
    nlm_log_set_level(level);
    nlm_str_release(&log);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void open_says_which_backends_there_are(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "good", "");
    folder_add(&folder, "probe_no_device", "");
    folder_add(&folder, "query_null", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    static const struct {
        const char *backend;
        nlm_status status;
        const char *msg;
    } rows[] = {
        {"god", NLM_NOT_FOUND,
         "there is no backend 'god'; did you mean 'good'?; there are: good, probe_no_device, query_null"},
        {"probe_no_device", NLM_UNSUPPORTED,
         "the backend 'probe_no_device' is not for this machine: no such card in this machine"},
        {"query_null", NLM_UNSUPPORTED, "the backend 'query_null' was refused: it answers"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_device *device;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_plugins_open(plugins, rows[i].backend, -1, NULL, &device, &err), rows[i].status);
        CU_ASSERT_PTR_NULL(device);
        expect_contains(err.msg, rows[i].msg);
    }
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void best_backend_that_opens_is_chosen_aloud(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "good", "");
    folder_add(&folder, "host_user", "priority = 3"); /* lacks its options: open fails */
    nlm_plugins *plugins = folder_must_load(&folder);
    CU_ASSERT_STRING_EQUAL(nlm_plugins_at(plugins, 0)->name, "host_user");
    nlm_str log = {0};
    nlm_log_set_sink(collect, &log);
    nlm_device *device = must_open(plugins, NULL, -1, NULL);
    nlm_log_set_sink(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(device->backend, "good");
    CU_ASSERT_PTR_NOT_NULL_FATAL(log.data);
    expect_contains(log.data, "1 backend passed over: host_user: device 0: open failed: the option color");
    nlm_str_release(&log);
    nlm_device_close(device);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);

    folder_create(&folder);
    folder_add(&folder, "query_null", "");
    plugins = folder_must_load(&folder);
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_plugins_open(plugins, NULL, -1, NULL, &device, &err), NLM_NOT_FOUND);
    expect_contains(err.msg, "no backend is usable here; query_null: it answers");
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* Fills all of both texts, and is never at an end. */
static nlm_status measure_badly(void *self, uint32_t index, nlm_probed_v1 *out, nlm_error *error) {
    (void)self;
    memset(out->name, 'n', sizeof out->name);
    memset(out->unit, 'u', sizeof out->unit);
    out->name[0] = 27;
    out->value = 1;
    if (index == 0) return NLM_OK;
    memset(error->msg, 'm', sizeof error->msg);
    return index == 1 ? NLM_UNSUPPORTED : 4711;
}

static void probes_are_cleaned_and_have_an_end(void) {
    nlm_probed_v1 probed;
    nlm_error err = NLM_ERROR_INIT;
    nlm_device device = {.backend = "probes"};
    CU_ASSERT_EQUAL(nlm_device_probe(&device, 0, &probed, &err), NLM_NOT_FOUND);
    device.probes.measure = measure_badly;
    CU_ASSERT_EQUAL(nlm_device_probe(&device, 0, &probed, &err), NLM_OK);
    CU_ASSERT_EQUAL(strlen(probed.name), sizeof probed.name - 1);
    CU_ASSERT_EQUAL(strlen(probed.unit), sizeof probed.unit - 1);
    CU_ASSERT_NOT_EQUAL(probed.name[0], 27);
    CU_ASSERT_EQUAL(nlm_device_probe(&device, 1, &probed, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "mmmm");
    CU_ASSERT_TRUE(strlen(err.msg) < sizeof err.msg);
    CU_ASSERT_EQUAL(nlm_device_probe(&device, 2, &probed, NULL), NLM_DEVICE_ERROR);
    CU_ASSERT_EQUAL(nlm_device_probe(&device, NLM_PROBES_MOST, &probed, &err), NLM_NOT_FOUND);
}

static const check_case cases[] = {
    CHECK_CASE(devices_that_break_the_contract_are_not_opened),
    CHECK_CASE(opened_device_has_full_tables_and_stubs),
    CHECK_CASE(every_op_has_a_stub_with_its_name),
    CHECK_CASE(query_answers_yes_or_no_whatever_the_plugin_says),
    CHECK_CASE(host_serves_log_memory_and_options_until_the_last_close),
    CHECK_CASE(open_says_which_backends_there_are),
    CHECK_CASE(best_backend_that_opens_is_chosen_aloud),
    CHECK_CASE(probes_are_cleaned_and_have_an_end),
};

CHECK_MAIN("devices", cases)
