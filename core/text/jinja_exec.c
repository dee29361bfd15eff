/* Statements of chat templates. */
#include <string.h>

#include "text/jinja_run.h"

/* ---- names -------------------------------------------------------------------------------- */

void nlm_jinja_push_scope(nlm_jinja_run *run, nlm_jinja_scope *scope, nlm_jinja_scope *outer) {
    *scope = (nlm_jinja_scope){.outer = outer};
    run->scope = scope;
}

void nlm_jinja_set(nlm_jinja_run *run, const char *name, nlm_jinja_value value) {
    nlm_jinja_variable *variable = run->scope->first;
    while (variable && strcmp(variable->name, name) != 0) variable = variable->next;
    if (!variable) {
        variable = nlm_jinja_alloc(run, 1, sizeof *variable);
        if (!variable) return;
        variable->name = name;
        variable->next = run->scope->first;
        run->scope->first = variable;
    }
    variable->value = value;
}

static void assign_attribute(nlm_jinja_run *run, const nlm_jinja_node *target, nlm_jinja_value value) {
    const nlm_jinja_value owner = nlm_jinja_eval(run, target->a);
    if (owner.type != NLM_JINJA_NAMESPACE) {
        nlm_jinja_fail(run, "cannot assign attribute on non-namespace object");
        return;
    }
    nlm_jinja_put_named(run, owner, target->name, value);
}

static void assign_parts(nlm_jinja_run *run, const nlm_jinja_node *target, nlm_jinja_value value) {
    const nlm_jinja_sequence *items = nlm_jinja_iterate(run, value);
    size_t at = 0, wanted = 0;
    for (const nlm_jinja_node *part = target->list; part; part = part->next) wanted++;
    if (items->count != wanted) {
        nlm_jinja_fail(run,
                       items->count > wanted ? "too many values to unpack (expected %zu)"
                                             : "not enough values to unpack (expected %zu, got %zu)",
                       wanted, items->count);
        return;
    }
    for (const nlm_jinja_node *part = target->list; part && !nlm_jinja_has_failed(run); part = part->next) {
        nlm_jinja_assign(run, part, items->items[at++]);
    }
}

void nlm_jinja_assign(nlm_jinja_run *run, const nlm_jinja_node *target, nlm_jinja_value value) {
    if (nlm_jinja_has_failed(run)) return;
    if (target->kind == NLM_JINJA_NAME) {
        nlm_jinja_set(run, target->name, value);
    } else if (target->kind == NLM_JINJA_ATTRIBUTE) {
        assign_attribute(run, target, value);
    } else if (nlm_jinja_enter(run)) {
        assign_parts(run, target, value);
        nlm_jinja_exit(run);
    }
}

/* ---- blocks ------------------------------------------------------------------------------- */

/* The nodes in a scope of their own. */
static void exec_scoped(nlm_jinja_run *run, const nlm_jinja_node *first) {
    nlm_jinja_scope *outer = run->scope;
    nlm_jinja_scope *scope = nlm_jinja_alloc(run, 1, sizeof *scope); /* macros may keep it */
    if (!scope) return;
    nlm_jinja_push_scope(run, scope, outer);
    nlm_jinja_exec(run, first);
    run->scope = outer;
}

nlm_jinja_value nlm_jinja_capture(nlm_jinja_run *run, const nlm_jinja_node *first) {
    nlm_jinja_text text = {0}, *outer = run->out;
    run->out = &text;
    exec_scoped(run, first);
    run->out = outer;
    return nlm_jinja_finish(run, &text);
}

/* What the nodes print, through filters if there are any. */
static nlm_jinja_value capture_filtered(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value text = nlm_jinja_capture(run, node->list);
    if (!node->b) return text;
    const nlm_jinja_value outer = run->block;
    run->block = text;
    const nlm_jinja_value filtered = nlm_jinja_eval(run, node->b);
    run->block = outer;
    return filtered;
}

/* {% generation %}: what the model is to write. */
static void exec_generation(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const bool is_noted = run->generations && run->out == run->whole;
    const size_t from = run->out->length;
    exec_scoped(run, node->list);
    if (is_noted && run->out->length > from && !nlm_jinja_has_failed(run))
        nlm_jinja_note(run, run->generations, from, run->out->length);
}

static void exec_if(nlm_jinja_run *run, const nlm_jinja_node *node) {
    for (const nlm_jinja_node *branch = node->list; branch; branch = branch->next) {
        const bool is_taken = !branch->a || nlm_jinja_truth(run, nlm_jinja_eval(run, branch->a));
        if (nlm_jinja_has_failed(run)) return;
        if (!is_taken) continue;
        nlm_jinja_exec(run, branch->list);
        return;
    }
}

static void exec_with(nlm_jinja_run *run, const nlm_jinja_node *node) {
    nlm_jinja_scope *outer = run->scope;
    nlm_jinja_scope *scope = nlm_jinja_alloc(run, 1, sizeof *scope);
    if (!scope) return;
    *scope = (nlm_jinja_scope){.outer = outer};
    for (const nlm_jinja_node *set = node->a; set && !nlm_jinja_has_failed(run); set = set->next) {
        const nlm_jinja_value value = nlm_jinja_eval(run, set->b); /* which does not see the others */
        run->scope = scope;
        nlm_jinja_assign(run, set->a, value);
        run->scope = outer;
    }
    run->scope = scope;
    nlm_jinja_exec(run, node->list);
    run->scope = outer;
}

