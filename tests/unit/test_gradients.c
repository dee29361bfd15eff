/* The oracle's backward ops against central differences of its forward ops, and its optimizer against the paper's
 * formulas. */
#include "unit/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "oracle/oracle.h"
#include "specs/spec.h"

/* Rows of nlm-conform: a backward op, and the forward op whose gradients it gives. d<field> of the first, if it is an
 * input, is the weight of the second's output <field> in the loss; if it is a result, the gradient by its input. */
typedef struct gradient_row {
    const char *backward, *forward;
} gradient_row;

static const gradient_row gradient_rows[] = {
    {"matmul_dx/M=1,N=1,K=1", "matmul/M=1,N=1,K=1"},
    {"matmul_dx/M=5,N=7,K=9", "matmul/M=5,N=7,K=9,bias"},
    {"matmul_dx/M=4,N=17,K=3,residual,pad=2,dy+3,dx+1", "matmul/M=4,N=17,K=3,pad=2,x+2"},
    {"matmul_dw/M=1,N=1,K=1,db", "matmul/M=1,N=1,K=1,bias"},
    {"matmul_dw/M=5,N=7,K=9", "matmul/M=5,N=7,K=9"},
    {"matmul_dw/M=11,N=3,K=4,db,accumulate,pad=2", "matmul/M=11,N=3,K=4,bias,pad=2"},
    {"rms_norm_bwd/R=1,N=2,w,dw", "rms_norm/R=1,N=2,w"},
    {"rms_norm_bwd/R=5,N=7,w,dw,pad=1", "rms_norm/R=5,N=7,w,pad=1"},
    {"rms_norm_bwd/R=5,N=7,w,dw,accumulate,residual,eps=0.1", "rms_norm/R=5,N=7,w,eps=0.1"},
    {"rms_norm_bwd/R=4,N=9", "rms_norm/R=4,N=9"},
    {"rms_norm_bwd/R=3,H=4,N=5,w,dw,x@3,dy@3,dx@3", "rms_norm/R=3,H=4,N=5,w,x@3,y@3"},
    {"silu_mul_bwd/R=1,N=1", "silu_mul/R=1,N=1"},
    {"silu_mul_bwd/R=5,N=7,pad=2", "silu_mul/R=5,N=7,pad=2"},
    {"silu_mul_bwd/R=4,N=9,data=wide", "silu_mul/R=4,N=9,data=wide"},
    {"embed_bwd/R=1,V=1,N=1", "embed/R=1,V=1,N=1"},
    {"embed_bwd/R=9,V=4,N=5,pad=1", "embed/R=9,V=4,N=5,pad=1"},
    {"cross_entropy/R=1,N=2,K=3,dx,dw", "cross_entropy/R=1,N=2,K=3"},
    {"cross_entropy/R=9,N=5,K=7,dx,dw,pad=1", "cross_entropy/R=9,N=5,K=7,pad=1"},
    {"cross_entropy/R=9,N=5,K=7,bias,dx,dw,db,accumulate", "cross_entropy/R=9,N=5,K=7,bias"},
    {"cross_entropy/R=6,N=9,K=4,bias,dx,dw,db,smoothing=0.1", "cross_entropy/R=6,N=9,K=4,bias,smoothing=0.1"},
    {"cross_entropy/R=6,N=9,K=4,dx,dw,z_loss=0.01", "cross_entropy/R=6,N=9,K=4,z_loss=0.01"},
    {"cross_entropy/R=7,N=11,K=4,bias,dx,dw,db,accumulate,smoothing=0.3,z_loss=0.1",
     "cross_entropy/R=7,N=11,K=4,bias,smoothing=0.3,z_loss=0.1"},
    {"attention_plain_bwd/seqs=5,H=1,G=1,D=1", "attention_plain/seqs=5,H=1,G=1,D=1,lse"},
    {"attention_plain_bwd/seqs=3+0+5,H=4,G=2,D=3,pad=1", "attention_plain/seqs=3+0+5,H=4,G=2,D=3,lse,pad=1"},
    {"attention_plain_bwd/seqs=9,H=2,G=1,D=4,window=3", "attention_plain/seqs=9,H=2,G=1,D=4,lse,window=3"},
    {"conv1d_causal_bwd/seqs=1,C=1,K=2,dstate", "conv1d_causal/seqs=1,past=0,C=1,K=2"},
    {"conv1d_causal_bwd/seqs=3+0+5+1,C=3,K=4,bias,db,silu,dstate_out,dstate",
     "conv1d_causal/seqs=3+0+5+1,past=0+0+0+0,C=3,K=4,bias,silu"},
    {"conv1d_causal_bwd/seqs=2,C=3,K=8,dstate_out,dstate,accumulate", "conv1d_causal/seqs=2,past=0,C=3,K=8"},
    {"ssm_scan_bwd/seqs=1,C=1,N=1,dstate", "ssm_scan/seqs=1,past=0,C=1,N=1"},
    {"ssm_scan_bwd/seqs=3+0+5+1,C=3,N=4,d,dd,z,dz,dstate_out,dstate",
     "ssm_scan/seqs=3+0+5+1,past=0+0+0+0,C=3,N=4,d,z"},
    {"ssm_scan_bwd/seqs=7,C=3,N=4,d,dd,accumulate", "ssm_scan/seqs=7,past=0,C=3,N=4,d"},
};

