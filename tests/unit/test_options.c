/* Command lines: options, operands, and what is said of mistakes. */
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "common/options.h"

static const char *model;
static int64_t count;
static double temperature;
static bool is_json;
static nlm_option_texts sets;

static const nlm_option options[] = {
    {.name = "model", .letter = 'm', .type = NLM_OPTION_TEXT, .argument = "FILE", .help = "", .out = &model},
    {.letter = 'n', .type = NLM_OPTION_INT, .argument = "N", .help = "", .out = &count, .min = -1, .max = 100},
    {.name = "temperature", .type = NLM_OPTION_NUMBER, .help = "", .out = &temperature, .max = 10},
    {.name = "json", .type = NLM_OPTION_FLAG, .help = "", .out = &is_json},
    {.name = "set", .type = NLM_OPTION_TEXTS, .help = "", .out = &sets},
};
static const nlm_command command = {.name = "test",
                                    .usage = "",
                                    .summary = "",
                                    .examples = "",
                                    .options = options,
                                    .n_options = sizeof options / sizeof *options,
                                    .max_operands = 1};

/* Parses words with stderr going to `out`. */
static int parse_quietly(char **words, int n, int *first, char *out, size_t size) {
    fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    dup2(fileno(file), STDERR_FILENO);
    const int result = nlm_options_parse(&command, n, words, first);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    const size_t length = fread(out, 1, size - 1, file);
    out[length] = '\0';
    fclose(file);
    return result;
}

static void options_are_stored_and_operands_found_anywhere(void) {
    char *words[] = {"test",   "a.toml", "-n",  "7",  "--temperature=0.5", "--set", "a=1",
                     "--json", "--set",  "b=2", "-mX"};
    int first = 0;
    CU_ASSERT_EQUAL(nlm_options_parse(&command, 11, words, &first), NLM_OPTIONS_GO_ON);
    CU_ASSERT_EQUAL(first, 10);
    CU_ASSERT_STRING_EQUAL(words[first], "a.toml");
    CU_ASSERT_STRING_EQUAL(model, "X");
    CU_ASSERT_EQUAL(count, 7);
    CU_ASSERT_EQUAL(temperature, 0.5);
    CU_ASSERT(is_json);
    CU_ASSERT_EQUAL(sets.count, 2);
    CU_ASSERT_STRING_EQUAL(sets.items[1], "b=2");
    /* a second pass over the (permuted) words gives the same */
    CU_ASSERT_EQUAL(nlm_options_parse(&command, 11, words, &first), NLM_OPTIONS_GO_ON);
    CU_ASSERT_EQUAL(sets.count, 2);
}

static void options_tell_what_is_wrong(void) {
    static const struct {
        const char *words[3];
        const char *told;
    } cases[] = {
        {{"test", "--modle", "x"}, "unknown option '--modle'; did you mean '--model'?"},
        {{"test", "--quite=1", ""}, "unknown option '--quite'"},
        {{"test", "", "--model"}, "option '--model' needs a value"},
        {{"test", "", "-n"}, "option '-n' needs a value"},
        {{"test", "-x", ""}, "unknown option '-x'"},
        {{"test", "-n", "1e3"}, "-n: '1e3' is not a whole number from -1 to 100"},
        {{"test", "-n", "101"}, "-n: '101' is not a whole number from -1 to 100"},
        {{"test", "-n", "99999999999999999999"}, "is not a whole number"},
        {{"test", "--temperature", "nan"}, "--temperature: 'nan' is not a number from 0 to 10"},
        {{"test", "--json=yes", ""}, "option '--json' takes no value"},
        {{"test", "--help=yes", ""}, "option '--help' takes no value"},
        {{"test", "one", "two"}, "unexpected argument 'two'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[3][64], *words[4] = {text[0], text[1], text[2], NULL}, told[512];
        for (int w = 0; w < 3; w++) snprintf(text[w], sizeof text[w], "%s", cases[i].words[w]);
        int first = 0;
        CU_ASSERT_EQUAL(parse_quietly(words, 3, &first, told, sizeof told), NLM_EXIT_USAGE);
        const bool is_told = strstr(told, cases[i].told) != NULL;
        if (!is_told) printf("\n  expected \"%s\", told \"%s\"", cases[i].told, told);
        CU_ASSERT(is_told);
    }
}

static const check_case cases[] = {
    CHECK_CASE(options_are_stored_and_operands_found_anywhere),
    CHECK_CASE(options_tell_what_is_wrong),
};
CHECK_MAIN("options", cases)
