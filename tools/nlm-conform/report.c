#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conform.h"

typedef struct tally {
    size_t counts[CONFORM_VERDICTS];
    double error, nmse;
    const char *reason; /* of the first case that is not supported */
} tally;

static void add(tally *sums, const conform_case *c) {
    sums->counts[c->result.verdict]++;
    sums->error = fmax(sums->error, c->result.error);
    sums->nmse = fmax(sums->nmse, c->result.nmse);
    if (c->result.verdict == CONFORM_UNSUPPORTED && !sums->reason) sums->reason = c->result.message;
}

static tally tally_op(const conform_case *cases, size_t count, nlm_op op) {
    tally sums = {.reason = NULL};
    for (size_t i = 0; i < count; i++) {
        if (cases[i].op == op) add(&sums, &cases[i]);
    }
    return sums;
}

static void print_selection(const conform_options *options) {
    if (options->backend) printf(" --backend %s", options->backend);
    if (options->library) printf(" --library '%s'", options->library);
    printf(" --seed %lld", (long long)options->seed);
    if (options->is_strict) printf(" --strict");
}

static void print_failures(const conform_options *options, const conform_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const bool is_missing = options->is_complete && cases[i].result.verdict == CONFORM_UNSUPPORTED;
        if (cases[i].result.verdict != CONFORM_FAILED && !is_missing) continue;
        printf("FAILED %s: %s%s\n  nlm-conform", cases[i].name, is_missing ? "not supported: " : "",
               cases[i].result.message);
        print_selection(options);
        printf(" --filter '%s'\n", cases[i].name);
    }
}

static void print_level(const conform_case *cases, size_t count, int level) {
    size_t n_tables;
    const spec_table *tables = spec_tables(&n_tables);
    printf("\nlevel %d             passed  failed  unsupported  error/allowed      NMSE\n", level);
    for (size_t i = 0; i < n_tables; i++) {
        if (tables[i].level != level) continue;
        const tally sums = tally_op(cases, count, tables[i].op);
        const size_t n = sums.counts[CONFORM_PASSED] + sums.counts[CONFORM_FAILED] + sums.counts[CONFORM_UNSUPPORTED];
        if (n == 0) continue;
        printf("%-20s %5zu   %5zu        %5zu  %13.3f  %8.1e", nlm_op_name(tables[i].op), sums.counts[CONFORM_PASSED],
               sums.counts[CONFORM_FAILED], sums.counts[CONFORM_UNSUPPORTED], sums.error, sums.nmse);
        printf("%s%s\n", sums.reason ? "  not: " : "", sums.reason ? sums.reason : "");
    }
}

/* The text as a JSON string. */
static void print_json_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 32) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_json(const conform_options *options, const conform_case *cases, size_t count, bool has_passed) {
    static const char *const words[] = {"not run", "passed", "failed", "unsupported"};
    printf("{\"passed\": %s, \"seed\": %lld, \"cases\": [", has_passed ? "true" : "false", (long long)options->seed);
    for (size_t i = 0; i < count; i++) {
        const conform_result *r = &cases[i].result;
        printf("%s\n{\"name\": ", i ? "," : "");
        print_json_text(cases[i].name);
        printf(", \"level\": %d, \"verdict\": \"%s\", \"nmse\": %.3g, \"error\": ", cases[i].level, words[r->verdict],
               r->nmse);
        printf(isfinite(r->error) ? "%.3g" : "null", r->error);
        printf(", \"message\": ");
        print_json_text(r->message);
        putchar('}');
    }
    printf("\n]}\n");
}

bool conform_report(const conform_options *options, const conform_case *cases, size_t count) {
    tally sums = {.reason = NULL};
    for (size_t i = 0; i < count; i++) add(&sums, &cases[i]);
    const size_t passed = sums.counts[CONFORM_PASSED], unsupported = sums.counts[CONFORM_UNSUPPORTED];
    const size_t failed = count - passed - unsupported;
    const bool has_passed = failed == 0 && passed > 0 && !(options->is_complete && unsupported);
    if (options->is_json) {
        print_json(options, cases, count, has_passed);
        return has_passed;
    }
    print_failures(options, cases, count);
    print_level(cases, count, 1);
    print_level(cases, count, 2);
    printf("\n%s: %zu passed, %zu failed, %zu not supported; seed %lld%s\n", has_passed ? "PASSED" : "FAILED", passed,
           failed, unsupported, (long long)options->seed,
           passed == 0 && failed == 0 ? "; a backend must support something" : "");
    return has_passed;
}
