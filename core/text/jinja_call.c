/* Calls in chat templates: of macros, and of what is written in C. */
#include <string.h>

#include "text/jinja_run.h"

nlm_jinja_value nlm_jinja_function_new(nlm_jinja_run *run, nlm_jinja_function function) {
    nlm_jinja_function *made = nlm_jinja_alloc(run, 1, sizeof *made);
    if (!made) return nlm_jinja_undefined(NULL);
    *made = function;
    return (nlm_jinja_value){.type = NLM_JINJA_FUNCTION, .function = made};
}

/* ---- arguments ---------------------------------------------------------------------------- */

/* Arguments being gathered. */
typedef struct gathering {
    nlm_jinja_value items; /* a list */
    nlm_jinja_named *named;
    size_t n_named, capacity;
} gathering;

static void add_named(nlm_jinja_run *run, gathering *g, const char *name, nlm_jinja_value value) {
    if (g->n_named == g->capacity) {
        const size_t capacity = g->capacity ? g->capacity * 2 : 4;
        nlm_jinja_named *named = nlm_jinja_alloc(run, capacity, sizeof *named);
        if (!named) return;
        if (g->n_named) memcpy(named, g->named, g->n_named * sizeof *named);
        g->named = named;
        g->capacity = capacity;
    }
    g->named[g->n_named++] = (nlm_jinja_named){name, value};
}

static void spread(nlm_jinja_run *run, gathering *g, const nlm_jinja_node *node) {
    const nlm_jinja_value value = nlm_jinja_eval(run, node->a);
    if (node->op == NLM_JINJA_STAR) {
        const nlm_jinja_sequence *items = nlm_jinja_iterate(run, value);
        for (size_t i = 0; i < items->count; i++) nlm_jinja_push(run, g->items, items->items[i]);
        return;
    }
    if (value.type != NLM_JINJA_DICT) {
        nlm_jinja_fail(run, "argument after ** must be a mapping, not %s", nlm_jinja_type_name(value));
        return;
    }
    for (size_t i = 0; i < value.dict->count && !nlm_jinja_has_failed(run); i++) {
        const nlm_jinja_string *key = nlm_jinja_need_string(run, value.dict->pairs[i].key, "a keyword");
        char *name = nlm_jinja_alloc(run, key->length + 1, 1);
        if (!name) return;
        memcpy(name, key->data, key->length);
        add_named(run, g, name, value.dict->pairs[i].value);
    }
}

nlm_jinja_args nlm_jinja_eval_args(nlm_jinja_run *run, const nlm_jinja_node *first) {
    if (!first) return (nlm_jinja_args){0};
    gathering g = {.items = nlm_jinja_sequence_new(run, NLM_JINJA_LIST)};
    for (const nlm_jinja_node *node = first; node && !nlm_jinja_has_failed(run); node = node->next) {
        if (node->kind == NLM_JINJA_SPREAD) {
            spread(run, &g, node);
        } else if (node->kind == NLM_JINJA_NAMED) {
            add_named(run, &g, node->name, nlm_jinja_eval(run, node->a));
        } else {
            nlm_jinja_push(run, g.items, nlm_jinja_eval(run, node));
        }
    }
    if (g.items.type != NLM_JINJA_SEQUENCE) return (nlm_jinja_args){0};
    return (nlm_jinja_args){g.items.sequence->items, g.items.sequence->count, g.named, g.n_named};
}

/* ---- functions of C ----------------------------------------------------------------------- */

static size_t count_parameters(const nlm_jinja_entry *entry) {
    size_t count = 0;
    while (count < NLM_JINJA_PARAMETERS_MAX && entry->parameters[count]) count++;
    return count;
}

static bool bind_named(nlm_jinja_run *run, const nlm_jinja_entry *entry, size_t n_parameters,
                       const nlm_jinja_named *named, nlm_jinja_call *call) {
    for (size_t i = 0; i < n_parameters; i++) {
        if (strcmp(entry->parameters[i], named->name) != 0) continue;
        if (call->a[i].type == NLM_JINJA_ABSENT) {
            call->a[i] = named->value;
            return true;
        }
        nlm_jinja_fail(run, "%s() got multiple values for argument '%s'", entry->name, named->name);
        return false;
    }
    nlm_jinja_fail(run, "%s() got an unexpected keyword argument '%s'", entry->name, named->name);
    return false;
}

static bool bind(nlm_jinja_run *run, const nlm_jinja_entry *entry, const nlm_jinja_args *args, nlm_jinja_call *call) {
    const size_t n_parameters = count_parameters(entry);
    if (n_parameters && entry->parameters[0][0] == '*') return true;
    if (args->count > n_parameters) {
        nlm_jinja_fail(run, "%s() takes at most %zu arguments (%zu given)", entry->name, n_parameters, args->count);
        return false;
    }
    for (size_t i = 0; i < args->count; i++) call->a[i] = args->items[i];
    for (size_t i = 0; i < args->n_named; i++) {
        if (!bind_named(run, entry, n_parameters, &args->named[i], call)) return false;
    }
    for (size_t i = 0; i < entry->n_needed; i++) {
        if (call->a[i].type != NLM_JINJA_ABSENT) continue;
        nlm_jinja_fail(run, "%s() missing required argument '%s'", entry->name, entry->parameters[i]);
        return false;
    }
    return true;
}

static nlm_jinja_value call_c(nlm_jinja_run *run, const nlm_jinja_entry *entry, nlm_jinja_value self,
                              nlm_jinja_function *function, const nlm_jinja_args *args) {
    nlm_jinja_call call = {.self = self, .all = args, .function = function};
    if (!nlm_jinja_enter(run)) return nlm_jinja_undefined(NULL);
    nlm_jinja_value value = nlm_jinja_undefined(NULL);
    if (bind(run, entry, args, &call)) value = entry->call(run, &call);
    nlm_jinja_exit(run);
    return value;
}

