/* Any bytes as a grammar or a schema, and other bytes as a text that is read in it: the first byte says which, and
 * where the one ends. What is not refused can be completed: the fewest bytes to an end go down to none. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One step by a byte that leads nearer to an end. False: there is no room to take it. */
static bool step_nearer(nlm_grammar_state **state) {
    const uint32_t left = nlm_language_shortest(*state);
    if (left >= UINT32_MAX - 1) return false; /* too far to be counted */
    for (unsigned byte = 0; byte < 256; byte++) {
        const char c = (char)byte;
        nlm_grammar_state *next = NULL;
        size_t count;
        if (nlm_language_fork(*state, &next, NULL) != NLM_OK) return false;
        const nlm_status status = nlm_language_read(next, &c, 1, &count, NULL);
        const bool is_nearer = status == NLM_OK && nlm_language_shortest(next) < left;
        nlm_language_end(is_nearer ? *state : next);
        if (is_nearer) *state = next;
        if (is_nearer) return true;
        if (status == NLM_LIMIT || status == NLM_OUT_OF_MEMORY) return false;
    }
    abort();
}

static void complete(nlm_grammar_state **state) {
    for (int i = 0; i < 24 && !nlm_language_is_complete(*state); i++) {
        if (!step_nearer(state)) return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    const nlm_language_options options = {
        .language = data[0] & 1 ? NLM_LANGUAGE_JSON_SCHEMA : NLM_LANGUAGE_GBNF,
        .is_compact = (data[0] & 2) != 0,
        .cache_bytes = data[0] & 4 ? 1 : 1 << 22,
    };
    size_t length = (size_t)data[1] << 8 | data[2]; /* of the grammar */
    data += 3;
    size -= 3;
    if (length > size) length = size;
    nlm_error err = NLM_ERROR_INIT;
    nlm_grammar *grammar = NULL;
    nlm_grammar_state *state = NULL;
    if (nlm_language_open((const char *)data, length, &options, NULL, &grammar, &err) != NLM_OK) {
        if (!err.msg[0]) abort();
        return 0;
    }
    if (nlm_language_begin(grammar, &state, &err) == NLM_OK) {
        complete(&state);
        for (size_t i = length; i < size; i++) {
            size_t count;
            const char c = (char)data[i];
            const nlm_status status = nlm_language_read(state, &c, 1, &count, &err);
            if (status == NLM_LIMIT || status == NLM_OUT_OF_MEMORY) break;
        }
        complete(&state);
    }
    nlm_language_end(state);
    nlm_language_close(grammar);
    return 0;
}
