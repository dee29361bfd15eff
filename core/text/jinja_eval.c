/* Expressions of chat templates. */
#include <string.h>

#include "text/jinja_run.h"

static nlm_jinja_value lookup(nlm_jinja_run *run, const char *name) {
    for (const nlm_jinja_scope *scope = run->scope; scope; scope = scope->outer) {
        for (const nlm_jinja_variable *variable = scope->first; variable; variable = variable->next) {
            if (strcmp(variable->name, name) == 0) return variable->value;
        }
    }
    if (run->globals.type == NLM_JINJA_DICT) {
        const nlm_jinja_value *found = nlm_jinja_find_name(run, run->globals.dict, name);
        if (found) return *found;
    }
    const nlm_jinja_entry *entry = nlm_jinja_find_function(name);
    if (entry) return nlm_jinja_function_new(run, (nlm_jinja_function){.name = name, .entry = entry});
    return nlm_jinja_missing(run, "'%s' is undefined", name);
}

static nlm_jinja_value eval_items(nlm_jinja_run *run, const nlm_jinja_node *node, nlm_jinja_kind kind) {
    const nlm_jinja_value sequence = nlm_jinja_sequence_new(run, kind);
    for (const nlm_jinja_node *item = node->list; item && !nlm_jinja_has_failed(run); item = item->next) {
        nlm_jinja_push(run, sequence, nlm_jinja_eval(run, item));
    }
    return sequence;
}

static nlm_jinja_value eval_dict(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value dict = nlm_jinja_dict_new(run);
    for (const nlm_jinja_node *pair = node->list; pair && !nlm_jinja_has_failed(run); pair = pair->next) {
        const nlm_jinja_value key = nlm_jinja_eval(run, pair->a);
        nlm_jinja_put(run, dict, key, nlm_jinja_eval(run, pair->b));
    }
    return dict;
}

static nlm_jinja_value eval_index(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value of = nlm_jinja_eval(run, node->a);
    if (node->b->kind != NLM_JINJA_SLICE) return nlm_jinja_item(run, of, nlm_jinja_eval(run, node->b));
    const nlm_jinja_node *const nodes[3] = {node->b->a, node->b->b, node->b->c};
    nlm_jinja_value bounds[3] = {{0}};
    for (size_t i = 0; i < 3; i++) {
        if (nodes[i]) bounds[i] = nlm_jinja_eval(run, nodes[i]);
        if (bounds[i].type == NLM_JINJA_NONE) bounds[i].type = NLM_JINJA_ABSENT;
    }
    return nlm_jinja_slice(run, of, bounds);
}

static nlm_jinja_value eval_call(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value callee = nlm_jinja_eval(run, node->a);
    const nlm_jinja_args args = nlm_jinja_eval_args(run, node->list);
    run->line = node->line;
    if (nlm_jinja_has_failed(run)) return nlm_jinja_undefined(NULL);
    return nlm_jinja_call_value(run, callee, &args);
}

/* A filter or a test. */
static nlm_jinja_value eval_entry(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value input = node->a ? nlm_jinja_eval(run, node->a) : run->block;
    const nlm_jinja_args args = nlm_jinja_eval_args(run, node->list);
    run->line = node->line;
    if (nlm_jinja_has_failed(run)) return nlm_jinja_undefined(NULL);
    if (!node->entry) {
        const char *what = node->kind == NLM_JINJA_TEST ? "test" : "filter";
        return nlm_jinja_fail(run, "No %s named '%s'", what, node->name);
    }
    return nlm_jinja_call_entry(run, node->entry, input, &args);
}