#define SEEDS     3
#define STEP      0x1p-12
#define TOLERANCE 1e-5 /* of the gradient's length */

/* ---- tensors of cases ------------------------------------------------------------------------- */

static bool build(const char *row, uint64_t seed, spec_instance *out) {
    nlm_error err = NLM_ERROR_INIT;
    spec_case c;
    const bool is_built = spec_parse(row, &c, &err) == NLM_OK && spec_build(&c, seed, out, &err) == NLM_OK;
    if (!is_built) printf("\n%s: %s\n", row, err.msg);
    CU_ASSERT_TRUE(is_built);
    return is_built;
}

static oracle_run compute(const spec_instance *in) {
    oracle_run run = {.op = in->c.op, .args = &in->args, .live_rows = in->live_rows, .live_seqs = in->c.n_seqs};
    CU_ASSERT_TRUE(oracle_compute(&run));
    return run;
}

static const oracle_result *result_of(const oracle_run *run, const spec_tensor *t) {
    for (int i = 0; t && i < run->n_results; i++) {
        if (run->results[i].tensor == &t->desc) return &run->results[i];
    }
    return NULL;
}

/* Where an element stands that may be written. */
static void *place_of(const nlm_tensor *t, int64_t number) {
    char *at = t->data;
    for (int d = t->rank - 1; d >= 0; d--) {
        at += number % t->shape[d] * t->stride_bytes[d];
        number /= t->shape[d];
    }
    return at;
}

static void put(const nlm_tensor *t, int64_t number, double value) {
    spec_store(t->dtype, place_of(t, number), value);
}

/* The tensor of that name behind a 'd': "dw" is of "w", "db" of "b" or "bias". */
static spec_tensor *without_d(spec_instance *in, const char *name) {
    if (name[0] != 'd') return NULL;
    spec_tensor *t = spec_find(in, name + 1);
    return t || strcmp(name, "db") != 0 ? t : spec_find(in, "bias");
}

static bool is_output(const spec_tensor *t) {
    return (t->field->use & NLM_FIELD_OUT) != 0;
}

/* The backward op sees the inputs of the forward one, and those of its outputs that it asks for. */
static void hand_over(spec_instance *forward, spec_instance *backward) {
    oracle_run run = compute(forward);
    for (int i = 0; i < backward->n_tensors; i++) {
        const spec_tensor *to = &backward->tensors[i], *from = spec_find(forward, to->field->name);
        if (!from || to->is_written) continue;
        const oracle_result *made = is_output(from) ? result_of(&run, from) : NULL;
        for (int64_t e = 0; e < oracle_count(&to->desc); e++)
            put(&to->desc, e, made ? made->value[e] : oracle_element(&from->desc, e));
    }
    oracle_release(&run);
}

