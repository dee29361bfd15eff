/* JSON Schema: which texts its keywords take, and what is said of those that are not supported. */
#include "grammar_fixture.h"
#include "unit/tokenizer_fixture.h"

static void check(const grammar_case *cases, size_t count) {
    check_cases(cases, count, NLM_LANGUAGE_JSON_SCHEMA);
}

static void types_and_values(void) {
    static const grammar_case cases[] = {
        {"true", {"null", "[1,{\"a\":\"b\"}]", "-1.5e+10", "\"x\"", "{}"}, {"", "nul", "[1,]", "01", "{a:1}", "'x'"}},
        {"{}", {"true", "[[],{}]"}, {"tru", "[,]"}},
        {"{\"type\":\"null\"}", {"null"}, {"0", "\"null\""}},
        {"{\"type\":[\"boolean\",\"integer\"]}", {"true", "false", "7", "-7", "0"}, {"null", "7.5", "1e3", "007"}},
        {"{\"type\":\"number\"}", {"0", "-0", "1.25", "1E5", "2e-7"}, {"1.", ".5", "+1", "1e", "NaN", "Infinity"}},
        {"{\"enum\":[\"a\",1,null,{\"k\":[1,2]},1.5]}",
         {"\"a\"", "1", "null", "{\"k\":[1,2]}", "{ \"k\": [ 1, 2 ] }", "1.5"},
         {"\"b\"", "2", "{\"k\":[1]}", "15"}},
        {"{\"const\":\"q\\\"\\\\\\n\\u0001\xC3\xA9\"}", {"\"q\\\"\\\\\\n\\u0001\xC3\xA9\""}, {"\"q\"", "\"q\"\\\""}},
        {"{\"enum\":[1,2,\"x\",null],\"type\":[\"integer\",\"null\"],\"minimum\":2}", {"2", "null"}, {"1", "\"x\""}},
        {"{\"enum\":[\"ab\",\"abc\",\"b\"],\"pattern\":\"^a\",\"maxLength\":2}", {"\"ab\""}, {"\"abc\"", "\"b\""}},
        {"{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[2,3,4]},{\"const\":3}]}", {"3"}, {"2", "4"}},
        {"{\"title\":\"t\",\"description\":\"d\",\"default\":1,\"examples\":[1],\"x-own\":{},\"$comment\":\"c\","
         "\"type\":\"boolean\"}",
         {"true"},
         {"1"}},
    };
    check(cases, COUNT(cases));
}

static void what_a_property_asks_for(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{\"type\":\"integer\"},\"c\":{}},"
         "\"additionalProperties\":false,"
         "\"dependentRequired\":{\"a\":[\"b\",\"c\"]}}",
         {"{}", "{\"b\":1}", "{\"c\":0}", "{\"b\":1,\"c\":0}", "{\"a\":0,\"b\":1,\"c\":0}"},
         {"{\"a\":0}", "{\"a\":0,\"b\":1}", "{\"a\":0,\"c\":1}"}},
        {"{\"properties\":{\"a\":{},\"b\":{}},\"dependentRequired\":{\"a\":[\"b\"],\"b\":[\"a\"]}}",
         {"{}", "3", "\"x\"", "{\"a\":1,\"b\":2}", "{\"c\":1}"},
         {"{\"a\":1}", "{\"b\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"card\":{\"type\":\"integer\"},\"name\":{\"type\":\"string\"}},"
         "\"dependentSchemas\":{\"card\":{\"properties\":{\"name\":{\"minLength\":2}},\"required\":[\"name\"]}}}",
         {"{}", "{\"name\":\"\"}", "{\"card\":1,\"name\":\"ab\"}"},
         {"{\"card\":1}", "{\"card\":1,\"name\":\"a\"}"}},
        {"{\"properties\":{\"a\":{},\"b\":{}},\"dependencies\":{\"a\":[\"b\"],\"b\":false}}",
         {"{}", "{\"c\":1}"},
         {"{\"a\":1}", "{\"b\":1}", "{\"a\":1,\"b\":1}"}},
        {"{\"items\":{\"$ref\":\"#/$defs/x\"},\"type\":\"array\",\"$defs\":{\"x\":{\"type\":\"object\","
         "\"properties\":{\"a\":{},\"b\":{}},\"dependentRequired\":{\"a\":[\"b\"]}}}}",
         {"[]", "[{\"a\":1,\"b\":1}]", "[{\"b\":1},{}]"},
         {"[{\"a\":1}]"}},
    };
    check(cases, COUNT(cases));
}

