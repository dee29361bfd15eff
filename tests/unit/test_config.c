/* Reading typed settings from TOML, and the sentences for what is wrong. */
#include "unit/check.h"

#include "base/arena.h"
#include "base/str.h"
#include "config/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct values {
    const char *model;
    int64_t seed;
    double temperature;
    bool greedy;
    nlm_config_strings stop;
    nlm_config_ints devices;
    const char *template_name;
    const char *const *options;
} values;

static const char *const templates[] = {"chatml", "llama-3", NULL};
static const nlm_config_key keys[] = {
    {"model.path", NLM_CONFIG_STRING, offsetof(values, model), 0, 0, NULL},
    {"sampler.seed", NLM_CONFIG_INT, offsetof(values, seed), 0, 9.3e18, NULL},
    {"sampler.temperature", NLM_CONFIG_FLOAT, offsetof(values, temperature), 0, 10, NULL},
    {"sampler.greedy", NLM_CONFIG_BOOL, offsetof(values, greedy), 0, 0, NULL},
    {"sampler.stop", NLM_CONFIG_STRINGS, offsetof(values, stop), 0, 0, NULL},
    {"backend.devices", NLM_CONFIG_INTS, offsetof(values, devices), 0, 9, NULL},
    {"chat.template", NLM_CONFIG_STRING, offsetof(values, template_name), 0, 0, templates},
    {"backend.options", NLM_CONFIG_OPTIONS, offsetof(values, options), 0, 0, NULL},
};

typedef struct fixture {
    nlm_arena arena;
    values values;
    nlm_config config;
    nlm_error err;
} fixture;

static void start(fixture *f) {
    *f = (fixture){.values = {.seed = -1, .temperature = 0.5}};
    f->config = (nlm_config){keys, sizeof keys / sizeof *keys, &f->values, &f->arena};
}

static nlm_status read_text(fixture *f, const char *text) {
    return nlm_config_read_text(&f->config, text, strlen(text), "run.toml", &f->err);
}

/* CUnit prints neither side of a failed comparison. */
static void expect_text(const char *got, const char *expected) {
    if (strcmp(got, expected) != 0) printf("\n    got      %s\n    expected %s\n", got, expected);
    CU_ASSERT_STRING_EQUAL(got, expected);
}

static void config_reads_every_type(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL_FATAL(read_text(&f,
                                    "[model]\npath = \"a b.gguf\"\n"
                                    "[sampler]\nseed = 7\ntemperature = 1\ngreedy = true\nstop = ['x', \"\\n\"]\n"
                                    "[chat]\ntemplate = 'chatml'\n"
                                    "[backend]\ndevices = [2, 0]\n"
                                    "[backend.options]\nthreads = 4\nname = 'q'\nhot = true\nratio = 0.25\n"),
                          NLM_OK);
    expect_text(f.values.model, "a b.gguf");
    CU_ASSERT_EQUAL(f.values.seed, 7);
    CU_ASSERT_EQUAL(f.values.temperature, 1.0);
    CU_ASSERT_TRUE(f.values.greedy);
    CU_ASSERT_EQUAL_FATAL(f.values.stop.count, 2);
    expect_text(f.values.stop.items[1], "\n");
    CU_ASSERT_EQUAL_FATAL(f.values.devices.count, 2);
    CU_ASSERT_EQUAL(f.values.devices.items[0], 2);
    CU_ASSERT_EQUAL(f.values.devices.items[1], 0);
    expect_text(f.values.template_name, "chatml");
    expect_text(nlm_config_option(f.values.options, "threads"), "4");
    expect_text(nlm_config_option(f.values.options, "name"), "q");
    expect_text(nlm_config_option(f.values.options, "hot"), "true");
    expect_text(nlm_config_option(f.values.options, "ratio"), "0.25");
    CU_ASSERT_PTR_NULL(nlm_config_option(f.values.options, "none"));
    nlm_arena_release(&f.arena);
}

static void config_reads_any_utf8_in_quotes_and_comments(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(read_text(&f,
                              "\xEF\xBB\xBF# \xC6\x82\nmodel.path = 'gr\xC3\xB6\xC3\x9F"
                              "e' # \xE2\x80\xA8 x\n"),
                    NLM_OK);
    expect_text(f.err.msg, "");
    expect_text(f.values.model,
                "gr\xC3\xB6\xC3\x9F"
                "e");
    nlm_arena_release(&f.arena);
}