/* ---- differences ------------------------------------------------------------------------------ */

/* The sum of the forward op's outputs, each with its weight; of cross_entropy, its losses. */
static double loss_of(const spec_instance *forward, spec_instance *backward) {
    oracle_run run = compute(forward);
    double loss = 0;
    for (int i = 0; i < run.n_results; i++) {
        const oracle_result *result = &run.results[i];
        const spec_tensor *weights = NULL;
        for (int j = 0; j < backward->n_tensors; j++) {
            const spec_tensor *t = &backward->tensors[j];
            const spec_tensor *of = t->is_written ? NULL : without_d((spec_instance *)forward, t->field->name);
            if (of && &of->desc == result->tensor) weights = t;
        }
        if (!weights && backward->c.op != forward->c.op) continue;
        for (int64_t e = 0; e < result->count; e++) {
            if (result->scale[e] < 0) continue;
            loss += result->value[e] * (weights ? oracle_element(&weights->desc, e) : 1);
        }
    }
    oracle_release(&run);
    return loss;
}

static double difference(spec_instance *forward, spec_instance *backward, const nlm_tensor *input, int64_t e) {
    const double at = oracle_element(input, e);
    put(input, e, at + STEP);
    const double above = oracle_element(input, e), loss_above = loss_of(forward, backward);
    put(input, e, at - STEP);
    const double below = oracle_element(input, e), loss_below = loss_of(forward, backward);
    put(input, e, at);
    return (loss_above - loss_below) / (above - below);
}

/* A state's slots that no sequence of the batch has stay as they are. */
static bool is_in_batch(spec_instance *in, const spec_tensor *t, int64_t e) {
    const spec_tensor *slot = spec_find(in, "slot");
    if (!slot || t->field->shape[0] != 'L') return true;
    const int64_t own = e / (oracle_count(&t->desc) / t->desc.shape[0]);
    for (int s = 0; s < in->c.n_seqs; s++) {
        if ((int64_t)oracle_element(&slot->desc, s) == own) return true;
    }
    return false;
}

/* What the op itself says of one element: less what was there before, and what it passes on. */
static double own_gradient(spec_instance *backward, const spec_tensor *t, const oracle_result *result, int64_t e) {
    const spec_tensor *residual = strcmp(t->field->name, "dx") == 0 ? spec_find(backward, "residual") : NULL;
    const bool is_added = !is_output(t) || (t->is_sum && (backward->args.head.flags & NLM_GRADIENT_ADD));
    return result->value[e] - (is_added ? oracle_element(&t->desc, e) : 0) -
           (residual ? oracle_element(&residual->desc, e) : 0);
}

static void check_field(spec_instance *forward, spec_instance *backward, const spec_tensor *t,
                        const oracle_result *result, const nlm_tensor *input) {
    double squares = 0, squared_error = 0;
    CU_ASSERT_EQUAL_FATAL(oracle_count(input), result->count);
    for (int64_t e = 0; e < result->count; e++) {
        if (result->scale[e] < 0 || !is_in_batch(backward, t, e)) continue;
        const double gradient = own_gradient(backward, t, result, e);
        const double expected = difference(forward, backward, input, e);
        squares += gradient * gradient;
        squared_error += (gradient - expected) * (gradient - expected);
    }
    const bool is_near = squares > 0 && squared_error <= TOLERANCE * TOLERANCE * squares;
    if (!is_near)
        printf("\n%s: %s is %.3g from the differences, of %.3g\n", backward->c.name, t->field->name,
               sqrt(squared_error), sqrt(squares));
    CU_ASSERT_TRUE(is_near);
}

/* Returns how many gradients were compared. */
static int check_row(const gradient_row *row, uint64_t seed) {
    spec_instance forward, backward;
    int n_compared = 0;
    if (!build(row->forward, seed, &forward)) return 0;
    if (build(row->backward, seed, &backward)) {
        hand_over(&forward, &backward);
        oracle_run run = compute(&backward);
        for (int i = 0; i < backward.n_tensors; i++) {
            const spec_tensor *t = &backward.tensors[i], *of = without_d(&forward, t->field->name);
            const oracle_result *result = t->is_written ? result_of(&run, t) : NULL;
            if (!result || !of) continue;
            check_field(&forward, &backward, t, result, &of->desc);
            n_compared++;
        }
        oracle_release(&run);
        spec_release(&backward);
    }
    spec_release(&forward);
    return n_compared;
}