nlm_jinja_value nlm_jinja_call_entry(nlm_jinja_run *run, const nlm_jinja_entry *entry, nlm_jinja_value self,
                                     const nlm_jinja_args *args) {
    return call_c(run, entry, self, NULL, args);
}

/* ---- macros ------------------------------------------------------------------------------- */

static const nlm_jinja_named *find_named(const nlm_jinja_args *args, const char *name) {
    for (size_t i = 0; i < args->n_named; i++) {
        if (strcmp(args->named[i].name, name) == 0) return &args->named[i];
    }
    return NULL;
}

static bool has_parameter(const nlm_jinja_node *macro, const char *name) {
    for (const nlm_jinja_node *parameter = macro->a; parameter; parameter = parameter->next) {
        if (strcmp(parameter->name, name) == 0) return true;
    }
    return false;
}

/* What is given beyond the parameters: varargs, kwargs, caller. */
static void set_rest(nlm_jinja_run *run, const nlm_jinja_node *macro, const nlm_jinja_args *args, size_t n_bound) {
    const nlm_jinja_value rest = nlm_jinja_sequence_new(run, NLM_JINJA_TUPLE), named = nlm_jinja_dict_new(run);
    for (size_t i = n_bound; i < args->count; i++) nlm_jinja_push(run, rest, args->items[i]);
    for (size_t i = 0; i < args->n_named; i++) {
        if (has_parameter(macro, args->named[i].name)) continue;
        if (strcmp(args->named[i].name, "caller") == 0) {
            nlm_jinja_set(run, "caller", args->named[i].value);
        } else {
            nlm_jinja_put_named(run, named, args->named[i].name, args->named[i].value);
        }
    }
    nlm_jinja_set(run, "varargs", rest);
    nlm_jinja_set(run, "kwargs", named);
}

static void bind_macro(nlm_jinja_run *run, const nlm_jinja_node *macro, const nlm_jinja_args *args) {
    size_t at = 0;
    for (const nlm_jinja_node *parameter = macro->a; parameter && !nlm_jinja_has_failed(run);
         parameter = parameter->next, at++) {
        const nlm_jinja_named *named = find_named(args, parameter->name);
        if (named && at < args->count) {
            nlm_jinja_fail(run, "macro '%s' got multiple values for argument '%s'", macro->name, parameter->name);
        } else if (at < args->count) {
            nlm_jinja_set(run, parameter->name, args->items[at]);
        } else if (named) {
            nlm_jinja_set(run, parameter->name, named->value);
        } else if (parameter->a) {
            nlm_jinja_set(run, parameter->name, nlm_jinja_eval(run, parameter->a));
        } else {
            nlm_jinja_set(run, parameter->name,
                          nlm_jinja_missing(run, "parameter '%s' was not provided", parameter->name));
        }
    }
    set_rest(run, macro, args, at);
}

static nlm_jinja_value call_macro(nlm_jinja_run *run, const nlm_jinja_function *function,
                                  const nlm_jinja_args *args) {
    nlm_jinja_scope *outer = run->scope;
    nlm_jinja_scope *scope = nlm_jinja_alloc(run, 1, sizeof *scope);
    if (!scope) return nlm_jinja_undefined(NULL);
    const uint32_t line = run->line;
    nlm_jinja_push_scope(run, scope, function->scope);
    bind_macro(run, function->macro, args);
    const nlm_jinja_value text = nlm_jinja_capture(run, function->macro->list);
    run->scope = outer;
    run->leave = NLM_JINJA_STAY;
    if (!nlm_jinja_has_failed(run)) run->line = line;
    return text;
}

/* loop(items), in a recursive loop. */
static nlm_jinja_value call_loop(nlm_jinja_run *run, const nlm_jinja_loop *loop, const nlm_jinja_args *args) {
    if (loop->node->op != NLM_JINJA_STAR || args->count != 1) {
        return nlm_jinja_fail(run, "loop(items) is for loops that are marked as recursive");
    }
    nlm_jinja_text text = {0}, *outer_out = run->out;
    nlm_jinja_scope *outer = run->scope;
    run->out = &text;
    run->scope = loop->scope;
    nlm_jinja_run_loop(run, loop->node, args->items[0], loop->depth + 1);
    run->scope = outer;
    run->out = outer_out;
    return nlm_jinja_finish(run, &text);
}

nlm_jinja_value nlm_jinja_call_value(nlm_jinja_run *run, nlm_jinja_value callee, const nlm_jinja_args *args) {
    nlm_jinja_value value = nlm_jinja_undefined(NULL);
    if (nlm_jinja_has_failed(run)) return value;
    if (callee.type == NLM_JINJA_UNDEFINED) {
        return nlm_jinja_fail(run, "%s", callee.why ? callee.why : "what is called is undefined");
    }
    if (callee.type != NLM_JINJA_FUNCTION && callee.type != NLM_JINJA_LOOP) {
        return nlm_jinja_fail(run, "'%s' object is not callable", nlm_jinja_type_name(callee));
    }
    if (!nlm_jinja_enter(run)) return value;
    if (callee.type == NLM_JINJA_LOOP) {
        value = call_loop(run, callee.loop, args);
    } else if (callee.function->macro) {
        value = call_macro(run, callee.function, args);
    } else {
        value = call_c(run, callee.function->entry, callee.function->self, callee.function, args);
    }
    nlm_jinja_exit(run);
    return value;
}