static void config_leaves_absent_keys_alone(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(read_text(&f, "# nothing\n"), NLM_OK);
    CU_ASSERT_EQUAL(f.values.seed, -1);
    CU_ASSERT_EQUAL(f.values.temperature, 0.5);
    CU_ASSERT_PTR_NULL(f.values.model);
    nlm_arena_release(&f.arena);
}

static void config_errors_name_place_key_and_remedy(void) {
    static const struct {
        const char *text, *where, *msg;
    } cases[] = {
        {"[sampler]\ntemprature = 1\n", "run.toml:2:1",
         "sampler.temprature: unknown key; did you mean 'sampler.temperature'?"},
        {"[sampler]\n  sed = 1\n", "run.toml:2:3", "sampler.sed: unknown key; did you mean 'sampler.seed'?"},
        {"[sampler]\n\"\\u001bsed\" = 1\n", "run.toml:2:1",
         "sampler.\\x1bsed: unknown key; did you mean 'sampler.seed'?"},
        {"temperature = 1\n", "run.toml:1:1", "temperature: unknown key; did you mean 'sampler.temperature'?"},
        {"[smpler]\nseed = 1\n", "run.toml:1:2", "smpler: unknown key; did you mean 'sampler'?"},
        {"chat.xyzzyxyzzy = 1\n", "run.toml:1:6", "chat.xyzzyxyzzy: unknown key; expected one of chat.template"},
        {"\"sampler.seed\" = 1\n", "run.toml:1:1", "sampler.seed: a key in quotes may not hold a dot"},
        {"sampler = 3\n", "run.toml:1:1", "sampler: expected a table, got an integer"},
        {"sampler.seed = 'x'\n", "run.toml:1:9", "sampler.seed: expected an integer, got a string"},
        {"sampler.seed = 1.5\n", "run.toml:1:9", "sampler.seed: expected an integer, got a float"},
        {"sampler.seed = -1\n", "run.toml:1:9", "sampler.seed: -1 is out of range; expected at least 0"},
        {"sampler.temperature = 11\n", "run.toml:1:9", "sampler.temperature: 11 is out of range; expected 0 to 10"},
        {"sampler.temperature = nan\n", "run.toml:1:9", "sampler.temperature: expected a finite number"},
        {"sampler.temperature = 'hot'\n", "run.toml:1:9", "sampler.temperature: expected a number, got a string"},
        {"sampler.greedy = 1\n", "run.toml:1:9", "sampler.greedy: expected true or false, got an integer"},
        {"sampler.stop = 'x'\n", "run.toml:1:9", "sampler.stop: expected an array of strings, got a string"},
        {"sampler.stop = ['x',\n 2]\n", "run.toml:2:2",
         "sampler.stop: expected an array of strings, element 1 is an integer"},
        {"backend.devices = 1\n", "run.toml:1:9", "backend.devices: expected an array of integers, got an integer"},
        {"backend.devices = [0, 'x']\n", "run.toml:1:23",
         "backend.devices: expected an array of integers, element 1 is a string"},
        {"backend.devices = [0, 10]\n", "run.toml:1:23", "backend.devices: 10 is out of range; expected 0 to 9"},
        {"model.path = 1979-05-27\n", "run.toml:1:7", "model.path: expected a string, got a date or time"},
        {"chat.template = 'x'\n", "run.toml:1:6",
         "chat.template: 'x' is not a choice; expected one of 'chatml', 'llama-3'"},
        {"backend.options = 1\n", "run.toml:1:9",
         "backend.options: expected a table of plain values, got an integer"},
        {"[backend.options]\na = [1]\n", "run.toml:2:1",
         "backend.options.a: expected a string, a number or a boolean, got an array"},
        {"# \xC3\xB6\n[model]\ngr\xC3\xB6\xC3\x9F"
         "e = 1\n",
         "run.toml:3:3", "Error while parsing key-value pair: expected '=', saw '\xC3\xB6'"},
        {"model.path = \"a\\u0000b\"\n", "run.toml:1:14", "a string may not hold U+0000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        start(&f);
        CU_ASSERT_EQUAL(read_text(&f, cases[i].text), NLM_BAD_FORMAT);
        expect_text(f.err.where, cases[i].where);
        expect_text(f.err.msg, cases[i].msg);
        nlm_arena_release(&f.arena);
    }
}

static void config_reports_syntax_by_line_and_column(void) {
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"[sampler]\nseed = = 1\n", "run.toml:2:8"},
        {"a = 1\na = 2\n", "run.toml:2:5"},
        {"a = \"open\n", "run.toml:1:10"},
        {"a = '\xff'\n", "run.toml:1:5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        start(&f);
        CU_ASSERT_EQUAL(read_text(&f, cases[i].text), NLM_BAD_FORMAT);
        expect_text(f.err.where, cases[i].where);
        CU_ASSERT_TRUE(strlen(f.err.msg) > 10);
        nlm_arena_release(&f.arena);
    }
}

