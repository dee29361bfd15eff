/* Chat templates interpreted: expressions, errors, bounds, and who wrote each byte. */
#include <string.h>

#include "text/jinja.h"
#include "unit/check.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What a rendering gave. */
typedef struct result {
    nlm_status status;
    nlm_str text;
    nlm_text_spans spans;
    nlm_text_span watched;
    nlm_error err;
} result;

static void release(result *r) {
    nlm_str_release(&r->text);
    nlm_text_spans_release(&r->spans);
}

/* With `user` as a user's text, `watched` too, `trusted` as the template's. */
static result render_within(const char *text, const nlm_jinja_limits *limits) {
    result r = {.err = NLM_ERROR_INIT};
    nlm_jinja *jinja = NULL;
    r.status = nlm_jinja_create(text, strlen(text), &jinja, &r.err);
    if (r.status != NLM_OK) return r;
    nlm_jinja_run *run = nlm_jinja_run_create(limits, &r.err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(run);
    const nlm_jinja_value globals = nlm_jinja_dict_new(run);
    nlm_jinja_put_named(run, globals, "user", nlm_jinja_string_static(run, "<e> u ", NLM_JINJA_USER));
    nlm_jinja_put_named(run, globals, "watched", nlm_jinja_string_static(run, "W\xC3\xA9w", NLM_JINJA_WATCHED));
    nlm_jinja_put_named(run, globals, "trusted", nlm_jinja_string_static(run, "<s>", NLM_JINJA_TEMPLATE));
    r.status = nlm_jinja_render(jinja, run, globals, &r.text, &r.spans, &r.watched, &r.err);
    nlm_jinja_run_destroy(run);
    nlm_jinja_destroy(jinja);
    return r;
}

static result render(const char *text) {
    return render_within(text, &nlm_jinja_default_limits);
}

/* What Jinja2 3.1.6 prints. */
static void expressions_are_as_pythons(void) {
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"{{ 1 + 2 * 3 ** 2 // 4 % 5 }}", "5"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ 2 ** -1 }}", "-4 2 3.0 0.5"},
        {"{{ 'a' ~ 1 ~ none ~ 1.0 }}", "a1None1.0"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }}", "True False True"},
        {"{{ 'h\xC3\xA9llo'[1:3] }} {{ [1, 2, 3][::-1] }}", "\xC3\xA9l [3, 2, 1]"},
        {"{{ {'items': 1}['items'] }} {{ {'a': 1}.get('b', 2) }}", "1 2"},
        {"{{ [0.1, 1e16, 1e15, 1e-5, 5e-324] }}", "[0.1, 1e+16, 1000000000000000.0, 1e-05, 5e-324]"},
        {"{{ [\"it's\", 'q\"', true, none, (1,)] }}", "[\"it's\", 'q\"', True, None, (1,)]"},
        {"{{ missing }}{{ missing | default('d') }}{{ missing is defined }}", "dFalse"},
        {"{{ {'b': 1, 'a': ['x']} | tojson }}", "{\"b\": 1, \"a\": [\"x\"]}"},
        {"{{ '%s-%05.1f|%x' % ('a', 2.345, 255) }}", "a-002.3|ff"},
        {"{{ '%d %i %+d %d' % (2.3e45, -2.9, 2.5, -0.5) }}",
         "2300000000000000123663149807783383142598967296 -2 +2 0"},
        {"{{ '{a}-{0:>3}'.format(1, a=2) }}", "2-  1"},
        {"{{ ' a  b '.split() }} {{ 'a.b.c'.rsplit('.', 1) }}", "['a', 'b'] ['a.b', 'c']"},
        {"{{ ['b', 'A'] | sort | join('-') }} {{ [3, 1] | min }}", "A-b 1"},
        {"{{ '<' | safe + '&' }}{{ '<&>' | e }}", "<&amp;&lt;&amp;&gt;"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        result r = render(cases[i].text);
        CU_ASSERT_EQUAL(r.status, NLM_OK);
        if (r.status != NLM_OK || strcmp(r.text.data ? r.text.data : "", cases[i].expected) != 0) {
            printf("\n  %s: '%s', expected '%s' %s", cases[i].text, r.text.data, cases[i].expected, r.err.msg);
            CU_FAIL("another text");
        }
        release(&r);
    }
}

