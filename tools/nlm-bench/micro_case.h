/* One case of a sweep: a program of one op with its weights, states and inputs. */
#ifndef NLM_BENCH_MICRO_CASE_H
#define NLM_BENCH_MICRO_CASE_H

#include "base/file.h"
#include "graph/graph.h"
#include "session/engine.h"

#define MICRO_WEIGHTS 2

typedef struct micro_case {
    nlm_engine *engine; /* borrowed */
    nlm_graph *graph;
    nlm_program *program;
    nlm_weight weights[MICRO_WEIGHTS];
    nlm_file_map maps[MICRO_WEIGHTS]; /* of the weights' sources */
    size_t n_weights;
    nlm_state states[2];
    size_t n_states;
    double bytes, flop; /* of one run: weights, cache or states; multiplications and additions */
} micro_case;

/* Each opens a zeroed case, to be closed also after a failure.
 * Errors   as nlm_graph_plan. */

/* [m, k] x [n, k]^T, the weight of `dtype`. */
nlm_status micro_open_matmul(micro_case *c, nlm_dtype dtype, int64_t m, int64_t n, int64_t k, nlm_error *err);
/* `tokens` queries at the end of `context` positions, heads of MICRO_HEAD_DIM elements. */
typedef struct micro_attention {
    int64_t heads, heads_kv, tokens, context;
    nlm_dtype kv_type;
} micro_attention;
double micro_attention_bytes(const micro_attention *shape); /* of its cache */
nlm_status micro_open_attention(micro_case *c, const micro_attention *shape, nlm_error *err);
/* A layer of mamba_130m: 1536 channels, 16 states. */
nlm_status micro_open_scan(micro_case *c, int64_t tokens, nlm_error *err);
void micro_close(micro_case *c);

enum { MICRO_HEAD_DIM = 64, MICRO_CHANNELS = 1536, MICRO_STATES = 16 };

#endif
