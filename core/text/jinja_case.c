/* Upper and lower case of strings of chat templates, as Python has them. */
#include <utf8proc.h>

#include "text/jinja_run.h"
#include "text/utf8.h"

/* Whether a word of str.title goes on behind this character. */
static bool is_letter(uint32_t code) {
    if (code >= NLM_UTF8_INVALID) return false;
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

/* What parts words for the filter `title`. */
static bool is_between_words(uint32_t code) {
    return nlm_jinja_is_blank(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
}

typedef enum form { FORM_LOWER, FORM_UPPER, FORM_TITLE } form;

static uint32_t in_form(uint32_t code, form how) {
    if (code >= NLM_UTF8_INVALID) return code;
    const utf8proc_int32_t c = (utf8proc_int32_t)code;
    return (uint32_t)(how == FORM_LOWER   ? utf8proc_tolower(c)
                      : how == FORM_UPPER ? utf8proc_toupper(c)
                                          : utf8proc_totitle(c));
}

static void add_character(nlm_jinja_run *run, nlm_jinja_text *text, const nlm_jinja_string *string, size_t at,
                          size_t bytes, form how) {
    const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
    const uint32_t made = in_form(code, how);
    char out[4];
    if (code == 0xDF && how != FORM_LOWER) { /* the one letter of the West whose upper case is two */
        nlm_jinja_add_text(run, text, how == FORM_UPPER ? "SS" : "Ss", nlm_jinja_mark_at(string, at));
    } else if (made == code) {
        nlm_jinja_add_part(run, text, string, at, at + bytes);
    } else {
        nlm_jinja_add(run, text, out, nlm_utf8_put(made, out), nlm_jinja_mark_at(string, at));
    }
}

nlm_jinja_value nlm_jinja_recase(nlm_jinja_run *run, const nlm_jinja_string *string, nlm_jinja_case how) {
    nlm_jinja_text text = {0};
    bool is_first = true;
    size_t bytes;
    for (size_t at = 0; at < string->length && !nlm_jinja_has_failed(run); at += bytes) {
        const uint32_t code = nlm_utf8_next(string->data + at, string->length - at, &bytes);
        form to = how == NLM_JINJA_UPPER ? FORM_UPPER : FORM_LOWER;
        if (how >= NLM_JINJA_CAPITALIZE && is_first) to = how == NLM_JINJA_TITLE_WORDS ? FORM_UPPER : FORM_TITLE;
        add_character(run, &text, string, at, bytes, to);
        is_first = how == NLM_JINJA_TITLE         ? !is_letter(code)
                   : how == NLM_JINJA_TITLE_WORDS ? is_between_words(code)
                                                  : false;
    }
    return nlm_jinja_finish(run, &text);
}