static nlm_jinja_value eval_sign(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value value = nlm_jinja_eval(run, node->a);
    if (value.type == NLM_JINJA_FLOAT) {
        return nlm_jinja_float(node->op == NLM_JINJA_MINUS ? -value.number : value.number);
    }
    if (!nlm_jinja_is_number(value)) {
        if (value.type == NLM_JINJA_UNDEFINED && value.why) return nlm_jinja_fail(run, "%s", value.why);
        return nlm_jinja_fail(run, "bad operand type for unary %c: '%s'", node->op == NLM_JINJA_MINUS ? '-' : '+',
                              nlm_jinja_type_name(value));
    }
    return node->op == NLM_JINJA_MINUS ? nlm_jinja_arithmetic(run, NLM_JINJA_MINUS, nlm_jinja_int(0), value)
                                       : nlm_jinja_arithmetic(run, NLM_JINJA_PLUS, nlm_jinja_int(0), value);
}

static nlm_jinja_value eval_compare(nlm_jinja_run *run, const nlm_jinja_node *node) {
    nlm_jinja_value left = nlm_jinja_eval(run, node->a);
    for (const nlm_jinja_node *operand = node->list; operand; operand = operand->next) {
        const nlm_jinja_value right = nlm_jinja_eval(run, operand->a);
        if (nlm_jinja_has_failed(run) || !nlm_jinja_compare_by(run, operand->op, left, right)) {
            return nlm_jinja_bool(false);
        }
        left = right;
    }
    return nlm_jinja_bool(true);
}

static nlm_jinja_value eval_condition(nlm_jinja_run *run, const nlm_jinja_node *node) {
    if (nlm_jinja_truth(run, nlm_jinja_eval(run, node->a))) return nlm_jinja_eval(run, node->b);
    if (node->c) return nlm_jinja_eval(run, node->c);
    return nlm_jinja_undefined("the inline if-expression has no else, and its condition is false");
}

static nlm_jinja_value eval_inside(nlm_jinja_run *run, const nlm_jinja_node *node) {
    nlm_jinja_value left;
    switch (node->kind) {
        case NLM_JINJA_CONSTANT: return node->value;
        case NLM_JINJA_NAME: return lookup(run, node->name);
        case NLM_JINJA_LIST_OF: return eval_items(run, node, NLM_JINJA_LIST);
        case NLM_JINJA_TUPLE_OF: return eval_items(run, node, NLM_JINJA_TUPLE);
        case NLM_JINJA_DICT_OF: return eval_dict(run, node);
        case NLM_JINJA_ATTRIBUTE: return nlm_jinja_attribute(run, nlm_jinja_eval(run, node->a), node->name);
        case NLM_JINJA_ITEM: return eval_index(run, node);
        case NLM_JINJA_CALL: return eval_call(run, node);
        case NLM_JINJA_FILTER:
        case NLM_JINJA_TEST: return eval_entry(run, node);
        case NLM_JINJA_NOT: return nlm_jinja_bool(!nlm_jinja_truth(run, nlm_jinja_eval(run, node->a)));
        case NLM_JINJA_AND:
            left = nlm_jinja_eval(run, node->a);
            return nlm_jinja_truth(run, left) ? nlm_jinja_eval(run, node->b) : left;
        case NLM_JINJA_OR:
            left = nlm_jinja_eval(run, node->a);
            return nlm_jinja_truth(run, left) ? left : nlm_jinja_eval(run, node->b);
        case NLM_JINJA_SIGN: return eval_sign(run, node);
        case NLM_JINJA_BINARY:
            left = nlm_jinja_eval(run, node->a);
            return nlm_jinja_arithmetic(run, node->op, left, nlm_jinja_eval(run, node->b));
        case NLM_JINJA_COMPARE: return eval_compare(run, node);
        case NLM_JINJA_CONDITION: return eval_condition(run, node);
        default: return nlm_jinja_fail(run, "this is no expression");
    }
}

nlm_jinja_value nlm_jinja_eval(nlm_jinja_run *run, const nlm_jinja_node *node) {
    if (!nlm_jinja_enter(run)) return nlm_jinja_undefined(NULL);
    run->line = node->line;
    const nlm_jinja_value value = eval_inside(run, node);
    nlm_jinja_exit(run);
    return value;
}