static void errors_say_the_line_and_what_was_wrong(void) {
    static const struct {
        const char *text, *where, *message;
        nlm_status status;
    } cases[] = {
        {"a\n{{ x.y }}", "chat template:2", "'x' is undefined", NLM_INVALID_ARGUMENT},
        {"{% set d = {} %}\n\n{{ d.a.b }}", "chat template:3", "'dict object' has no attribute 'a'",
         NLM_INVALID_ARGUMENT},
        {"\n{{ raise_exception('No ' ~ 1) }}", "chat template:2", "No 1", NLM_INVALID_ARGUMENT},
        {"{{ 'a' + 1 }}", "chat template:1", "can only concatenate str (not \"int\") to str", NLM_INVALID_ARGUMENT},
        {"{{ 1 / 0 }}", "chat template:1", "division by zero", NLM_INVALID_ARGUMENT},
        {"{{ 1 | nothing }}", "chat template:1", "No filter named 'nothing'", NLM_INVALID_ARGUMENT},
        {"\n{% include 'x' %}", "chat template:2", "unexpected 'include'", NLM_BAD_FORMAT},
        {"{% if x %}\n", "chat template:", "the template ends; expected {% endif %}", NLM_BAD_FORMAT},
        {"{{ (1 }}", "chat template:1", "unexpected '}', expected )", NLM_BAD_FORMAT},
        {"x {{ 'a", "chat template:1", "a string has no end", NLM_BAD_FORMAT},
        {"{# x", "chat template:1", "a comment has no end", NLM_BAD_FORMAT},
        {"{{ 99999999999999999999 }}", "chat template:1", "no integer of 64 bits", NLM_BAD_FORMAT},
        {"{{ 9223372036854775807 + 1 }}", "chat template:1", "more than 64 bits", NLM_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        result r = render(cases[i].text);
        CU_ASSERT_EQUAL(r.status, cases[i].status);
        if (!strstr(r.err.where, cases[i].where) || !strstr(r.err.msg, cases[i].message)) {
            printf("\n  %s: %s: %s", cases[i].text, r.err.where, r.err.msg);
            CU_FAIL("another sentence");
        }
        release(&r);
    }
}

static void what_a_template_takes_is_bounded(void) {
    static const nlm_jinja_limits small = {
        .steps = 100000, .memory_bytes = 16 << 20, .output_bytes = 5000, .depth = 60};
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}", "steps"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "within one another"},
        {"{% for i in range(600) %}0123456789{% endfor %}", "more than 5000 bytes"},
        {"{{ 'x' * 999999999 }}", "5000 bytes"},
        {"{{ range(999999999) | length }}", "takes more than"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "within one another"},
        {"{% set l = [1] %}{% for i in range(60) %}{% set l = [l, l] %}{% set ns = namespace(l=l) %}{% endfor %}"
         "{% set n = namespace(l=[1]) %}{% for i in range(50) %}{% set n.l = [n.l, n.l] %}{% endfor %}"
         "{{ n.l == n.l[:] }}{{ n.l | string | length }}",
         ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        result r = render_within(cases[i].text, &small);
        CU_ASSERT_EQUAL(r.status, NLM_LIMIT);
        if (!strstr(r.err.msg, cases[i].message)) {
            printf("\n  %s: %s", cases[i].text, r.err.msg);
            CU_FAIL("another bound");
        }
        release(&r);
    }
    char deep[3000];
    memset(deep, '(', sizeof deep);
    memcpy(deep, "{{", 2);
    deep[sizeof deep - 1] = 0;
    result r = render(deep);
    CU_ASSERT_EQUAL(r.status, NLM_BAD_FORMAT);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err.msg, "within one another"));
    release(&r);
}

