/* A grammar or schema from its file. */
#include "nlm-run/grammar.h"

#include <string.h>

#include "base/status.h"
#include "common/input.h"

/* The library knows no files: it says "grammar:3", or "schema#/properties". */
static void name_file(nlm_error *err, const char *path) {
    const size_t n = strncmp(err->where, "grammar", 7) == 0 ? 7 : strncmp(err->where, "schema", 6) == 0 ? 6 : 0;
    const size_t n_place = strlen(err->where + n), room = sizeof err->where - 1 - n_place;
    const size_t n_path = strlen(path) < room ? strlen(path) : room;
    if (n == 0) return;
    memmove(err->where + n_path, err->where + n, n_place + 1);
    memcpy(err->where, path, n_path);
}

nlm_status grammar_open(const settings *set, const nlm_model *model, nlm_grammar_state **out, nlm_error *err) {
    const char *path = set->grammar ? set->grammar : set->json_schema;
    const uint32_t kind = set->grammar ? NLM_GRAMMAR_GBNF : NLM_GRAMMAR_JSON_SCHEMA;
    nlm_grammar *grammar = NULL;
    nlm_str text = {0};
    *out = NULL;
    if (!path) return NLM_OK;
    nlm_status status = nlm_read_input(path, &text, err);
    if (status == NLM_OK) {
        nlm_clean_input(&text);
        status = nlm_grammar_create(model, kind, text.data ? text.data : "", text.length, NULL, &grammar, err);
        if (status != NLM_OK) name_file(err, path);
    }
    if (status == NLM_OK) status = nlm_grammar_state_create(grammar, out, err);
    nlm_grammar_destroy(grammar); /* the state keeps it */
    nlm_str_release(&text);
    return status;
}
