/* Calls of tools in texts of models: what is read, and that nothing is lost. */
#include "nlm-server/tools.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"type\": \"object\","
    "  \"properties\": {\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}}}}},"
    " {\"type\": \"function\", \"function\": {\"name\": \"now\"}}]";

/* expected: "content|name(arguments)|name(arguments)" */
static const struct {
    const char *text, *expected;
} texts[] = {
    {"", ""},
    {"Hello.", "Hello."},
    {"a < b, [TOOL, <tool", "a < b, [TOOL, <tool"},
    /* Hermes */
    {"<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
     "|weather({\"city\":\"Paris\"})"},
    {"Let me see.\n<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>\n<tool_call>{\"name\": \"weather\", "
     "\"arguments\": {\"city\": \"Rome\", \"days\": 2}}</tool_call>",
     "Let me see.|now({})|weather({\"city\":\"Rome\",\"days\":2})"},
    {"<tool_call>{\"name\": \"now\"}", "|now({})"}, /* the closing mark was a stop, or was cut */
    {"<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call> Done.", " Done.|now({\"a\":1})"},
    /* Numbers keep their digits. */
    {"<tool_call>{\"name\": \"weather\", \"arguments\": {\"a\": 9007199254740993, \"b\": [-18446744073709551615, 1, "
     "\"12345678901234567890\", 0.12345678901234567891], \"c\": 1e400, \"d\": 1.50}}</tool_call>",
     "|weather({\"a\":9007199254740993,\"b\":[-18446744073709551615,1,\"12345678901234567890\","
     "0.12345678901234567891],\"c\":1e400,\"d\":1.5})"},
    {"<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1234567890123456789}\"}</tool_call>",
     "|now({\"a\":1234567890123456789})"},
    {"<function=weather>\n<parameter=days>\n9007199254740993\n</parameter>\n</function>",
     "|weather({\"days\":9007199254740993})"},
    /* What cannot be read is content, all of it. */
    {"<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
     "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>"},
    {"<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Par",
     "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Par"},
    {"<tool_call>{\"name\": \"weather\", \"arguments\": 7}</tool_call>",
     "<tool_call>{\"name\": \"weather\", \"arguments\": 7}</tool_call>"},
    {"<tool_call>", "<tool_call>"},
    {"<tool_call>nonsense <tool_call>{\"name\": \"now\"}</tool_call>", "<tool_call>nonsense|now({})"},
    /* Mistral */
    {"[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"weather\", \"arguments\": {\"city\": "
     "\"X\"}}]",
     "|now({})|weather({\"city\":\"X\"})"},
    {"[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"none\"}]",
     "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"none\"}]"},
    /* Llama 3 */
    {"{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}", "|weather({\"city\":\"Oslo\"})"},
    {"<|python_tag|>{\"name\": \"now\", \"parameters\": {}}", "|now({})"},
    {"{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {\"a\": 1}}",
     "|now({})|now({\"a\":1})"},
    {" [{\"name\": \"now\"}]", "|now({})"},
    {"{\"type\": \"function\", \"function\": {\"name\": \"now\", \"arguments\": {}}}", "|now({})"},
    {"{\"answer\": 42}", "{\"answer\": 42}"},
    {"[1, 2]", "[1, 2]"},
    {"<function=weather>{\"city\": \"Rome\"}</function>", "|weather({\"city\":\"Rome\"})"},
    /* Qwen3-Coder: values by the schema, text as it stands */
    {"<tool_call>\n<function=weather>\n<parameter=city>\nNew\nYork\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
     "</function>\n</tool_call>",
     "|weather({\"city\":\"New\\nYork\",\"days\":3})"},
    {"<function=weather>\n<parameter=city>\n12\n</parameter>\n</function>", "|weather({\"city\":\"12\"})"},
    {"<function=weather>\n<parameter=city>\n12", "<function=weather>\n<parameter=city>\n12"},
    {"<function=none></function>", "<function=none></function>"},
    {"<function=now>\n<parameter=a>1</parameter><parameter=a>2</parameter></function>",
     "<function=now>\n<parameter=a>1</parameter><parameter=a>2</parameter></function>"},
};