/* The text with each part that a user wrote in brackets. */
static nlm_str bracketed(const result *r) {
    nlm_str out = {0};
    size_t span = 0;
    for (size_t i = 0; i < r->text.length; i++) {
        if (span < r->spans.count && r->spans.data[span].from == i) nlm_str_puts(&out, "[");
        nlm_str_append(&out, r->text.data + i, 1);
        if (span < r->spans.count && r->spans.data[span].to == i + 1) {
            nlm_str_puts(&out, "]");
            span++;
        }
    }
    return out;
}

static void what_a_user_wrote_stays_marked(void) {
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"<e>{{ user }}{{ trusted }}", "<e>[<e> u ]<s>"},
        {"{{ '<e>' + user + trusted + 'x' }}", "<e>[<e> u ]<s>x"},
        {"{{ user | trim }}.{{ (trusted ~ user).strip() }}", "[<e> u].<s>[<e> u]"},
        {"{{ (user ~ '<s>')[1:4] }}{{ user[::-1] }}", "[e>  u >e<]"},
        {"{{ user | upper }}{{ ('a' ~ user) | title }}", "[<E> U ]A[<E> U ]"},
        {"{{ user.replace('e', 'new') }}{{ 'a-b'.replace('-', user) }}", "[<]new[> u ]a[<e> u ]b"},
        {"{{ [user, 'x'] | join('<s>') }}", "[<e> u ]<s>x"},
        {"{{ {'k': user} | tojson }}{{ [user] }}", "{\"k\": \"[<e> u ]\"}['[<e> u ]']"},
        {"{{ '%s!' % user }}{{ '{}!'.format(user) }}", "[<e> u ]![<e> u ]!"},
        {"{% set x %}<s>{{ user }}{% endset %}{{ x }}", "<s>[<e> u ]"},
        {"{% macro m(t) %}({{ t }}){% endmacro %}{{ m(user) | indent }}", "([<e> u ])"},
        {"{% filter upper %}t{{ user }}{% endfilter %}", "T[<E> U ]"},
        {"{{ user | e }}{{ user | safe }}", "[&lt;e&gt; u <e> u ]"},
        {"{{ user.split('>')[0] }}{{ user | first }}|{{ user | list | last }}", "[<e<]|[ ]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        result r = render(cases[i].text);
        nlm_str shown = bracketed(&r);
        if (strcmp(shown.data ? shown.data : "", cases[i].expected) != 0) {
            printf("\n  %s: %s, expected %s %s", cases[i].text, shown.data, cases[i].expected, r.err.msg);
            CU_FAIL("other marks");
        }
        nlm_str_release(&shown);
        release(&r);
    }
}

static void a_watched_value_is_found_in_the_text(void) {
    result r = render("ab{{ user }}{{ watched | trim }}c{{ watched[1:] }}d");
    CU_ASSERT_EQUAL(r.watched.from, 8);
    CU_ASSERT_EQUAL(r.watched.to, 8 + 4 + 1 + 3);
    release(&r);
    r = render("none {{ user }}");
    CU_ASSERT_EQUAL(r.watched.to, 0);
    release(&r);
}

static void long_texts_are_gathered_in_linear_time(void) {
    result r = render(
        "{% set n = namespace(t='') %}{% for i in range(100000) %}{% set n.t = n.t + 'abcdefgh' %}"
        "{% endfor %}{{ n.t | length }}");
    CU_ASSERT_EQUAL(r.status, NLM_OK);
    CU_ASSERT_STRING_EQUAL(r.text.data, "800000");
    release(&r);
}

static const check_case cases[] = {
    CHECK_CASE(expressions_are_as_pythons),           CHECK_CASE(errors_say_the_line_and_what_was_wrong),
    CHECK_CASE(what_a_template_takes_is_bounded),     CHECK_CASE(what_a_user_wrote_stays_marked),
    CHECK_CASE(a_watched_value_is_found_in_the_text), CHECK_CASE(long_texts_are_gathered_in_linear_time),
};

CHECK_MAIN("jinja", cases)