static void config_reports_the_first_fault_in_the_text(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(read_text(&f, "[sampler]\nseed = 'x'\n[chat]\nzzz = 1\n[model]\naaa = 1\n"), NLM_BAD_FORMAT);
    expect_text(f.err.where, "run.toml:2:1");
    nlm_arena_release(&f.arena);
}

static void config_refuses_nul_bytes(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(nlm_config_read_text(&f.config, "\n\na\0b = 1", 9, "run.toml", &f.err), NLM_BAD_FORMAT);
    expect_text(f.err.where, "run.toml:3:2");
    nlm_arena_release(&f.arena);
}

/* Each text would make a naive parser, or the destructor of its tree, recurse as deep as it is long. */
static void config_refuses_deep_nesting_without_recursing(void) {
    static const char *const units[] = {"a.", "a . ", "\"x\".", "[", "{a=", "[[", "a={b."};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        nlm_str text = {0};
        while (text.length + 32 < NLM_TOML_MAX_BYTES) nlm_str_puts(&text, units[i]);
        nlm_str_puts(&text, "a = 1");
        for (int is_value = 0; is_value < 2; is_value++) {
            fixture f;
            start(&f);
            nlm_str full = {0};
            nlm_str_printf(&full, "%s%s", is_value ? "v=" : "", text.data);
            CU_ASSERT_EQUAL(nlm_config_read_text(&f.config, full.data, full.length, "run.toml", &f.err),
                            NLM_BAD_FORMAT);
            nlm_str_release(&full);
            nlm_arena_release(&f.arena);
        }
        nlm_str_release(&text);
    }
}

static void config_counts_dots_of_keys_only(void) {
    fixture f;
    start(&f);
    const char *dots = "........................................";
    nlm_str text = {0};
    nlm_str_printf(&text, "# %s\nmodel.path = \"\"\"\"\"%s\\\"\"\"\"\"\"\nchat.template = 'chatml' # '%s\n", dots,
                   dots, dots);
    nlm_str_printf(&text, "sampler.stop = ['%s', \"\\\\\", '''it's\n''%s''''', \"\"]\n", dots, dots);
    CU_ASSERT_EQUAL(read_text(&f, text.data), NLM_OK);
    expect_text(f.err.msg, "");
    CU_ASSERT_EQUAL_FATAL(f.values.stop.count, 4);
    nlm_str_release(&text);
    nlm_arena_release(&f.arena);
}

static void config_refuses_what_is_not_a_small_regular_file(void) {
    char directory[] = "/tmp/nlm_config_XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    char path[64];
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(nlm_config_read_file(&f.config, directory, &f.err), NLM_INVALID_ARGUMENT);
    expect_text(f.err.msg, "not a regular file");

    snprintf(path, sizeof path, "%s/none.toml", directory);
    CU_ASSERT_EQUAL(nlm_config_read_file(&f.config, path, &f.err), NLM_NOT_FOUND);

    snprintf(path, sizeof path, "%s/fifo", directory);
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    CU_ASSERT_EQUAL(nlm_config_read_file(&f.config, path, &f.err), NLM_INVALID_ARGUMENT);
    unlink(path);

    snprintf(path, sizeof path, "%s/big.toml", directory);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(ftruncate(fileno(file), NLM_TOML_MAX_BYTES + 1), 0);
    fclose(file);
    CU_ASSERT_EQUAL(nlm_config_read_file(&f.config, path, &f.err), NLM_LIMIT);

    file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs("sampler.seed = 3\n", file);
    fclose(file);
    CU_ASSERT_EQUAL(nlm_config_read_file(&f.config, path, &f.err), NLM_OK);
    CU_ASSERT_EQUAL(f.values.seed, 3);
    unlink(path);
    rmdir(directory);
    nlm_arena_release(&f.arena);
}