static void strings(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"string\"}",
         {"\"\"", "\"a b\xE2\x82\xAC\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00e9\\uD83D\\uDE00\""},
         {"\"", "\"a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "\"\\uD83D\"", "\"\\uDE00\"", "\"\\uD83D\\u0041\"",
          "\"\x80\""}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"abc\"", "\"\xF0\x9F\x98\x80\xC3\xA9\"", "\"\\n\\u00e9\\uD83D\\uDE00\""},
         {"\"a\"", "\"abcd\"", "\"\xC3\xA9\"", "\"\\uD83D\\uDE00\""}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-c]+$\"}", {"\"a\"", "\"abcabc\""}, {"\"\"", "\"abd\"", "\"ABC\""}},
        {"{\"type\":\"string\",\"pattern\":\"b\"}", {"\"b\"", "\"abc\"", "\"\\nb\""}, {"\"\"", "\"ac\""}},
        {"{\"type\":\"string\",\"pattern\":\"^a|b$\"}",
         {"\"a\"", "\"axx\"", "\"xxb\""},
         {"\"xa\"", "\"bx\"", "\"\""}},
        {"{\"type\":\"string\",\"pattern\":\"^(?:\\\\d{2}|x\\\\.y)[^\\\\s,]?$\"}",
         {"\"12\"", "\"x.y\"", "\"12a\"", "\"x.y!\""},
         {"\"1\"", "\"xzy\"", "\"12 \"", "\"12,\"", "\"123a\""}},
        {"{\"type\":\"string\",\"pattern\":\"^\\\\u{1F600}\\\\x41[\\\\w-]{1,}?$\"}",
         {"\"\xF0\x9F\x98\x80"
          "Aa-_9\""},
         {"\"\xF0\x9F\x98\x80"
          "A\"",
          "\"Aa\""}},
        {"{\"type\":\"string\",\"pattern\":\"^$\"}", {"\"\""}, {"\"a\""}},
        {"{\"type\":\"string\",\"pattern\":\"^\\\"$\"}", {"\"\\\"\""}, {"\"\"\"", "\"\""}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]*$\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"abc\""},
         {"\"a\"", "\"abcd\"", "\"a1\""}},
        {"{\"allOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"z$\"}],\"type\":\"string\"}",
         {"\"az\"", "\"abz\""},
         {"\"a\"", "\"za\""}},
    };
    check(cases, COUNT(cases));
}

static void formats(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"string\",\"format\":\"date\"}",
         {"\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\""},
         {"\"2023-02-29\"", "\"1900-02-29\"", "\"2024-04-31\"", "\"2024-13-01\"", "\"24-01-01\"", "\"0000-01-01\""}},
        {"{\"type\":\"string\",\"format\":\"time\"}",
         {"\"23:59:59Z\"", "\"08:30:06.283185Z\"", "\"00:00:00+05:30\""},
         {"\"24:00:00Z\"", "\"08:30:06\"", "\"8:30:06Z\"", "\"08:60:06Z\""}},
        {"{\"type\":\"string\",\"format\":\"date-time\"}",
         {"\"1963-06-19T08:30:06.28Z\"", "\"2024-02-29t00:00:00-08:00\""},
         {"\"1963-06-19\"", "\"1963-06-19 08:30:06Z\"", "\"2023-02-29T00:00:00Z\""}},
        {"{\"type\":\"string\",\"format\":\"uuid\"}",
         {"\"2eb8aa08-AA98-11ea-b4aa-73b441d16380\""},
         {"\"2eb8aa08aa9811eab4aa73b441d16380\"", "\"2eb8aa08-aa98-11ea-b4ga-73b441d16380\""}},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}",
         {"\"192.168.0.1\"", "\"255.0.0.0\""},
         {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
        {"{\"type\":\"string\",\"format\":\"ipv6\"}",
         {"\"::1\"", "\"::\"", "\"1:2:3:4:5:6:7:8\"", "\"fe80::a:1\""},
         {"\"1::2::3\"", "\"12345::\"", "\"1:2:3\"", "\":1\""}},
        {"{\"type\":\"string\",\"format\":\"email\"}",
         {"\"joe.b@example.com\""},
         {"\"joe\"", "\"@x.y\"", "\".a@b.c\""}},
        {"{\"type\":\"string\",\"format\":\"duration\"}",
         {"\"P4DT12H30M5S\"", "\"PT1M\"", "\"P2W\""},
         {"\"PT\"", "\"P\"", "\"P1D2H\"", "\"4DT1H\"", "\"P1Y2W\""}},
        {"{\"type\":\"string\",\"format\":\"uri\"}",
         {"\"https://a.b/c?d#e\""},
         {"\"a b\"", "\"//x\"", "\"http:// a\""}},
    };
    check(cases, COUNT(cases));
}