static nlm_jinja_value function_of(nlm_jinja_run *run, const nlm_jinja_node *node) {
    return nlm_jinja_function_new(run, (nlm_jinja_function){.name = node->name, .macro = node, .scope = run->scope});
}

/* The call sees the block as `caller`. */
static void exec_call_block(nlm_jinja_run *run, const nlm_jinja_node *node) {
    const nlm_jinja_value callee = nlm_jinja_eval(run, node->b->a);
    const nlm_jinja_args args = nlm_jinja_eval_args(run, node->b->list);
    nlm_jinja_named *named = nlm_jinja_alloc(run, args.n_named + 1, sizeof *named);
    if (!named) return;
    if (args.n_named) memcpy(named, args.named, args.n_named * sizeof *named);
    named[args.n_named] = (nlm_jinja_named){"caller", function_of(run, node)};
    const nlm_jinja_args all = {args.items, args.count, named, args.n_named + 1};
    nlm_jinja_print(run, run->out, nlm_jinja_call_value(run, callee, &all));
}

/* ---- loops -------------------------------------------------------------------------------- */

static nlm_jinja_value filter_items(nlm_jinja_run *run, const nlm_jinja_node *node, const nlm_jinja_sequence *items) {
    const nlm_jinja_value kept = nlm_jinja_sequence_new(run, NLM_JINJA_LIST);
    nlm_jinja_scope *outer = run->scope, scope;
    for (size_t i = 0; i < items->count && !nlm_jinja_has_failed(run); i++) {
        nlm_jinja_push_scope(run, &scope, outer);
        nlm_jinja_assign(run, node->a, items->items[i]);
        if (nlm_jinja_truth(run, nlm_jinja_eval(run, node->c))) nlm_jinja_push(run, kept, items->items[i]);
        run->scope = outer;
    }
    return kept;
}

static void exec_iteration(nlm_jinja_run *run, const nlm_jinja_node *node, nlm_jinja_loop *loop) {
    nlm_jinja_scope *scope = nlm_jinja_alloc(run, 1, sizeof *scope);
    if (!scope) return;
    nlm_jinja_push_scope(run, scope, loop->scope);
    nlm_jinja_set(run, "loop", (nlm_jinja_value){.type = NLM_JINJA_LOOP, .loop = loop});
    nlm_jinja_assign(run, node->a, loop->items->items[loop->at]);
    nlm_jinja_exec(run, node->list);
    run->scope = loop->scope;
}

void nlm_jinja_run_loop(nlm_jinja_run *run, const nlm_jinja_node *node, nlm_jinja_value value, unsigned depth) {
    const nlm_jinja_sequence *items = nlm_jinja_iterate(run, value);
    if (node->c) {
        const nlm_jinja_value kept = filter_items(run, node, items);
        if (kept.type != NLM_JINJA_SEQUENCE) return;
        items = kept.sequence;
    }
    nlm_jinja_loop *loop = nlm_jinja_alloc(run, 1, sizeof *loop);
    if (!loop) return;
    *loop = (nlm_jinja_loop){.items = items, .node = node, .scope = run->scope, .depth = depth};
    for (; loop->at < items->count && !nlm_jinja_has_failed(run); loop->at++) {
        exec_iteration(run, node, loop);
        const bool is_over = run->leave == NLM_JINJA_BREAK;
        run->leave = NLM_JINJA_STAY;
        if (is_over) break;
    }
    if (items->count == 0 && node->alternative) exec_scoped(run, node->alternative);
}

/* ---- all of them -------------------------------------------------------------------------- */

static void exec_one(nlm_jinja_run *run, const nlm_jinja_node *node) {
    switch (node->kind) {
        case NLM_JINJA_TEXT: nlm_jinja_add_string(run, run->out, node->value.string); break;
        case NLM_JINJA_PRINT: nlm_jinja_print(run, run->out, nlm_jinja_eval(run, node->a)); break;
        case NLM_JINJA_IF: exec_if(run, node); break;
        case NLM_JINJA_FOR: nlm_jinja_run_loop(run, node, nlm_jinja_eval(run, node->b), 0); break;
        case NLM_JINJA_SET: nlm_jinja_assign(run, node->a, nlm_jinja_eval(run, node->b)); break;
        case NLM_JINJA_SET_BLOCK: nlm_jinja_assign(run, node->a, capture_filtered(run, node)); break;
        case NLM_JINJA_MACRO: nlm_jinja_set(run, node->name, function_of(run, node)); break;
        case NLM_JINJA_CALL_BLOCK: exec_call_block(run, node); break;
        case NLM_JINJA_FILTER_BLOCK: nlm_jinja_print(run, run->out, capture_filtered(run, node)); break;
        case NLM_JINJA_WITH: exec_with(run, node); break;
        case NLM_JINJA_SCOPE: exec_generation(run, node); break;
        case NLM_JINJA_LEAVE: run->leave = node->op == NLM_JINJA_STAR ? NLM_JINJA_BREAK : NLM_JINJA_CONTINUE; break;
        default: nlm_jinja_fail(run, "this is no statement"); break;
    }
}

void nlm_jinja_exec(nlm_jinja_run *run, const nlm_jinja_node *first) {
    for (const nlm_jinja_node *node = first; node && run->leave == NLM_JINJA_STAY; node = node->next) {
        if (!nlm_jinja_enter(run)) return;
        run->line = node->line;
        exec_one(run, node);
        nlm_jinja_exit(run);
    }
}
