/* Registries of plugins that are wrong in one way each, beside a good one. */
#include "unit/plugin_folder.h"

#include "base/cpu.h"
#include "plugin/discover.h"
#include "plugin/registry.h"
#include "plugin/watch.h"

/* Plugins that are wrong in one way each, loaded in this process beside a good one. */
static void plugins_refuse_each_wrong_plugin_and_keep_the_good_one(void) {
    static const struct {
        const char *name;
        nlm_entry_state state;
        const char *reason;
    } rows[] = {
        {"size_zero", NLM_ENTRY_REFUSED, "says it has 0 bytes; expected 72 to"},
        {"size_small", NLM_ENTRY_REFUSED, "says it has 64 bytes; expected 72 to"},
        {"size_garbage", NLM_ENTRY_REFUSED, "says it has 4294967295 bytes"},
        {"host_too_old", NLM_ENTRY_REFUSED, "needs a host of plugin.h 1.7 or later; this one has 1.0"},
        {"minor_inconsistent", NLM_ENTRY_REFUSED, "newer than the 1.3 it says it was written to"},
        {"sanitizer_mismatch", NLM_ENTRY_SKIPPED, "is built with the memory sanitizer, this host with"},
        {"imports_sanitizer", NLM_ENTRY_SKIPPED, "is built with a sanitizer that this host is not built with"},
        {"name_invalid", NLM_ENTRY_REFUSED, "calls itself 'Bad-Name'; expected 1 to 63 of a-z, 0-9 and _"},
        {"name_other", NLM_ENTRY_REFUSED, "calls itself 'someone_else'; its registry entry says 'name_other'"},
        {"name_missing", NLM_ENTRY_REFUSED, "has no name"},
        {"no_probe", NLM_ENTRY_REFUSED, "lacks the function probe"},
        {"no_open", NLM_ENTRY_REFUSED, "lacks the function open"},
        {"no_close", NLM_ENTRY_REFUSED, "lacks the function close"},
        {"query_null", NLM_ENTRY_REFUSED, "cannot work with a host of plugin.h 1.0"},
        {"wrong_major", NLM_ENTRY_REFUSED, "exports nlm_plugin_query_v2 and not nlm_plugin_query_v1"},
        {"no_export", NLM_ENTRY_REFUSED, "does not export nlm_plugin_query_v1"},
        {"extra_export", NLM_ENTRY_REFUSED, "exports more than nlm_plugin_query_v1: nlm_fixture_stray;"},
        {"unresolved_symbol", NLM_ENTRY_REFUSED, "nlm_fixture_defined_nowhere"},
        {"missing_dependency", NLM_ENTRY_REFUSED, "libnlm_fixture_dependency.so"},
        {"relative_search_path", NLM_ENTRY_REFUSED, "has the relative entry 'elsewhere'"},
        {"symbol_in_dependency", NLM_ENTRY_REFUSED, "does not export nlm_plugin_query_v1"},
        {"probe_fails", NLM_ENTRY_REFUSED, "probe failed with status 7 (device error): the driver\\nis on fire"},
        {"probe_fails_silently", NLM_ENTRY_REFUSED, "probe failed with status 4711 (unknown status)"},
        {"probe_no_device", NLM_ENTRY_SKIPPED, "no such card in this machine"},
        {"probe_no_reason", NLM_ENTRY_SKIPPED, "found no device and gave no reason"},
        {"probe_unterminated", NLM_ENTRY_SKIPPED, "xxxxxxxx"},
        {"probe_too_many", NLM_ENTRY_REFUSED, "found 4294967295 devices; at most 1024"},
        {"probe_changes_fp_mode", NLM_ENTRY_REFUSED, "its probe changes the floating-point mode"},
        {"probe_changes_locale", NLM_ENTRY_REFUSED, "its probe changes the locale"},
        {"probe_changes_directory", NLM_ENTRY_REFUSED, "its probe changes the working directory"},
        {"probe_changes_mask", NLM_ENTRY_REFUSED, "its probe changes the signal mask"},
        {"probe_changes_handler", NLM_ENTRY_REFUSED, "its probe changes a signal handler"},
    };
    plugin_folder folder;
    folder_create(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) folder_add(&folder, rows[i].name, "");
    folder_add(&folder, "good", "");
    nlm_plugins *plugins = folder_must_load(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_state(find_entry(plugins, rows[i].name), rows[i].state, rows[i].reason);
    }
    expect_state(find_entry(plugins, "good"), NLM_ENTRY_READY, "");
    CU_ASSERT_EQUAL(nlm_plugins_count(plugins), sizeof rows / sizeof *rows + 1);
    CU_ASSERT_STRING_EQUAL(nlm_plugins_at(plugins, 0)->name, "good");
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void plugins_survive_isolated_ones_that_crash_or_exit(void) {
    static const struct {
        const char *name, *reason;
    } rows[] = {
        {"probe_crashes", "ended its process with SIGSEGV while in its probe"},
        {"probe_aborts", "ended its process with SIGABRT while in its probe"},
        {"probe_exits", "ended its process with exit status 3 while in its probe"},
        {"probe_prints", "prints to standard output"},
        {"load_crashes", "ended its process with SIGILL while being loaded"},
        {"probe_leaves_thread", "leaves 1 thread running; a plugin starts none of its own"},
        {"probe_leaves_descriptor", "open (/proc/"},
    };
    plugin_folder folder;
    folder_create(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char file[128];
        snprintf(file, sizeof file, "%s.so", rows[i].name);
        folder_copy(&folder, file);
        nlm_str_printf(&folder.registry, "[[plugin]]\nname = '%s'\nlibrary = '%s'\nisolate = true\n", rows[i].name,
                       file);
    }
    folder_copy(&folder, "good.so");
    nlm_str_printf(&folder.registry, "[[plugin]]\nname = 'good'\nlibrary = 'good.so'\n");
    nlm_plugins *plugins = folder_must_load(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_state(find_entry(plugins, rows[i].name), NLM_ENTRY_REFUSED, rows[i].reason);
    }
    const nlm_plugin_entry *good = find_entry(plugins, "good");
    expect_state(good, NLM_ENTRY_READY, "");
    CU_ASSERT_TRUE(good->isolate); /* the default outside the installation's own folder */
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* Files that a shared object is not; the loader must not even wait for a FIFO's writer. */
static void plugins_refuse_what_is_no_library(void) {
    static const struct {
        const char *library, *reason;
    } rows[] = {
        {"text.so", "not an ELF file"},
        {"empty.so", "not an ELF file"},
        {"folder.so", "is a directory; expected a regular file"},
        {"fifo.so", "is a FIFO; expected a regular file"},
        {"absent.so", "cannot be found: No such file or directory"},
        {"", "the library has an empty name"},
        {"/dev/null", "is a device; expected a regular file"},
        {"loop.so", "cannot be found: Too many levels of symbolic links"},
    };
    plugin_folder folder;
    folder_create(&folder);
    folder_write(&folder, "text.so", "INPUT(-lm)\n# a linker script is no library either\n", 50);
    folder_write(&folder, "empty.so", "", 0);
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "folder.so"), 0755), 0);
    CU_ASSERT_EQUAL_FATAL(mkfifo(folder_file(&folder, "fifo.so"), 0644), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("loop.so", folder_file(&folder, "loop.so")), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_str_printf(&folder.registry, "[[plugin]]\nname = 'row%zu'\nlibrary = '%s'\n", i, rows[i].library);
    }
    nlm_plugins *plugins = folder_must_load(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[16];
        snprintf(name, sizeof name, "row%zu", i);
        const nlm_plugin_entry *entry = find_entry(plugins, name);
        /* /dev/null can be written by all, which is seen first. */
        if (strcmp(rows[i].library, "/dev/null") == 0)
            expect_state(entry, NLM_ENTRY_REFUSED, "/dev/null");
        else
            expect_state(entry, NLM_ENTRY_REFUSED, rows[i].reason);
    }
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* What the entry itself may get wrong, each with the place it stands at. */
static void plugins_refuse_wrong_entries(void) {
    static const struct {
        const char *entry, *name, *reason;
    } rows[] = {
        {"library = 'good.so'", "(unnamed)", "the entry has no name"},
        {"name = 'n1'", "n1", "names no library"},
        {"name = 'N2'\nlibrary = 'good.so'", "N2", "the name 'N2' is not made of"},
        {"name = ''\nlibrary = 'good.so'", "", "the name '' is not made of"},
        {"name = 'n3'\nlibrary = 'good.so'\npriorty = 1", "n3", "priorty: unknown key; did you mean 'priority'?"},
        {"name = 'n4'\nlibrary = 7", "n4", "library: expected a string, got an integer"},
        {"name = 'n5'\nlibrary = 'good.so'\nisa = 'avx2'", "n5", "isa: expected an array of strings"},
        {"name = 'n6'\nlibrary = 'good.so'\nisa = ['avx22']", "n6",
         "isa 'avx22' is not known to this host; did you mean 'avx2'?"},
        {"name = 'n7'\nlibrary = 'good.so'\narch = 'x86-64'", "n7",
         "arch 'x86-64' is not known to this host: expected any, x86_64 or aarch64; did you mean 'x86_64'?"},
        {"name = 'n8'\nlibrary = 'good.so'\nsha256 = 'abc'", "n8", "sha256 is not 64 hexadecimal digits"},
        {"name = 'n9'\nlibrary = 'good.so'\nsha256 = "
         "'0000000000000000000000000000000000000000000000000000000000000000'",
         "n9", "its registry entry says 0000"},
        {"name = 'n10'\nlibrary = 'good.so'\npriority = 1e3", "n10", "priority: expected an integer, got a float"},
        {"name = 'n11'\nlibrary = 'good.so'\noptions = {a = [1]}", "n11", "options.a: expected a string"},
    };
    plugin_folder folder;
    folder_create(&folder);
    folder_copy(&folder, "good.so");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nlm_str_printf(&folder.registry, "[[plugin]]\n%s\n", rows[i].entry);
    }
    nlm_plugins *plugins = folder_must_load(&folder);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_state(find_entry(plugins, rows[i].name), NLM_ENTRY_REFUSED, rows[i].reason);
    }
    expect_contains(find_entry(plugins, "n3")->reason, "plugins.toml:14:1: ");
    expect_contains(find_entry(plugins, "n3")->registry, "/plugins.toml:11");
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void registry_as_a_whole_must_parse(void) {
    static const struct {
        const char *text, *where, *msg;
    } rows[] = {
        {"[[plugin]\n", ":1:", ""},
        {"[plugin]\nname = 'x'\n", ":1:2", "expected [[plugin]], an array of tables"},
        {"plugin = ['x']\n", ":1:11", "expected [[plugin]], an array of tables"},
        {"[[plugins]]\nname = 'x'\n", ":1:3", "a registry holds [[plugin]] entries only"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plugin_folder folder;
        folder_create(&folder);
        nlm_str_puts(&folder.registry, rows[i].text);
        nlm_plugins *plugins;
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(folder_load(&folder, &plugins, &err), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NULL(plugins);
        expect_contains(err.where, rows[i].where);
        expect_contains(err.msg, rows[i].msg);
        folder_destroy(&folder);
    }
}

static void registry_that_others_can_write_is_not_read(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_write(&folder, "open.toml", "", 0);
    CU_ASSERT_EQUAL_FATAL(chmod(folder_file(&folder, "open.toml"), 0666), 0);
    const nlm_plugins_options options = {.registry = folder_file(&folder, "open.toml")};
    nlm_plugins *plugins;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_plugins_create(&options, &plugins, &err), NLM_PERMISSION);
    expect_contains(err.msg, "can be written by everybody");
    folder_destroy(&folder);
}

static void plugins_come_by_priority_then_score_then_name(void) {
    static const char *const order[] = {"newer_minor", "fast", "fast_too", "good", "witness"};
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "witness", "priority = -1");
    folder_add(&folder, "good", "");
    folder_add(&folder, "fast_too", "");
    folder_add(&folder, "fast", "");
    folder_add(&folder, "newer_minor", "priority = 5");
    nlm_plugins *plugins = folder_must_load(&folder);
    CU_ASSERT_EQUAL_FATAL(nlm_plugins_count(plugins), 5);
    for (size_t i = 0; i < 5; i++) CU_ASSERT_STRING_EQUAL(nlm_plugins_at(plugins, i)->name, order[i]);
    CU_ASSERT_EQUAL(nlm_plugins_at(plugins, 1)->score, 50);
    CU_ASSERT_EQUAL(nlm_plugins_at(plugins, 1)->device_count, 2);
    CU_ASSERT_PTR_NULL(nlm_plugins_at(plugins, 5));
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void duplicate_names_are_refused_naming_the_first(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_add(&folder, "good", "");
    folder_add(&folder, "good", "priority = 100");
    nlm_plugins *plugins = folder_must_load(&folder);
    CU_ASSERT_EQUAL_FATAL(nlm_plugins_count(plugins), 2);
    expect_state(nlm_plugins_at(plugins, 0), NLM_ENTRY_READY, "");
    CU_ASSERT_EQUAL(nlm_plugins_at(plugins, 0)->priority, 0);
    expect_state(nlm_plugins_at(plugins, 1), NLM_ENTRY_REFUSED, "the name 'good' is taken by /tmp/nlm_plugins_");
    expect_contains(nlm_plugins_at(plugins, 1)->reason, "/plugins.toml:1 (");
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* The constructor of `witness` leaves a file as soon as any code of the library runs. */
static void plugins_for_another_cpu_are_never_loaded(void) {
    const bool is_x86 = strcmp(nlm_cpu_arch(), "x86_64") == 0;
    static const struct {
        const char *lines_x86, *lines_arm;
        nlm_entry_state state;
        const char *reason_x86, *reason_arm;
    } rows[] = {
        {"isa = ['sse4.2', 'neon', 'sve']", "isa = ['avx', 'avx2']", NLM_ENTRY_SKIPPED, "needs neon, sve, which this",
         "needs avx, avx2, which this"},
        {"arch = 'aarch64'", "arch = 'x86_64'", NLM_ENTRY_SKIPPED, "it is for aarch64; this machine is x86_64",
         "it is for x86_64; this machine is aarch64"},
        {"isa = ['nonsense']", "isa = ['nonsense']", NLM_ENTRY_REFUSED, "isa 'nonsense'", "isa 'nonsense'"},
        {"isa = []\narch = 'any'", "isa = []", NLM_ENTRY_READY, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plugin_folder folder;
        folder_create(&folder);
        char trace[256];
        snprintf(trace, sizeof trace, "%s", folder_file(&folder, "trace"));
        setenv("NLM_TEST_WITNESS", trace, 1);
        folder_add(&folder, "witness", is_x86 ? rows[i].lines_x86 : rows[i].lines_arm);
        nlm_plugins *plugins = folder_must_load(&folder);
        expect_state(nlm_plugins_at(plugins, 0), rows[i].state, is_x86 ? rows[i].reason_x86 : rows[i].reason_arm);
        CU_ASSERT_EQUAL(access(trace, F_OK) == 0, rows[i].state == NLM_ENTRY_READY);
        nlm_plugins_destroy(plugins);
        folder_destroy(&folder);
    }
    unsetenv("NLM_TEST_WITNESS");
}

static void sha256_of_the_entry_is_checked(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_copy(&folder, "good.so");
    char command[512], digest[65] = "";
    snprintf(command, sizeof command, "sha256sum %s", folder_file(&folder, "good.so"));
    FILE *pipe = popen(command, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(pipe);
    const int n_read = fscanf(pipe, "%64s", digest);
    pclose(pipe);
    if (n_read != 1) {
        folder_destroy(&folder);
        CHECK_SKIP("there is no sha256sum");
    }
    char line[128];
    snprintf(line, sizeof line, "sha256 = '%s'", digest);
    folder_add(&folder, "good", line);
    nlm_plugins *plugins = folder_must_load(&folder);
    expect_state(nlm_plugins_at(plugins, 0), NLM_ENTRY_READY, "");
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

/* ---- where registries come from ----------------------------------------------------------- */

static void environment_replaces_and_prepends_registries(void) {
    plugin_folder first, second;
    folder_create(&first);
    folder_create(&second);
    folder_add(&first, "good", "");
    folder_add(&second, "good", "");
    folder_add(&second, "fast", "");
    nlm_plugins_destroy(folder_must_load(&first));
    nlm_plugins_destroy(folder_must_load(&second));
    setenv("NLM_PLUGIN_REGISTRY_ADD", folder_file(&first, "plugins.toml"), 1);
    setenv("NLM_PLUGIN_REGISTRY", folder_file(&second, "plugins.toml"), 1);
    nlm_plugins *plugins;
    CU_ASSERT_EQUAL_FATAL(nlm_plugins_create(NULL, &plugins, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_plugins_count(plugins), 3);
    expect_contains(find_entry(plugins, "good")->registry, first.path);
    expect_state(find_entry(plugins, "fast"), NLM_ENTRY_READY, "");
    expect_state(nlm_plugins_at(plugins, 2), NLM_ENTRY_REFUSED, "is taken by");
    nlm_plugins_destroy(plugins);

    /* What the API gives stands alone. */
    const nlm_plugins_options options = {.registry = folder_file(&first, "plugins.toml")};
    CU_ASSERT_EQUAL_FATAL(nlm_plugins_create(&options, &plugins, NULL), NLM_OK);
    CU_ASSERT_EQUAL(nlm_plugins_count(plugins), 1);
    nlm_plugins_destroy(plugins);

    nlm_error err = NLM_ERROR_INIT;
    setenv("NLM_PLUGIN_REGISTRY", "plugins.toml", 1);
    CU_ASSERT_EQUAL(nlm_plugins_create(NULL, &plugins, &err), NLM_INVALID_ARGUMENT);
    expect_contains(err.msg, "is not an absolute path");
    unsetenv("NLM_PLUGIN_REGISTRY");
    unsetenv("NLM_PLUGIN_REGISTRY_ADD");
    folder_destroy(&first);
    folder_destroy(&second);
}

static void default_registry_is_beside_the_code_and_not_in_the_current_directory(void) {
    plugin_folder folder;
    folder_create(&folder);
    char before[PATH_MAX], found[PATH_MAX], expected[PATH_MAX];
    CU_ASSERT_PTR_NOT_NULL_FATAL(getcwd(before, sizeof before));
    CU_ASSERT_EQUAL_FATAL(mkdir(folder_file(&folder, "nlm"), 0755), 0);
    folder_write(&folder, "nlm/plugins.toml", "", 0);
    folder_write(&folder, "plugins.toml", "", 0);
    CU_ASSERT_EQUAL_FATAL(chdir(folder.path), 0);
    const bool is_found = nlm_discover_folder(found);
    CU_ASSERT_EQUAL(chdir(before), 0);
    CU_ASSERT_TRUE_FATAL(is_found);
    CU_ASSERT_PTR_NOT_NULL_FATAL(realpath(NLM_PLUGIN_DIRECTORY, expected));
    CU_ASSERT_STRING_EQUAL(found, expected);
    folder_destroy(&folder);
}

static void library_outside_a_registry_is_checked_alike(void) {
    plugin_folder folder;
    folder_create(&folder);
    folder_copy(&folder, "good.so");
    folder_copy(&folder, "extra_export.so");
    nlm_plugins *plugins = folder_must_load(&folder);
    const nlm_plugin_entry *entry;
    nlm_error err = NLM_ERROR_INIT;
    CU_ASSERT_EQUAL(nlm_plugins_add_library(plugins, folder_file(&folder, "good.so"), &entry, &err), NLM_OK);
    expect_state(entry, NLM_ENTRY_READY, "");
    CU_ASSERT_STRING_EQUAL(entry->name, "good");
    CU_ASSERT_TRUE(entry->isolate);
    CU_ASSERT_STRING_EQUAL(nlm_plugin_descriptor(entry->plugin)->version, "1.2.3");
    CU_ASSERT_EQUAL(nlm_plugins_add_library(plugins, folder_file(&folder, "extra_export.so"), &entry, &err), NLM_OK);
    expect_state(entry, NLM_ENTRY_REFUSED, "exports more than");
    CU_ASSERT_EQUAL(nlm_plugins_add_library(plugins, folder_file(&folder, "good.so"), &entry, &err), NLM_OK);
    expect_state(entry, NLM_ENTRY_REFUSED, "the name 'good' is taken by given by its path");
    CU_ASSERT_EQUAL(nlm_plugins_add_library(plugins, folder_file(&folder, "none.so"), &entry, &err), NLM_NOT_FOUND);
    CU_ASSERT_EQUAL(nlm_plugins_add_library(plugins, "", &entry, &err), NLM_INVALID_ARGUMENT);
    nlm_plugins_destroy(plugins);
    folder_destroy(&folder);
}

static void put_back(int number) {
    (void)number;
}

/* The C library marks what it installs, also when it puts back what was there before. */
static void a_handler_that_is_put_back_is_no_change(void) {
    struct sigaction before, own = {.sa_handler = put_back};
    nlm_watch watch;
    nlm_verdict verdict = {0};
    nlm_watch_start(&watch);
    CU_ASSERT_EQUAL(sigaction(SIGUSR1, NULL, &before), 0);
    CU_ASSERT_EQUAL(sigaction(SIGUSR1, &own, NULL), 0);
    CU_ASSERT_EQUAL(sigaction(SIGUSR1, &before, NULL), 0);
    CU_ASSERT_TRUE(nlm_watch_check(&watch, "open", &verdict));
    CU_ASSERT_EQUAL(sigaction(SIGUSR1, &own, NULL), 0);
    CU_ASSERT_FALSE(nlm_watch_check(&watch, "open", &verdict));
    CU_ASSERT_PTR_NOT_NULL(strstr(verdict.reason, "open changes a signal handler"));
    CU_ASSERT_EQUAL(sigaction(SIGUSR1, NULL, &own), 0);
    CU_ASSERT_TRUE(own.sa_handler == SIG_DFL);
}

static const check_case cases[] = {
    CHECK_CASE(plugins_refuse_each_wrong_plugin_and_keep_the_good_one),
    CHECK_CASE(plugins_survive_isolated_ones_that_crash_or_exit),
    CHECK_CASE(plugins_refuse_what_is_no_library),
    CHECK_CASE(plugins_refuse_wrong_entries),
    CHECK_CASE(registry_as_a_whole_must_parse),
    CHECK_CASE(registry_that_others_can_write_is_not_read),
    CHECK_CASE(plugins_come_by_priority_then_score_then_name),
    CHECK_CASE(duplicate_names_are_refused_naming_the_first),
    CHECK_CASE(plugins_for_another_cpu_are_never_loaded),
    CHECK_CASE(sha256_of_the_entry_is_checked),
    CHECK_CASE(environment_replaces_and_prepends_registries),
    CHECK_CASE(default_registry_is_beside_the_code_and_not_in_the_current_directory),
    CHECK_CASE(library_outside_a_registry_is_checked_alike),
    CHECK_CASE(a_handler_that_is_put_back_is_no_change),
};

CHECK_MAIN("plugins", cases)