static void numbers(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"integer\",\"minimum\":0,\"maximum\":9}", {"0", "9"}, {"10", "-1", "-0", "00", "9.0"}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":105}",
         {"-12", "-9", "0", "99", "104", "100"},
         {"-13", "-20", "-100", "105", "200", "1000"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":-1}", {"0", "12345678901234567890"}, {"-1", "-5"}},
        {"{\"type\":\"integer\",\"minimum\":1.5,\"maximum\":3.5}", {"2", "3"}, {"1", "4"}},
        {"{\"type\":\"number\",\"minimum\":-1.25,\"maximum\":2.5}",
         {"-1.25", "-1.2", "0.5", "2.5", "2.49999", "2.50", "0"},
         {"-1.26", "-2", "2.51", "3", "1e0", "-0", "2.500000001"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":0.001}",
         {"0.0005", "0.00099"},
         {"0", "0.0", "0.001", "0.01"}},
        {"{\"type\":\"number\",\"exclusiveMaximum\":0}", {"-1", "-0.001"}, {"0", "-0", "-0.0", "1"}},
        {"{\"type\":\"integer\",\"multipleOf\":7}", {"0", "7", "-14", "700"}, {"1", "15", "-1"}},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", {"1", "1.5", "1.25", "-0.01", "1.500"}, {"1.255", "0.001"}},
        {"{\"type\":\"number\",\"multipleOf\":2.5,\"minimum\":3}", {"5", "7.5", "10.0"}, {"2.5", "6", "7.4"}},
        {"{\"minimum\":3}", {"3", "\"x\"", "[]", "null"}, {"2"}},
        {"{\"type\":\"integer\",\"maximum\":1e300}", {"5", "-5"}, {"5.5"}},
        {"{\"type\":\"number\",\"minimum\":1e-7}", {"0.0000001", "1"}, {"0", "0.00000009"}},
    };
    check(cases, COUNT(cases));
}

static void arrays(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
         {"[]", "[1]", "[1,2,3]", "[ 1, 2 ]", "[\n  1,\n  2\n]"},
         {"[1,]", "[,]", "[1 2]", "[\"a\"]", "[1,  2]", "[1 ,2]"}},
        {"{\"type\":\"array\",\"minItems\":2,\"maxItems\":3,\"items\":{\"const\":0}}",
         {"[0,0]", "[0,0,0]"},
         {"[]", "[0]", "[0,0,0,0]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"type\":\"string\"}],\"items\":false}",
         {"[]", "[1]", "[1,\"a\"]"},
         {"[2]", "[1,2]", "[1,\"a\",3]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"items\":{\"const\":2},\"minItems\":3}",
         {"[1,2,2]", "[1,2,2,2]"},
         {"[1,2]", "[1]", "[2,2,2]"}},
        {"{\"type\":\"array\",\"maxItems\":0}", {"[]", "[ ]"}, {"[1]"}},
        {"{\"allOf\":[{\"items\":{\"minimum\":2}},{\"items\":{\"maximum\":3}}],\"type\":\"array\"}",
         {"[2,3,\"x\"]"},
         {"[1]", "[4]"}},
        {"{\"type\":\"array\",\"uniqueItems\":false,\"minItems\":3,\"maxItems\":2}", {NULL}, {"[]", "[1,2]"}},
    };
    check(cases, COUNT(cases) - 1);
    const grammar_failure never[] = {
        {cases[COUNT(cases) - 1].grammar, NLM_BAD_FORMAT, "grammar", "no text can ever"}};
    check_failures(never, 1, NLM_LANGUAGE_JSON_SCHEMA);
}