static cJSON *parse_tools(void) {
    cJSON *tools = cJSON_Parse(tools_text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tools);
    return tools;
}

static void spell(const tool_calls *calls, nlm_str *out) {
    nlm_str_append(out, calls->content.data ? calls->content.data : "", calls->content.length);
    for (size_t i = 0; i < calls->count; i++) {
        nlm_str_printf(out, "|%s(%s)", calls->items[i].name, calls->items[i].arguments);
    }
}

static void calls_are_read_and_the_rest_is_content(void) {
    cJSON *tools = parse_tools();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tool_calls calls;
        nlm_str told = {0};
        CU_ASSERT(tools_parse(texts[i].text, strlen(texts[i].text), tools, SIZE_MAX, &calls));
        spell(&calls, &told);
        const char *text = told.data ? told.data : "";
        if (strcmp(text, texts[i].expected) != 0)
            printf("\n  %s\n  %s\n  %s", texts[i].text, texts[i].expected, text);
        CU_ASSERT_STRING_EQUAL(text, texts[i].expected);
        nlm_str_release(&told);
        tools_release(&calls);
    }
    cJSON_Delete(tools);
}

/* What is streamed early is the beginning of the content, at every place where the text may stop for a while. */
static void what_is_streamed_is_content(void) {
    cJSON *tools = parse_tools();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t length = strlen(texts[i].text);
        tool_calls calls;
        size_t before = 0;
        CU_ASSERT(tools_parse(texts[i].text, length, tools, SIZE_MAX, &calls));
        for (size_t n = 0; n <= length; n++) {
            const size_t ready = tools_ready(texts[i].text, n);
            CU_ASSERT(ready <= n && ready <= calls.content.length);
            CU_ASSERT(ready == 0 || memcmp(texts[i].text, calls.content.data, ready) == 0);
            CU_ASSERT(ready >= before);
            before = ready;
        }
        tools_release(&calls);
    }
    CU_ASSERT_EQUAL(tools_ready("Hello, ", 7), 6);
    CU_ASSERT_EQUAL(tools_ready("Hello <tool", 11), 5);
    CU_ASSERT_EQUAL(tools_ready("Hello <table>", 13), 13);
    cJSON_Delete(tools);
}

/* Where one call may be made, what follows the first is content. */
static void calls_beyond_the_first_are_content(void) {
    static const struct {
        const char *text, *expected;
    } ones[] = {
        {"So. <tool_call>{\"name\": \"now\"}</tool_call>\n<tool_call>{\"name\": \"now\"}</tool_call>",
         "So.\n<tool_call>{\"name\": \"now\"}</tool_call>|now({})"},
        {"[TOOL_CALLS][{\"name\": \"now\"}]", "|now({})"},
        {"[TOOL_CALLS][{\"name\": \"now\"}, {\"name\": \"now\"}]",
         "[TOOL_CALLS][{\"name\": \"now\"}, {\"name\": \"now\"}]"},
        {"{\"name\": \"now\"}; {\"name\": \"now\"}", "; {\"name\": \"now\"}|now({})"},
        {"<function=now>{}</function><function=now>{}</function>", "<function=now>{}</function>|now({})"},
    };
    cJSON *tools = parse_tools();
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) {
        tool_calls calls;
        nlm_str told = {0};
        CU_ASSERT(tools_parse(ones[i].text, strlen(ones[i].text), tools, 1, &calls));
        spell(&calls, &told);
        CU_ASSERT_STRING_EQUAL(told.data ? told.data : "", ones[i].expected);
        nlm_str_release(&told);
        tools_release(&calls);
    }
    cJSON_Delete(tools);
}

static const check_case cases[] = {
    CHECK_CASE(calls_are_read_and_the_rest_is_content),
    CHECK_CASE(what_is_streamed_is_content),
    CHECK_CASE(calls_beyond_the_first_are_content),
};
CHECK_MAIN("server tools", cases)
