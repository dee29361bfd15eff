/* What the rules of autodiff (backward_rules.c) work with: gradients of values, and forward values to read. */
#ifndef NLM_GRAPH_AUTODIFF_H
#define NLM_GRAPH_AUTODIFF_H

#include "graph/graph_impl.h"

typedef struct nlm_autodiff nlm_autodiff;

/* Emits the ops of one node's backward. */
typedef void (*nlm_backward_rule)(nlm_autodiff *a, const nlm_node *node);
/* NULL: the op has none. */
nlm_backward_rule nlm_backward_rule_of(nlm_op op);

nlm_graph *nlm_autodiff_graph(const nlm_autodiff *a);
/* Of the node's field of that name: the value. NLM_NO_VALUE if it has none. */
nlm_value nlm_autodiff_field(const nlm_node *node, const char *field);

/* Does the loss depend on the value through something that is trained or asked for? */
bool nlm_autodiff_needs(const nlm_autodiff *a, nlm_value value);
/* The gradient of a result, complete as all ops that read it stand behind its own; NLM_NO_VALUE: none. */
nlm_value nlm_autodiff_of(nlm_autodiff *a, nlm_value result);
/* A forward value as a backward op is to read it: itself, or computed again. */
nlm_value nlm_autodiff_read(nlm_autodiff *a, nlm_value value);
/* The memory of a parameter's gradient, to which an op may add; NLM_NO_VALUE: no parameter. */
nlm_value nlm_autodiff_sum_of(nlm_autodiff *a, nlm_value value);

/* For the OUT field of an op that computes a share of the value's gradient: NLM_VALUE_NEW, or the columns of a larger
 * value's that nothing has written yet; NLM_NO_VALUE where none is needed. */
nlm_value nlm_autodiff_place(nlm_autodiff *a, nlm_value value);
/* What is known of the value's gradient so far and the op will add to, in its place; NLM_NO_VALUE: nothing. */
nlm_value nlm_autodiff_take(nlm_autodiff *a, nlm_value value);
/* Adds a share of the value's gradient, which has its shape; none is needed: nothing. */
void nlm_autodiff_give(nlm_autodiff *a, nlm_value value, nlm_value gradient);

/* Fails the graph: the op has no backward in this use. */
void nlm_autodiff_refuse(nlm_autodiff *a, const nlm_node *node, const char *why);

#endif