#define OBJECT "{\"type\":\"object\","

static void objects(void) {
    static const grammar_case cases[] = {
        {OBJECT "\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{\"const\":3}},\"required\":[\"b\"],"
                "\"additionalProperties\":false}",
         {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2,\"c\":3}",
          "{\n  \"a\": 1,\n  \"b\": 2\n}"},
         {"{}", "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":2,\"b\":2}", "{\"b\":2,}", "{,\"b\":2}",
          "{\"b\":2,\"d\":1}", "{\"b\" :2}", "{\"b\":  2}"}},
        {OBJECT "\"properties\":{\"a\":{\"const\":1}},\"additionalProperties\":{\"type\":\"null\"}}",
         {"{}", "{\"a\":1}", "{\"b\":null,\"aa\":null}", "{\"a\":1,\"b\":null}", "{\"\":null}"},
         {"{\"a\":null}", "{\"b\":1}", "{\"b\":null,\"a\":1}", "{\"\\u0061\":null}"}},
        {OBJECT "\"required\":[\"x\",\"y\"],\"properties\":{\"y\":{\"type\":\"null\"}},\"additionalProperties\":{"
                "\"const\":1}}",
         {"{\"y\":null,\"x\":1}", "{\"y\":null,\"x\":1,\"z\":1}"},
         {"{\"y\":null}", "{\"x\":1}", "{\"y\":null,\"x\":2}"}},
        {OBJECT "\"minProperties\":1,\"additionalProperties\":{\"const\":1}}",
         {"{\"a\":1}", "{\"a\":1,\"b\":1}"},
         {"{}"}},
        {OBJECT "\"maxProperties\":2,\"additionalProperties\":{\"const\":1}}",
         {"{}", "{\"a\":1,\"b\":1}"},
         {"{\"a\":1,\"b\":1,\"c\":1}"}},
        {OBJECT "\"minProperties\":2,\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":1},\"c\":{\"const\":1}},"
                "\"maxProperties\":2,\"additionalProperties\":false}",
         {"{\"a\":1,\"b\":1}", "{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1}"},
         {"{\"a\":1}", "{\"a\":1,\"b\":1,\"c\":1}", "{}"}},
        {OBJECT "\"patternProperties\":{\"^n\":{\"type\":\"null\"},\"1$\":{\"type\":[\"null\",\"integer\"]}},"
                "\"additionalProperties\":false}",
         {"{\"n\":null}", "{\"x1\":5}", "{\"n1\":null}", "{}"},
         {"{\"n1\":5}", "{\"x\":5}", "{\"n\":5}"}},
        {OBJECT "\"properties\":{\"n\":{\"maximum\":3}},\"patternProperties\":{\"^n\":{\"type\":\"integer\"}},"
                "\"additionalProperties\":{\"const\":\"x\"}}",
         {"{\"n\":3,\"nn\":9,\"o\":\"x\"}"},
         {"{\"n\":4}", "{\"n\":\"x\"}", "{\"nn\":\"x\"}", "{\"o\":1}"}},
        {OBJECT
         "\"propertyNames\":{\"pattern\":\"^[a-z]+$\",\"maxLength\":2},\"additionalProperties\":{\"const\":0}}",
         {"{}", "{\"a\":0,\"bc\":0}"},
         {"{\"A\":0}", "{\"abc\":0}", "{\"\":0}"}},
        {OBJECT
         "\"propertyNames\":{\"enum\":[\"p\",\"q\"]},\"properties\":{\"p\":{\"const\":1},\"r\":{\"const\":2}}}",
         {"{\"p\":1,\"q\":\"any\"}", "{}"},
         {"{\"r\":2}", "{\"s\":1}"}},
        {OBJECT "\"properties\":{\"a\":false,\"b\":{\"const\":1}},\"additionalProperties\":false}",
         {"{\"b\":1}", "{}"},
         {"{\"a\":1}"}},
        {"{\"properties\":{\"a\":{\"const\":1}}}", {"{\"a\":1}", "{\"b\":2}", "5", "\"s\"", "[]"}, {"{\"a\":2}"}},
    };
    check(cases, COUNT(cases));
}

