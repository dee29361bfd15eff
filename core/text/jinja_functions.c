/* Functions that chat templates may call by name. */
#include <string.h>
#include <time.h>

#include "text/jinja_run.h"

static nlm_jinja_value raise_exception(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_string *message = nlm_jinja_str(run, call->a[0]);
    return nlm_jinja_fail(run, "%.*s", (int)(message->length < 399 ? message->length : 399), message->data);
}

static nlm_jinja_value strftime_now(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_string *format = nlm_jinja_need_string(run, call->a[0], "the format of a time");
    char text[256], pattern[128];
    const time_t now = time(NULL);
    struct tm day;
    if (format->length >= sizeof pattern) return nlm_jinja_fail(run, "the format of a time is too long");
    if (format->length) memcpy(pattern, format->data, format->length);
    pattern[format->length] = 0;
    if (!localtime_r(&now, &day)) return nlm_jinja_fail(run, "the time is not known");
    return nlm_jinja_string_new(run, text, strftime(text, sizeof text, pattern, &day), NLM_JINJA_TEMPLATE);
}

static nlm_jinja_value range_of(nlm_jinja_run *run, nlm_jinja_call *call) {
    int64_t start = 0, stop = nlm_jinja_need_int(run, call->a[0], "an argument of range"), step = 1;
    if (call->a[1].type != NLM_JINJA_ABSENT) {
        start = stop;
        stop = nlm_jinja_need_int(run, call->a[1], "an argument of range");
    }
    if (call->a[2].type != NLM_JINJA_ABSENT) step = nlm_jinja_need_int(run, call->a[2], "an argument of range");
    if (step == 0) return nlm_jinja_fail(run, "range() arg 3 must not be zero");
    const nlm_jinja_value made = nlm_jinja_sequence_new(run, NLM_JINJA_RANGE);
    for (int64_t at = start; (step > 0 ? at < stop : at > stop) && !nlm_jinja_has_failed(run);) {
        nlm_jinja_push(run, made, nlm_jinja_int(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return made;
}

/* Entries of a dictionary, if one is given, and of what is named. */
static nlm_jinja_value make_dict(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_value made = nlm_jinja_dict_new(run);
    const nlm_jinja_args *args = call->all;
    if (args->count > 0 && args->items[0].type == NLM_JINJA_DICT) {
        const nlm_jinja_dict *from = args->items[0].dict;
        for (size_t i = 0; i < from->count; i++) nlm_jinja_put(run, made, from->pairs[i].key, from->pairs[i].value);
    } else if (args->count > 0) {
        const nlm_jinja_sequence *pairs = nlm_jinja_iterate(run, args->items[0]);
        for (size_t i = 0; i < pairs->count && !nlm_jinja_has_failed(run); i++) {
            const nlm_jinja_sequence *pair = nlm_jinja_iterate(run, pairs->items[i]);
            if (pair->count != 2) return nlm_jinja_fail(run, "a dictionary is made of pairs");
            nlm_jinja_put(run, made, pair->items[0], pair->items[1]);
        }
    }
    for (size_t i = 0; i < args->n_named; i++) {
        nlm_jinja_put_named(run, made, args->named[i].name, args->named[i].value);
    }
    return made;
}

static nlm_jinja_value make_namespace(nlm_jinja_run *run, nlm_jinja_call *call) {
    nlm_jinja_value made = make_dict(run, call);
    if (made.type == NLM_JINJA_DICT) made.type = NLM_JINJA_NAMESPACE;
    return made;
}

/* ---- what is called again and again ------------------------------------------------------- */

static nlm_jinja_value join_next(nlm_jinja_run *run, nlm_jinja_call *call) {
    if (call->function->at++ == 0) return nlm_jinja_string_static(run, "", NLM_JINJA_TEMPLATE);
    return call->self;
}

static const nlm_jinja_entry joiner_call = {"joiner", join_next, 0, {NULL}};

static nlm_jinja_value make_joiner(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_value separator =
        call->a[0].type == NLM_JINJA_ABSENT ? nlm_jinja_string_static(run, ", ", NLM_JINJA_TEMPLATE) : call->a[0];
    return nlm_jinja_function_new(run,
                                  (nlm_jinja_function){.name = "joiner", .entry = &joiner_call, .self = separator});
}

static nlm_jinja_value cycle_next(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_sequence *items = call->self.sequence;
    (void)run;
    return items->items[call->function->at++ % items->count];
}

static const nlm_jinja_entry cycler_next = {"next", cycle_next, 0, {NULL}};

/* A dictionary whose `next` is the function: what templates use of one. */
static nlm_jinja_value make_cycler(nlm_jinja_run *run, nlm_jinja_call *call) {
    const nlm_jinja_value items = nlm_jinja_sequence_new(run, NLM_JINJA_LIST), made = nlm_jinja_dict_new(run);
    for (size_t i = 0; i < call->all->count; i++) nlm_jinja_push(run, items, call->all->items[i]);
    if (call->all->count == 0) return nlm_jinja_fail(run, "at least one item has to be provided");
    if (nlm_jinja_has_failed(run)) return made;
    nlm_jinja_put_named(
        run, made, "next",
        nlm_jinja_function_new(run, (nlm_jinja_function){.name = "next", .entry = &cycler_next, .self = items}));
    return made;
}

static const nlm_jinja_entry functions[] = {
    {"raise_exception", raise_exception, 1, {"message"}},
    {"strftime_now", strftime_now, 1, {"format"}},
    {"range", range_of, 1, {"start", "stop", "step"}},
    {"dict", make_dict, 0, {"*"}},
    {"namespace", make_namespace, 0, {"*"}},
    {"joiner", make_joiner, 0, {"sep"}},
    {"cycler", make_cycler, 0, {"*"}},
};

const nlm_jinja_entry *nlm_jinja_find_function(const char *name) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) == 0) return &functions[i];
    }
    return NULL;
}
