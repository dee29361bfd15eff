/* What passed and what failed, as text and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "conform.h"

typedef struct tally {
    size_t counts[CONFORM_VERDICTS];
    double error, nmse, from_parts;
    bool has_parts;
    const char *reason; /* of the first case that is not supported or not offered */
} tally;

static size_t failures(const tally *sums) {
    return sums->counts[CONFORM_FAILED] + sums->counts[CONFORM_NOT_RUN];
}

static size_t total(const tally *sums) {
    size_t sum = 0;
    for (int i = 0; i < CONFORM_VERDICTS; i++) sum += sums->counts[i];
    return sum;
}

static void add(tally *sums, const conform_case *c) {
    const bool is_absent = c->result.verdict == CONFORM_UNSUPPORTED || c->result.verdict == CONFORM_NOT_OFFERED;
    sums->counts[c->result.verdict]++;
    sums->error = fmax(sums->error, c->result.error);
    sums->nmse = fmax(sums->nmse, c->result.nmse);
    sums->has_parts = sums->has_parts || c->result.has_parts;
    sums->from_parts = fmax(sums->from_parts, c->result.from_parts);
    if (is_absent && !sums->reason) sums->reason = c->result.message;
}

/* The cases of a level, and of one row of its table or (NULL) all. */
static tally tally_of(const conform_case *cases, size_t count, int level, const char *row) {
    tally sums = {.reason = NULL};
    for (size_t i = 0; i < count; i++) {
        if (cases[i].level == level && (!row || strcmp(cases[i].row, row) == 0)) add(&sums, &cases[i]);
    }
    return sums;
}

static void print_selection(const conform_options *options) {
    if (options->backend) printf(" --backend %s", options->backend);
    if (options->library) printf(" --library '%s'", options->library);
    printf(" --seed %lld", (long long)options->seed);
    for (const char *const *o = options->device_options; o && *o; o += 2) printf(" --option '%s=%s'", o[0], o[1]);
    if (options->activations == ORACLE_STRICT) printf(" --strict");
    if (options->is_complete) printf(" --complete");
}

static void print_failures(const conform_options *options, const conform_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const bool is_missing = options->is_complete && cases[i].result.verdict == CONFORM_UNSUPPORTED;
        const bool has_failed =
            cases[i].result.verdict == CONFORM_FAILED || cases[i].result.verdict == CONFORM_NOT_RUN;
        if (!has_failed && !is_missing) continue;
        printf("FAILED %s: %s%s\n  nlm-conform", cases[i].name, is_missing ? "not supported: " : "",
               cases[i].result.message);
        print_selection(options);
        printf(" --filter '%s'\n", cases[i].name);
    }
}

static const char *const level_names[] = {"the rules of the ABI", "ops and models", "fused and captured", "training"};

/* What became of a level, for people; NULL: nothing of it was asked for. */
static const char *level_verdict(const conform_options *options, const conform_case *cases, size_t count, int level) {
    const tally sums = tally_of(cases, count, level, NULL);
    if (total(&sums) == 0) return NULL;
    if (failures(&sums)) return "failed";
    if (sums.counts[CONFORM_PASSED] == 0) return "nothing of it is supported";
    if (sums.counts[CONFORM_UNSUPPORTED]) return options->is_complete ? "not complete" : "passed what it supports";
    return "passed";
}

static void print_row(const char *row, const tally *sums) {
    printf("%-20s %5zu   %5zu        %5zu  %13.3f  %8.1e", row, sums->counts[CONFORM_PASSED], failures(sums),
           sums->counts[CONFORM_UNSUPPORTED], sums->error, sums->nmse);
    if (sums->has_parts && sums->from_parts == 0) printf("  equals its parts");
    if (sums->from_parts > 0) printf("  off its parts by %.3f of what is allowed", sums->from_parts);
    if (sums->reason) printf("  %s: %s", sums->counts[CONFORM_NOT_OFFERED] ? "not offered" : "not", sums->reason);
    putchar('\n');
}