static void combinations(void) {
    static const grammar_case cases[] = {
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", {"\"a\"", "1"}, {"null", "1.5"}},
        {"{\"anyOf\":[{\"minimum\":5},{\"multipleOf\":3}],\"type\":\"integer\"}",
         {"5", "3", "9", "7"},
         {"4", "\"x\"", "1"}},
        {"{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", {"\"a\"", "null"}, {"1"}},
        {"{\"oneOf\":[{\"type\":\"integer\",\"maximum\":3},{\"type\":\"integer\",\"minimum\":4}]}",
         {"3", "4"},
         {"4.5"}},
        {"{\"oneOf\":[{\"const\":\"a\"},{\"const\":\"b\"}]}", {"\"a\"", "\"b\""}, {"\"c\""}},
        {"{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"^a\"},{\"type\":\"string\",\"pattern\":\"^b\"}]}",
         {"\"ax\"", "\"b\""},
         {"\"c\""}},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"},\"x\":{\"const\":1}},\"required\":"
         "[\"k\"],"
         "\"additionalProperties\":false},{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"b\"},\"y\":{"
         "\"const\":2}},"
         "\"required\":[\"k\"],\"additionalProperties\":false}]}",
         {"{\"k\":\"a\"}", "{\"k\":\"a\",\"x\":1}", "{\"k\":\"b\",\"y\":2}"},
         {"{\"k\":\"a\",\"y\":2}", "{\"k\":\"c\"}"}},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]},{\"properties\":{\"a\":{"
         "\"minimum\":3}},"
         "\"additionalProperties\":false}],\"type\":\"object\"}",
         {"{\"a\":3}"},
         {"{\"a\":2}", "{}", "{\"a\":3.5}"}},
        {"{\"$defs\":{\"p\":{\"type\":\"integer\"}},\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
         "p\",\"minimum\":2}}",
         {"[2]"},
         {"[1]", "[2.5]"}},
        {"{\"$id\":\"http://x/s\",\"$defs\":{\"a~b/c "
         "d\":{\"const\":1},\"n\":{\"$anchor\":\"here\",\"const\":2}},\"prefixItems\":["
         "{\"$ref\":\"#/$defs/a~0b~1c%20d\"},{\"$ref\":\"#here\"},{\"$ref\":\"http://x/s#/prefixItems/"
         "0\"}],\"type\":\"array\","
         "\"items\":false,\"minItems\":3}",
         {"[1,2,1]"},
         {"[1,2,2]"}},
        {"{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"$ref\":\"#\"}},\"required\":["
         "\"v\"],"
         "\"additionalProperties\":false}",
         {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"},
         {"{\"next\":{\"v\":1}}", "{\"v\":1,\"next\":{}}"}},
        {"{\"$defs\":{\"tree\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
         "tree\"}}]}},"
         "\"$ref\":\"#/$defs/tree\"}",
         {"null", "[]", "[null,[null,[]]]"},
         {"[1]", "nul"}},
        {"{\"$ref\":\"#\",\"type\":\"null\"}", {"null"}, {"1"}},
    };
    check(cases, COUNT(cases));
}

#define NULL_OR_LIST "\"type\":[\"null\",\"array\"],\"items\":{\"const\":1}"