static void set_overrides_through_the_same_checks(void) {
    static const struct {
        const char *assignment;
        nlm_status status;
        const char *msg;
    } cases[] = {
        {"sampler.seed=0x10", NLM_OK, ""},
        {" sampler.temperature = 2", NLM_OK, ""},
        {"model.path=my model=1.gguf", NLM_OK, ""},
        {"sampler.stop=['a','b']", NLM_OK, ""},
        {"backend.options.threads=4", NLM_OK, ""},
        {"backend.options.threads=8", NLM_OK, ""},
        {"backend.options.path=/a b", NLM_OK, ""},
        {"backend.options={path='c', more=1}", NLM_OK, ""},
        {"sampler.seed", NLM_BAD_FORMAT, "'sampler.seed': expected KEY=VALUE"},
        {"sampler.seed=", NLM_BAD_FORMAT, "sampler.seed: expected an integer, got ''"},
        {"sampler.seed=abc", NLM_BAD_FORMAT, "sampler.seed: expected an integer, got 'abc'"},
        {"sampler.seed=1\nother=2", NLM_BAD_FORMAT, "sampler.seed: expected an integer, got '1\\nother=2'"},
        {"sampler.seed=-4", NLM_BAD_FORMAT, "sampler.seed: -4 is out of range; expected at least 0"},
        {"sampler.sede=4", NLM_BAD_FORMAT, "sampler.sede: unknown key; did you mean 'sampler.seed'?"},
        {"sampler=4", NLM_BAD_FORMAT, "sampler: is a table; name one of its keys"},
        {"=4", NLM_BAD_FORMAT, NULL},
        {"chat.template=nope", NLM_BAD_FORMAT,
         "chat.template: 'nope' is not a choice; expected one of 'chatml', 'llama-3'"},
    };
    fixture f;
    start(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f.err = (nlm_error)NLM_ERROR_INIT;
        CU_ASSERT_EQUAL(nlm_config_set(&f.config, cases[i].assignment, &f.err), cases[i].status);
        if (cases[i].msg) expect_text(f.err.msg, cases[i].msg);
        if (cases[i].status != NLM_OK) expect_text(f.err.where, "--set");
    }
    CU_ASSERT_EQUAL(f.values.seed, 16);
    CU_ASSERT_EQUAL(f.values.temperature, 2.0);
    expect_text(f.values.model, "my model=1.gguf");
    CU_ASSERT_EQUAL(f.values.stop.count, 2);
    expect_text(nlm_config_option(f.values.options, "threads"), "8");
    expect_text(nlm_config_option(f.values.options, "path"), "c");
    expect_text(nlm_config_option(f.values.options, "more"), "1");
    nlm_arena_release(&f.arena);
}

static void flags_take_strings_verbatim(void) {
    fixture f;
    start(&f);
    CU_ASSERT_EQUAL(nlm_config_set(&f.config, "model.path=\"quo\\u0074ed\"", &f.err), NLM_OK);
    expect_text(f.values.model, "quoted");
    CU_ASSERT_EQUAL(nlm_config_set_flag(&f.config, "--model", "model.path", "\"as is\"", &f.err), NLM_OK);
    expect_text(f.values.model, "\"as is\"");
    CU_ASSERT_EQUAL(nlm_config_set_flag(&f.config, "--temperature", "sampler.temperature", "warm", &f.err),
                    NLM_BAD_FORMAT);
    expect_text(f.err.where, "--temperature");
    expect_text(f.err.msg, "sampler.temperature: expected a number, got 'warm'");
    nlm_arena_release(&f.arena);
}

static void where_keeps_the_end_of_a_long_path(void) {
    char path[300], where[NLM_TOML_WHERE_BYTES];
    memset(path, 'a', sizeof path);
    snprintf(path + 290, 10, "/run.toml");
    nlm_toml_where(where, path, 12, 3);
    CU_ASSERT_EQUAL(strlen(where), NLM_TOML_WHERE_BYTES - 1);
    expect_text(where + strlen(where) - 14, "/run.toml:12:3");
    CU_ASSERT_EQUAL(strncmp(where, "...a", 4), 0);
}

static const check_case cases[] = {
    CHECK_CASE(config_reads_every_type),
    CHECK_CASE(config_reads_any_utf8_in_quotes_and_comments),
    CHECK_CASE(config_leaves_absent_keys_alone),
    CHECK_CASE(config_errors_name_place_key_and_remedy),
    CHECK_CASE(config_reports_syntax_by_line_and_column),
    CHECK_CASE(config_reports_the_first_fault_in_the_text),
    CHECK_CASE(config_refuses_nul_bytes),
    CHECK_CASE(config_refuses_deep_nesting_without_recursing),
    CHECK_CASE(config_counts_dots_of_keys_only),
    CHECK_CASE(config_refuses_what_is_not_a_small_regular_file),
    CHECK_CASE(set_overrides_through_the_same_checks),
    CHECK_CASE(flags_take_strings_verbatim),
    CHECK_CASE(where_keeps_the_end_of_a_long_path),
};

CHECK_MAIN("config", cases)