static void print_level(const conform_options *options, const conform_case *cases, size_t count, int level) {
    const char *verdict = level_verdict(options, cases, count, level), *last = NULL;
    if (!verdict) return;
    printf("\nlevel %d             passed  failed  unsupported  error/allowed      NMSE\n", level);
    for (size_t i = 0; i < count; i++) { /* the cases of a row follow each other */
        if (cases[i].level != level || (last && strcmp(last, cases[i].row) == 0)) continue;
        last = cases[i].row;
        const tally sums = tally_of(cases, count, level, last);
        print_row(last, &sums);
    }
    printf("level %d, %s: %s\n", level, level_names[level], verdict);
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

/* JSON has neither infinities nor NaN. */
static void print_json_number(const char *key, double value) {
    printf(isfinite(value) ? ", \"%s\": %.3g" : ", \"%s\": null", key, value);
}

static void print_json(const conform_options *options, const conform_case *cases, size_t count, bool is_good) {
    static const char *const words[] = {"not run", "passed", "failed", "unsupported", "not offered"};
    printf("{\"passed\": %s, \"seed\": %lld, \"levels\": {", is_good ? "true" : "false", (long long)options->seed);
    for (int level = 0, n = 0; level <= CONFORM_MAX_LEVEL; level++) {
        const char *verdict = level_verdict(options, cases, count, level);
        if (verdict) printf("%s\"%d\": \"%s\"", n++ ? ", " : "", level, verdict);
    }
    printf("}, \"cases\": [");
    for (size_t i = 0; i < count; i++) {
        const conform_result *r = &cases[i].result;
        printf("%s\n{\"name\": ", i ? "," : "");
        print_json_text(cases[i].name);
        printf(", \"level\": %d, \"verdict\": \"%s\"", cases[i].level, words[r->verdict]);
        print_json_number("nmse", r->nmse);
        print_json_number("error", r->error);
        printf(", \"message\": ");
        print_json_text(r->message);
        putchar('}');
    }
    printf("\n]}\n");
}

/* Nothing that failed; and something that passed, of the ops too if any were asked for and at the level
 * that was asked for. */
static bool has_passed(const conform_options *options, const conform_case *cases, size_t count) {
    size_t passed = 0, failed = 0, unsupported = 0, ops_asked = 0, ops_passed = 0;
    for (int level = 0; level <= CONFORM_MAX_LEVEL; level++) {
        const tally sums = tally_of(cases, count, level, NULL);
        passed += sums.counts[CONFORM_PASSED];
        failed += failures(&sums);
        unsupported += sums.counts[CONFORM_UNSUPPORTED];
        ops_asked += level > 0 ? total(&sums) : 0;
        ops_passed += level > 0 ? sums.counts[CONFORM_PASSED] : 0;
        const bool is_asked = options->parts == 1 || total(&sums) > 0; /* else another part has the level */
        if (level == options->level && is_asked && sums.counts[CONFORM_PASSED] == 0) return false;
    }
    if (options->is_complete && unsupported > 0) return false;
    return failed == 0 && passed > 0 && (ops_asked == 0 || ops_passed > 0);
}

/* What could not be checked where the device has memory of its own. */
static void print_unguarded(const conform_case *cases, size_t count) {
    size_t unguarded = 0;
    for (size_t i = 0; i < count; i++) unguarded += cases[i].result.was_unguarded ? 1 : 0;
    if (unguarded == 0) return;
    printf(
        "\n%zu cases ran in the device's own memory, without guard pages: margins of NaN beside each buffer show\n"
        "writes, and reads that reach a result\n",
        unguarded);
}

static void print_verdict(const conform_options *options, const conform_case *cases, size_t count, bool is_good) {
    tally all = {.reason = NULL};
    for (size_t i = 0; i < count; i++) add(&all, &cases[i]);
    printf("\n%s: %zu passed, %zu failed, %zu not supported; seed %lld", is_good ? "PASSED" : "FAILED",
           all.counts[CONFORM_PASSED], failures(&all), all.counts[CONFORM_UNSUPPORTED], (long long)options->seed);
    if (!is_good && failures(&all) == 0) {
        const tally asked = tally_of(cases, count, (int)options->level, NULL);
        if (options->is_complete && all.counts[CONFORM_UNSUPPORTED]) {
            printf("; all of it must be supported");
        } else if (options->filter && total(&asked) == 0) {
            printf("; the filter leaves no case of level %d", (int)options->level);
        } else {
            printf("; a backend must support something%s", options->level > 0 ? " of the level" : "");
        }
    }
    putchar('\n');
}

bool conform_report(const conform_options *options, const conform_case *cases, size_t count) {
    const bool is_good = has_passed(options, cases, count);
    if (options->is_json) {
        print_json(options, cases, count, is_good);
        return is_good;
    }
    print_failures(options, cases, count);
    for (int level = 0; level <= CONFORM_MAX_LEVEL; level++) print_level(options, cases, count, level);
    print_unguarded(cases, count);
    print_verdict(options, cases, count, is_good);
    return is_good;
}