/* Of keywords that are not supported, what says nothing more than others do. */
static void keywords_that_say_nothing_more(void) {
    static const grammar_case cases[] = {
        {"{\"type\":\"integer\",\"not\":false}", {"1"}, {"null"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"not\":{}}},\"additionalProperties\":{\"const\":1}}",
         {"{}", "{\"b\":1}"},
         {"{\"a\":1}"}},
        {"{\"anyOf\":[{\"not\":true},{\"const\":1}]}", {"1"}, {"2", "null"}},
        {"{\"if\":true,\"then\":{\"const\":1},\"else\":{\"const\":2}}", {"1"}, {"2"}},
        {"{\"if\":false,\"then\":{\"const\":1},\"else\":{\"const\":2}}", {"2"}, {"1"}},
        {"{\"if\":{\"const\":7},\"type\":\"integer\"}", {"7", "8"}, {"null"}},
        {"{\"then\":{\"const\":1},\"else\":false,\"type\":\"integer\"}", {"7"}, {"null"}},
        {"{\"if\":{},\"else\":false,\"type\":\"integer\"}", {"7"}, {"null"}},
        {"{" NULL_OR_LIST ",\"contains\":{\"const\":2},\"minContains\":0}", {"[]", "[1]", "null"}, {"[2]"}},
        {"{" NULL_OR_LIST ",\"minContains\":9,\"maxContains\":0}", {"[]", "[1]"}, {"[2]"}},
        {"{" NULL_OR_LIST ",\"contains\":{}}", {"[1]", "[1,1]", "null"}, {"[]"}},
        {"{" NULL_OR_LIST ",\"contains\":true,\"minContains\":2,\"maxContains\":3}",
         {"[1,1]", "[1,1,1]", "null"},
         {"[]", "[1]", "[1,1,1,1]"}},
        {"{" NULL_OR_LIST ",\"uniqueItems\":true,\"maxItems\":1}", {"[]", "[1]"}, {"[1,1]"}},
        {"{" NULL_OR_LIST ",\"additionalItems\":false,\"nullable\":false}", {"[1,1]"}, {"[2]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"unevaluatedItems\":{\"const\":2}}",
         {"[]", "[1,2,2]"},
         {"[1,1]", "[2]"}},
        {"{" NULL_OR_LIST ",\"unevaluatedItems\":false}", {"[1,1]"}, {"[2]"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}},\"unevaluatedProperties\":false,"
         "\"dependentRequired\":{\"a\":[]}}",
         {"{}", "{\"a\":1}"},
         {"{\"b\":1}"}},
        {"{\"type\":\"object\",\"additionalProperties\":{\"const\":1},\"unevaluatedProperties\":false}",
         {"{}", "{\"a\":1}"},
         {"{\"b\":2}"}},
        {"{\"type\":\"object\",\"allOf\":[{}],\"unevaluatedProperties\":true}", {"{\"a\":1}"}, {"1"}},
    };
    check(cases, COUNT(cases));
}

static void unsupported_keywords_are_refused_by_name(void) {
    static const grammar_failure cases[] = {
        {"{", NLM_BAD_FORMAT, "schema", "JSON"},
        {"[]", NLM_BAD_FORMAT, "schema#", "no object, true or false"},
        {"{\"type\":\"int\"}", NLM_BAD_FORMAT, "schema#/type", "the type 'int' is not known"},
        {"{\"type\":3}", NLM_BAD_FORMAT, "schema#/type", "the name of a type"},
        {"{\"properties\":{\"a\":{\"not\":{\"type\":\"null\"}}}}", NLM_UNSUPPORTED, "schema#/properties/a/not",
         "'not' is not supported"},
        {"{\"items\":{\"if\":{\"minimum\":1},\"then\":{}}}", NLM_UNSUPPORTED, "schema#/items/if",
         "'if' is not supported"},
        {"{\"dependentRequired\":{\"a\":1}}", NLM_BAD_FORMAT, "schema#/dependentRequired", "lists of names"},
        {"{\"dependencies\":{\"a\":\"b\"}}", NLM_BAD_FORMAT, "schema#/dependencies", "schemas and lists of names"},
        {"{\"uniqueItems\":true}", NLM_UNSUPPORTED, "schema#/uniqueItems", "'uniqueItems' is not supported"},
        {"{\"contains\":{\"const\":1}}", NLM_UNSUPPORTED, "schema#/contains", "'contains'"},
        {"{\"minContains\":0,\"maxContains\":2,\"contains\":{\"const\":1}}", NLM_UNSUPPORTED, "schema#/minContains",
         "'minContains'"},
        {"{\"uniqueItems\":true,\"maxItems\":2}", NLM_UNSUPPORTED, "schema#/uniqueItems", "'uniqueItems'"},
        {"{\"allOf\":[{\"properties\":{\"a\":{}}}],\"unevaluatedProperties\":false}", NLM_UNSUPPORTED,
         "schema#/unevaluatedProperties", "'unevaluatedProperties'"},
        {"{\"if\":true,\"then\":{\"not\":1}}", NLM_UNSUPPORTED, "schema#/allOf/0/not", "'not'"},
        {"{\"items\":[{}],\"additionalItems\":false}", NLM_UNSUPPORTED, "schema#/items", "'prefixItems'"},
        {"{\"maximun\":3}", NLM_UNSUPPORTED, "schema#/maximun", "did you mean 'maximum'"},
        {"{\"maximum\":\"3\"}", NLM_BAD_FORMAT, "schema#/maximum", "expected a number"},
        {"{\"minLength\":1.5}", NLM_BAD_FORMAT, "schema#/minLength", "expected a whole number"},
        {"{\"minLength\":1,\"minLength\":2}", NLM_BAD_FORMAT, "schema#", "'minLength' is there twice"},
        {"{\"items\":[{}]}", NLM_UNSUPPORTED, "schema#/items", "'prefixItems'"},
        {"{\"required\":[1]}", NLM_BAD_FORMAT, "schema#/required", "expected a list of strings"},
        {"{\"anyOf\":[]}", NLM_BAD_FORMAT, "schema#/anyOf", "expected a list of schemas"},
        {"{\"properties\":{\"a\":1}}", NLM_BAD_FORMAT, "schema#/properties", "expected an object of schemas"},
        {"{\"$ref\":\"#/nowhere\"}", NLM_BAD_FORMAT, "schema#/$ref", "where there is no schema"},
        {"{\"$ref\":\"http://x/y\"}", NLM_UNSUPPORTED, "schema#/$ref", "only references within the schema"},
        {"{\"format\":\"regex\",\"type\":\"string\"}", NLM_UNSUPPORTED, "schema#/format", "the format 'regex'"},
        {"{\"pattern\":\"(?=a)\",\"type\":\"string\"}", NLM_UNSUPPORTED, "schema#/pattern", "lookahead"},
        {"{\"pattern\":\"\\\\bx\",\"type\":\"string\"}", NLM_UNSUPPORTED, "schema#/pattern",
         "'\\b' is not supported"},
        {"{\"pattern\":\"(a\",\"type\":\"string\"}", NLM_BAD_FORMAT, "schema#/pattern", "without its ')'"},
        {"{\"pattern\":\"a)\",\"type\":\"string\"}", NLM_BAD_FORMAT, "schema#/pattern", "without its '('"},
        {"{\"pattern\":\"*\",\"type\":\"string\"}", NLM_BAD_FORMAT, "schema#/pattern", "nothing to repeat"},
        {"{\"pattern\":\"[b-a]\",\"type\":\"string\"}", NLM_BAD_FORMAT, "schema#/pattern", "goes down"},
        {"{\"multipleOf\":0}", NLM_BAD_FORMAT, "schema#/multipleOf", "expected more than 0"},
        {"{\"multipleOf\":1234567}", NLM_LIMIT, "schema#/multipleOf", "may be 20000 at most"},
        {"{\"minProperties\":3}", NLM_UNSUPPORTED, "schema#/minProperties", "'minProperties' of more than one"},
        {"{\"const\":123456789012345678}", NLM_LIMIT, "schema#/const", "beyond 2^53"},
        {"{\"enum\":[{\"a\":1}],\"minProperties\":1}", NLM_UNSUPPORTED, "schema#/minProperties", "beside an enum"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", NLM_UNSUPPORTED, "schema#/oneOf",
         "branches 0 and 1"},
        {"{\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}],\"type\":\"object\"}", NLM_UNSUPPORTED,
         "schema#/oneOf", "branches 0 and 1"},
        {"false", NLM_BAD_FORMAT, "grammar", "no text can ever be complete"},
        {"{\"type\":\"array\",\"minItems\":1,\"items\":{\"$ref\":\"#\"}}", NLM_BAD_FORMAT, "grammar",
         "no text can ever be complete"},
        {"{\"type\":\"string\",\"maxLength\":100000}", NLM_LIMIT, "schema#/maxLength", "at most 65536"},
    };
    check_failures(cases, COUNT(cases), NLM_LANGUAGE_JSON_SCHEMA);
}

static void compact_json_has_no_blanks(void) {
    const char *schema = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\"}}";
    const nlm_language_options options = {.language = NLM_LANGUAGE_JSON_SCHEMA, .is_compact = true};
    nlm_grammar *grammar = NULL;
    CU_ASSERT_EQUAL_FATAL(nlm_language_open(schema, strlen(schema), &options, NULL, &grammar, NULL), NLM_OK);
    static const char *const yes[] = {"{}", "{\"a b\":[1,[]],\"c\":[]}"}, *const no[] = {"{ }", "{\"a\": []}",
                                                                                         "{\"a\":[1, 2]}"};
    for (size_t i = 0; i < COUNT(yes); i++) CU_ASSERT(grammar_takes(grammar, yes[i], strlen(yes[i])));
    for (size_t i = 0; i < COUNT(no); i++) CU_ASSERT(!grammar_takes(grammar, no[i], strlen(no[i])));
    nlm_language_close(grammar);
}

/* What a schema may ask for on purpose: each is refused in a moment. */
static void hostile_schemas_are_limits(void) {
    nlm_str many = {0}, choices = {0}, deep = {0};
    nlm_str_puts(&choices, "{\"allOf\":[");
    for (int i = 0; i < 40; i++) {
        nlm_str_printf(&choices, "%s{\"anyOf\":[{\"minLength\":%d},{\"maxLength\":%d},{\"title\":\"\"}]}",
                       i ? "," : "", i, i);
    }
    nlm_str_puts(&choices, "]}");
    nlm_str_puts(&many, "{\"type\":\"object\",\"properties\":{");
    for (int i = 0; i < 6000; i++) nlm_str_printf(&many, "%s\"p%d\":true", i ? "," : "", i);
    nlm_str_puts(&many, "}}");
    for (int i = 0; i < 900; i++) nlm_str_puts(&deep, "{\"items\":");
    nlm_str_puts(&deep, "true");
    for (int i = 0; i < 900; i++) nlm_str_puts(&deep, "}");
    const char *const schemas[] = {
        choices.data,
        many.data,
        "{\"type\":\"string\",\"pattern\":\"(a|b)*a(a|b){20}$\"}",
        "{\"type\":\"string\",\"pattern\":\"((((x{1000}){1000}){1000}){1000}){1000}\"}",
        "{\"type\":\"string\",\"pattern\":\"^([ab]*c){50,60}$\",\"maxLength\":60000}",
    };
    const nlm_language_options options = {.language = NLM_LANGUAGE_JSON_SCHEMA};
    for (size_t i = 0; i < COUNT(schemas); i++) {
        nlm_grammar *grammar = NULL;
        const nlm_status status = nlm_language_open(schemas[i], strlen(schemas[i]), &options, NULL, &grammar, NULL);
        CU_ASSERT_EQUAL(status, NLM_LIMIT);
        nlm_language_close(grammar);
    }
    many.length = 0; /* as many as there may be, all of them optional, are none */
    nlm_str_puts(&many, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (int i = 0; i < 5000; i++) nlm_str_printf(&many, "%s\"p%d\":{\"type\":\"integer\"}", i ? "," : "", i);
    nlm_str_puts(&many, "}}");
    nlm_grammar *grammar = grammar_of(many.data, NLM_LANGUAGE_JSON_SCHEMA, NULL);
    static const char far[] = "{\"p3\":1, \"p44\":2,\"p4999\":3}", back[] = "{\"p44\":1,\"p3\":2}";
    CU_ASSERT(grammar_takes(grammar, far, strlen(far)));
    CU_ASSERT(!grammar_takes(grammar, back, strlen(back)));
    nlm_language_close(grammar);
    grammar = grammar_of(deep.data, NLM_LANGUAGE_JSON_SCHEMA, NULL);
    CU_ASSERT(grammar_takes(grammar, "[[[[7]]]]", 9));
    nlm_language_close(grammar);
    nlm_str_release(&choices);
    nlm_str_release(&many);
    nlm_str_release(&deep);
}

static const check_case cases[] = {
    CHECK_CASE(types_and_values),
    CHECK_CASE(what_a_property_asks_for),
    CHECK_CASE(strings),
    CHECK_CASE(formats),
    CHECK_CASE(numbers),
    CHECK_CASE(arrays),
    CHECK_CASE(objects),
    CHECK_CASE(combinations),
    CHECK_CASE(keywords_that_say_nothing_more),
    CHECK_CASE(unsupported_keywords_are_refused_by_name),
    CHECK_CASE(compact_json_has_no_blanks),
    CHECK_CASE(hostile_schemas_are_limits),
};
CHECK_MAIN("json_schema", cases)