static void gradients_are_those_of_the_forward_ops(void) {
    for (size_t i = 0; i < sizeof gradient_rows / sizeof *gradient_rows; i++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            const int n_compared = check_row(&gradient_rows[i], seed);
            if (!n_compared) printf("\n%s: no gradient was compared\n", gradient_rows[i].backward);
            CU_ASSERT_TRUE(n_compared > 0);
        }
    }
}

/* ---- ops that are gradients under other names ------------------------------------------------- */

/* add and mul are linear in the row b: the difference of a whole step is the gradient. `row` is of sum_rows, whose a
 * is the gradient that comes in and whose b what mul multiplies. */
static void check_row_of(const char *forward_row, const char *row) {
    spec_instance forward, sums;
    if (!build(forward_row, 1, &forward)) return;
    if (build(row, 1, &sums)) {
        const nlm_tensor *b = &spec_find(&forward, "b")->desc, *dy = &spec_find(&sums, "a")->desc;
        const spec_tensor *factor = spec_find(&sums, "b"), *a = spec_find(&forward, "a");
        for (int64_t e = 0; factor && e < oracle_count(&a->desc); e++)
            put(&factor->desc, e, oracle_element(&a->desc, e));
        oracle_run of_sums = compute(&sums), before = compute(&forward);
        for (int64_t n = 0; n < b->shape[0]; n++) put(b, n, oracle_element(b, n) + 1);
        oracle_run after = compute(&forward);
        for (int64_t n = 0; n < b->shape[0]; n++) {
            double expected = 0;
            for (int64_t e = n; e < before.results[0].count; e += b->shape[0])
                expected += oracle_element(dy, e) * (after.results[0].value[e] - before.results[0].value[e]);
            CU_ASSERT_DOUBLE_EQUAL(of_sums.results[0].value[n], expected, 1e-5);
        }
        oracle_release(&after);
        oracle_release(&before);
        oracle_release(&of_sums);
        spec_release(&sums);
    }
    spec_release(&forward);
}

static void sum_rows_is_the_gradient_by_a_row_that_stands_for_all(void) {
    check_row_of("add/R=6,N=5,b@1", "sum_rows/R=6,N=5");
    check_row_of("mul/R=6,N=5,b@1", "sum_rows/R=6,N=5,b");
}

static void exp_is_its_own_gradient(void) {
    spec_instance in;
    if (!build("exp/R=3,N=5,factor=-0.7", 1, &in)) return;
    const nlm_tensor *x = &spec_find(&in, "x")->desc;
    oracle_run run = compute(&in);
    for (int64_t e = 0; e < run.results[0].count; e++) {
        const double expected = difference(&in, &in, x, e), y = run.results[0].value[e];
        CU_ASSERT_DOUBLE_EQUAL(y, expected, TOLERANCE * fabs(y));
    }
    oracle_release(&run);
    spec_release(&in);
}

/* ---- values known without the oracle ------------------------------------------------------------ */

/* With x = 0 all classes are equally likely, whatever the weights. */
static void the_loss_of_equal_logits_is_the_logarithm_of_their_number(void) {
    spec_instance in;
    if (!build("cross_entropy/R=8,N=11,K=4,smoothing=0.2,z_loss=0.5", 1, &in)) return;
    const nlm_tensor *x = &spec_find(&in, "x")->desc, *labels = &spec_find(&in, "labels")->desc;
    for (int64_t e = 0; e < oracle_count(x); e++) put(x, e, 0);
    oracle_run run = compute(&in);
    int64_t n_counted = 0;
    for (int64_t r = 0; r < 8; r++) {
        const bool is_counted = oracle_element(labels, r) >= 0;
        const double expected = is_counted ? log(11) + 0.5 * log(11) * log(11) : 0;
        CU_ASSERT_DOUBLE_EQUAL(run.results[0].value[r], expected, 1e-7);
        n_counted += is_counted;
    }
    CU_ASSERT_TRUE(n_counted > 0 && n_counted < 8);
    oracle_release(&run);
    spec_release(&in);
}

