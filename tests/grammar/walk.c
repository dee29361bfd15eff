/* Texts of a grammar by random walks over its automaton, and which texts it takes: for cli.test_grammar.
 *
 *   walk_grammar gbnf|schema|compact FILE walk COUNT SEED BYTES    texts of about BYTES, a NUL behind each
 *   walk_grammar gbnf|schema|compact FILE check                    texts from stdin, a NUL behind each: 1 or 0 a line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/philox.h"
#include "text/grammar.h"

static uint64_t seed, n_draws;

static uint32_t draw(uint32_t below) {
    return (uint32_t)(nlm_philox_uniform(seed, n_draws++) * below);
}

static bool may_come(const nlm_grammar_state *state, uint8_t byte, uint32_t *out_shortest) {
    nlm_grammar_state *copy = NULL;
    size_t count;
    if (nlm_language_fork(state, &copy, NULL) != NLM_OK) exit(1);
    const bool may = nlm_language_read(copy, (const char *)&byte, 1, &count, NULL) == NLM_OK;
    if (may) *out_shortest = nlm_language_shortest(copy);
    nlm_language_end(copy);
    return may;
}

/* A byte that may come, or -1 to end. Beyond the wanted length one that leads nearest to an end. Letters of names and
 * strings would all be unlikely: half of the time an ASCII byte that is no letter is taken, if there is one. */
static int choose(nlm_grammar_state *state, bool is_long) {
    uint8_t bytes[256];
    uint32_t n = 0, shortest, least = UINT32_MAX;
    if (nlm_language_is_complete(state) && (is_long || nlm_language_is_over(state) || draw(3) == 0)) return -1;
    const bool is_plain = draw(2) == 0;
    for (int pass = 0; pass < 2 && n == 0; pass++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            const bool is_odd = byte >= 0x80 || (byte | 32) >= 'a';
            if ((is_plain && pass == 0 && is_odd) || !may_come(state, (uint8_t)byte, &shortest)) continue;
            if (is_long && shortest > least) continue;
            if (is_long && shortest < least) n = 0;
            least = is_long ? shortest : least;
            bytes[n++] = (uint8_t)byte;
        }
        if (is_long && is_plain && pass == 0) n = 0, least = UINT32_MAX; /* the nearest end may be elsewhere */
    }
    if (n == 0) return -1;
    return bytes[draw(n)];
}

static void walk(nlm_grammar *grammar, uint32_t bytes) {
    nlm_grammar_state *state = NULL;
    if (nlm_language_begin(grammar, &state, NULL) != NLM_OK) exit(1);
    const uint32_t wanted = draw(bytes + 1);
    size_t count;
    int byte;
    for (uint32_t i = 0; (byte = choose(state, i >= wanted)) >= 0; i++) {
        const char c = (char)byte;
        if (nlm_language_read(state, &c, 1, &count, NULL) != NLM_OK) exit(1);
        putchar(byte);
    }
    putchar(0);
    if (!nlm_language_is_complete(state)) {
        fprintf(stderr, "a walk came to where nothing may follow, and the text is not complete\n");
        exit(1);
    }
    nlm_language_end(state);
}

static void check(nlm_grammar *grammar) {
    static char text[1 << 20];
    size_t length = 0, count;
    for (int c; (c = getchar()) != EOF;) {
        if (c != 0 && length < sizeof text) text[length++] = (char)c;
        if (c != 0) continue;
        nlm_grammar_state *state = NULL;
        if (nlm_language_begin(grammar, &state, NULL) != NLM_OK) exit(1);
        nlm_error err = NLM_ERROR_INIT;
        const nlm_status status = nlm_language_read(state, text, length, &count, &err);
        if (status != NLM_OK && status != NLM_INVALID_ARGUMENT) fprintf(stderr, "%s\n", err.msg);
        printf("%d\n", status == NLM_OK && nlm_language_is_complete(state));
        nlm_language_end(state);
        length = 0;
    }
}

int main(int argc, char **argv) {
    nlm_error err = NLM_ERROR_INIT;
    nlm_str text = {0};
    nlm_grammar *grammar = NULL;
    if (argc < 4) return 2;
    FILE *file = fopen(argv[2], "rb");
    char buffer[4096];
    for (size_t n; file && (n = fread(buffer, 1, sizeof buffer, file)) > 0;) nlm_str_append(&text, buffer, n);
    if (file) fclose(file);
    const nlm_language_options options = {
        .language = strcmp(argv[1], "gbnf") == 0 ? NLM_LANGUAGE_GBNF : NLM_LANGUAGE_JSON_SCHEMA,
        .is_compact = strcmp(argv[1], "compact") == 0,
    };
    nlm_language_open(text.data ? text.data : "", text.length, &options, NULL, &grammar, &err);
    nlm_str_release(&text);
    if (!grammar) {
        fprintf(stderr, "%s: %s: %s\n", nlm_status_text(err.code), err.where, err.msg);
        return 3;
    }
    if (strcmp(argv[3], "walk") == 0 && argc == 7) {
        seed = strtoull(argv[5], NULL, 10);
        for (long n = strtol(argv[4], NULL, 10); n > 0; n--) walk(grammar, (uint32_t)strtoul(argv[6], NULL, 10));
    } else {
        check(grammar);
    }
    nlm_language_close(grammar);
    return 0;
}
