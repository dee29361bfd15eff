/* Whether a result is near enough to its reference. */
#include <math.h>
#include <stdio.h>

#include "conform.h"
#include "oracle/oracle.h"

/* Sums over one result. */
typedef struct tally {
    double worst; /* error over bound */
    int64_t worst_at;
    double squared_error, squared_value, squared_scale;
    int64_t n_loose; /* elements that need not be exact */
} tally;

static void count_element(const oracle_result *expected, const nlm_tensor *got, int64_t i, tally *sums) {
    const double value = oracle_element(got, i), wanted = expected->value[i], scale = expected->scale[i];
    double error = fabs(value - wanted);
    if (scale < 0) return;
    /* Activations made integers have no infinity: they may come out as NaN. */
    const bool may_be_nan = isnan(wanted) || (isinf(wanted) && expected->rounding > 0);
    if (value == wanted || (isnan(value) && may_be_nan)) error = 0;
    const double bound = expected->is_absolute ? scale : oracle_bound(scale, expected->rounding, expected->terms);
    double part = error == 0 ? 0 : error / bound; /* a bound of 0 gives infinity */
    if (isnan(part)) part = INFINITY;
    if (part > sums->worst) {
        sums->worst = part;
        sums->worst_at = i;
    }
    if (scale == 0) return;
    sums->n_loose++;
    sums->squared_error += error * error;
    sums->squared_value += wanted * wanted;
    sums->squared_scale += scale * scale;
}

/* An element's index for people: "[2, 0, 17]". */
static const char *index_text(const nlm_tensor *t, int64_t number, char *out, size_t bytes) {
    int64_t index[NLM_MAX_RANK];
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = number % t->shape[d];
        number /= t->shape[d];
    }
    size_t used = 0;
    for (int d = 0; d < t->rank && used < bytes; d++) {
        used += (size_t)snprintf(out + used, bytes - used, "%s%lld", d ? ", " : "[", (long long)index[d]);
    }
    if (used < bytes) snprintf(out + used, bytes - used, "]");
    return out;
}

/* The squared error that is allowed, relative to the power of the values. A sum of `terms` products of
 * magnitude `scale` in all has at least the power scale^2 / terms, even if this one came out near zero. */
static double nmse_bound(const oracle_result *r) {
    const double f32 = 16 * 0x1p-24;
    return 6 * r->rounding * r->rounding + f32 * f32 * (1 + (double)r->terms / 64);
}

static bool judge_result(const spec_tensor *t, const oracle_result *expected, const nlm_tensor *got,
                         conform_result *result) {
    tally sums = {0};
    char where[64];
    for (int64_t i = 0; i < expected->count; i++) count_element(expected, got, i, &sums);
    result->error = fmax(result->error, sums.worst);
    if (sums.worst > 1) {
        return conform_fail(result, "%s%s is %.9g, expected %.9g (error %.3g times what is allowed)", t->field->name,
                            index_text(got, sums.worst_at, where, sizeof where), oracle_element(got, sums.worst_at),
                            expected->value[sums.worst_at], sums.worst);
    }
    if (sums.n_loose == 0 || expected->is_absolute) return true;
    const double terms = expected->terms > 1 ? (double)expected->terms : 1;
    const double power = fmax(sums.squared_value, sums.squared_scale / terms);
    const double nmse = power > 0 ? sums.squared_error / power : 0;
    result->nmse = fmax(result->nmse, nmse);
    if (nmse <= nmse_bound(expected)) return true;
    return conform_fail(result, "%s: NMSE %.3g, at most %.3g is allowed", t->field->name, nmse, nmse_bound(expected));
}

bool conform_judge(spec_instance *in, const conform_images *images, oracle_activations activations,
                   conform_result *result) {
    oracle_run run = {.op = in->c.op,
                      .args = &in->args,
                      .live_rows = in->live_rows,
                      .live_seqs = in->c.n_seqs,
                      .activations = activations};
    bool is_right = oracle_compute(&run) || conform_fail(result, "no memory for the reference");
    for (int i = 0; is_right && i < run.n_results; i++) {
        for (int j = 0; j < in->n_tensors; j++) {
            const spec_tensor *t = &in->tensors[j];
            if (run.results[i].tensor != &t->desc) continue;
            nlm_tensor got = t->desc;
            got.data = images->data[t->shares >= 0 ? t->shares : j];
            is_right = is_right && judge_result(t, &run.results[i], &got, result);
        }
    }
    oracle_release(&run);
    return is_right;
}