/* One weight and its moments as Loshchilov & Hutter 2019, algorithm 2, have them; the schedule is 1. */
typedef struct optimizer {
    double w, m, v;
} optimizer;

static void step_as_in_the_paper(optimizer *o, const nlm_adamw_args *a, double rate, double g, int t) {
    const double beta1 = (double)a->beta1, beta2 = (double)a->beta2;
    o->m = beta1 * o->m + (1 - beta1) * g;
    o->v = beta2 * o->v + (1 - beta2) * g * g;
    const double m_hat = o->m / (1 - pow(beta1, t)), v_hat = o->v / (1 - pow(beta2, t));
    o->w -= rate * m_hat / (sqrt(v_hat) + (double)a->eps) + rate * (double)a->weight_decay * o->w;
}

static void check_steps(const char *row) {
    enum { COUNT = 6, STEPS = 5 };
    spec_instance in;
    optimizer expected[COUNT];
    if (!build(row, 1, &in)) return;
    const nlm_adamw_args *a = &in.args.adamw;
    const nlm_tensor *const weights = a->master ? a->master : a->w;
    for (int64_t e = 0; e < COUNT; e++) {
        put(a->m, e, 0);
        put(a->v, e, 0);
        expected[e] = (optimizer){.w = oracle_element(weights, e)};
    }
    for (int t = 1; t <= STEPS; t++) {
        const double rates[] = {0.01 * t, 0.5, 1 - pow((double)a->beta1, t), 1 - pow((double)a->beta2, t)};
        for (int i = 0; i < 4; i++) put(a->rates, i, rates[i]);
        for (int64_t e = 0; e < COUNT; e++) {
            put(a->dw, e, sin((double)(3 * e + t)));
            step_as_in_the_paper(&expected[e], a, oracle_element(a->rates, 0), 0.5 * oracle_element(a->dw, e), t);
        }
        oracle_run run = compute(&in);
        for (int i = 0; i < run.n_results; i++) {
            for (int64_t e = 0; e < COUNT; e++) put(run.results[i].tensor, e, run.results[i].value[e]);
        }
        oracle_release(&run);
        for (int64_t e = 0; e < COUNT; e++) {
            CU_ASSERT_DOUBLE_EQUAL(oracle_element(weights, e), expected[e].w, 1e-6);
            CU_ASSERT_DOUBLE_EQUAL(oracle_element(a->w, e), expected[e].w, a->w->dtype == NLM_F32 ? 1e-6 : 0.02);
            CU_ASSERT_DOUBLE_EQUAL(oracle_element(a->m, e), expected[e].m, 1e-6);
            CU_ASSERT_DOUBLE_EQUAL(oracle_element(a->v, e), expected[e].v, 1e-6);
            CU_ASSERT_EQUAL(oracle_element(a->dw, e), 0);
        }
    }
    spec_release(&in);
}

static void steps_of_the_optimizer_are_those_of_the_paper(void) {
    check_steps("adamw/R=2,N=3,weight_decay=0.1");
    check_steps("adamw/N=6,w@1,dw@1,m@1,v@1,beta1=0.8,beta2=0.95,eps=1e-3,weight_decay=0");
    check_steps("adamw/R=2,N=3,master,w:bf16,weight_decay=0.3");
}

static const check_case cases[] = {
    CHECK_CASE(gradients_are_those_of_the_forward_ops),
    CHECK_CASE(sum_rows_is_the_gradient_by_a_row_that_stands_for_all),
    CHECK_CASE(exp_is_its_own_gradient),
    CHECK_CASE(the_loss_of_equal_logits_is_the_logarithm_of_their_number),
    CHECK_CASE(steps_of_the_optimizer_are_those_of_the_paper),
};
CHECK_MAIN("gradients", cases)
