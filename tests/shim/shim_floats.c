/* Floats of a shim: what is loaded and stored, arithmetic at the edges, sums over lanes, and what simd.h adds. */
#include "shim_check.h"

/* Zeros, the least and greatest of each kind, infinities, NaNs, and values halfway between others. */
static const uint32_t edges[] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000, 0x80800000, 0x3f800000,
    0xbf800000, 0x3f000000, 0xbf000000, 0x3effffff, 0x3f000001, 0x3fc00000, 0xbfc00000, 0x40200000, 0xc0200000,
    0x40600000, 0x4affffff, 0x4b000001, 0xcb7fffff, 0x42fe0000, 0x42ff0000, 0xc3000000, 0xc3008000, 0x3f802000,
    0x3f801000, 0x3f803000, 0x33000000, 0x33800000, 0x477fefff, 0x477ff000, 0x4effffff, 0x4f000000, 0xcf000000,
    0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7fc12345,
};
enum { N_EDGES = sizeof edges / sizeof *edges };

/* Lane by lane the edges from number `first` on. */
static void edge_lanes(int first, float *out) {
    for (int i = 0; i < V_LANES; i++) out[i] = float_of(edges[(first + i) % N_EDGES]);
}

static const float *lanes_of(vf a) {
    float *room = shim_room(sizeof(float) * V_LANES);
    vf_store(room, a);
    return room;
}

static void random_floats(float *out, int n, uint64_t seed) {
    fill_random(out, (size_t)n * sizeof *out, seed);
    for (int i = 0; i < n; i++) out[i] = float_of((bits_of(out[i]) & 0x87ffffff) | 0x38000000); /* 2^-15 to 2^0 */
}

/* ---- memory ------------------------------------------------------------------------------------ */

static void loads_and_stores_touch_their_lanes_alone(void) {
    float x[V_LANES], all[V_LANES + 1];
    edge_lanes(2, x);
    for (int n = 0; n <= V_LANES; n++) {
        const float *got = lanes_of(vf_load_n(shim_at_end(x, (size_t)n * sizeof *x), n));
        for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load_n", i, got[i], i < n ? x[i] : 0);
        float *room = shim_room((size_t)n * sizeof *x);
        vf_store_n(room, vf_load(x), n);
        for (int i = 0; i < n; i++) EXPECT_FLOAT("vf_store_n", i, room[i], x[i]);
        for (int i = 0; i <= V_LANES; i++) all[i] = 42;
        vf_store_n(all, vf_load(x), n);
        for (int i = n; i <= V_LANES; i++) EXPECT_FLOAT("vf_store_n, past n", i, all[i], 42);
    }
    const float *got = lanes_of(vf_load(shim_at_end(x, sizeof x)));
    for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load", i, got[i], x[i]);
    got = lanes_of(vf_zero());
    for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_zero", i, got[i], 0);
    got = lanes_of(vf_set1(-2.5f));
    for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_set1", i, got[i], -2.5f);
}

static float value_of_half(uint32_t half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double magnitude = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                             : exponent == 0 ? ldexp(fraction, -24)
                                             : ldexp(1024 + fraction, exponent - 25);
    return (float)(half & 0x8000 ? -magnitude : magnitude);
}

static void halves_are_loaded_exactly(void) {
    for (uint32_t first = 0; first < 0x10000; first += V_LANES) {
        uint16_t in[V_LANES];
        for (uint32_t i = 0; i < V_LANES; i++) in[i] = (uint16_t)(first + i);
        const float *got = lanes_of(vf_load_f16(shim_at_end(in, sizeof in)));
        for (uint32_t i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load_f16", i, got[i], value_of_half(first + i));
        got = lanes_of(vf_load_bf16(shim_at_end(in, sizeof in)));
        for (uint32_t i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load_bf16", i, got[i], float_of((first + i) << 16));
    }
}

/* The half that vf_store_f16 makes of x. */
static uint16_t stored_half(float x) {
    uint16_t *room = shim_room(sizeof(uint16_t) * V_LANES);
    vf_store_f16(room, vf_set1(x));
    for (int i = 1; i < V_LANES; i++) CU_ASSERT_EQUAL(room[i], room[0]);
    return room[0];
}

/* Each half comes back, and what lies between two goes to the nearer, from halfway to the even one. */
static void halves_are_stored_to_nearest_even(void) {
    for (uint32_t half = 0; half < 0x7c00; half++) {
        const float low = value_of_half(half);
        const float high = half == 0x7bff ? 65536.0f : value_of_half(half + 1), middle = (low + high) / 2;
        EXPECT_INT("a half", half, stored_half(low), half);
        EXPECT_INT("minus a half", half, stored_half(-low), half | 0x8000);
        EXPECT_INT("below the middle", half, stored_half(nextafterf(middle, 0)), half);
        EXPECT_INT("the middle", half, stored_half(middle), half + (half & 1));
        EXPECT_INT("above the middle", half, stored_half(nextafterf(middle, high)), half + 1);
    }
    for (int i = 0; i < N_EDGES; i++) {
        const float x = float_of(edges[i]);
        const uint16_t half = stored_half(x);
        if (isnan(x)) CU_ASSERT((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0);
        if (fabsf(x) >= 65520) CU_ASSERT_EQUAL(half, x < 0 ? 0xfc00 : 0x7c00);
        if (fabsf(x) <= 0x1p-25f) CU_ASSERT_EQUAL(half, signbit(x) ? 0x8000 : 0);
    }
}

static void bytes_become_floats_and_back(void) {
    for (int first = 0; first < 256; first += V_LANES) {
        uint8_t in[V_LANES];
        for (int i = 0; i < V_LANES; i++) in[i] = (uint8_t)(first + i);
        const float *got = lanes_of(vf_load_u8(shim_at_end(in, sizeof in)));
        for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load_u8", i, got[i], (float)in[i]);
        got = lanes_of(vf_load_i8(shim_at_end(in, sizeof in)));
        for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_load_i8", i, got[i], (float)(int8_t)in[i]);
    }
    for (float first = -128; first <= 127; first += 0.25f * V_LANES) {
        float x[V_LANES];
        for (int i = 0; i < V_LANES; i++) x[i] = fminf(first + 0.25f * (float)i, 127);
        int8_t *room = shim_room(V_LANES);
        vf_store_i8(room, vf_load(x));
        for (int i = 0; i < V_LANES; i++) EXPECT_INT("vf_store_i8", i, room[i], (int64_t)nearest_even((double)x[i]));
    }
}

/* ---- lane by lane ------------------------------------------------------------------------------- */

static float add(float a, float b) {
    return a + b;
}
static float sub(float a, float b) {
    return a - b;
}
static float mul(float a, float b) {
    return a * b;
}
static float divide(float a, float b) {
    return a / b;
}
/* The second where one is NaN; of two zeros the second too. */
static float greater(float a, float b) {
    return isgreater(a, b) ? a : b;
}
static float lesser(float a, float b) {
    return isless(a, b) ? a : b;
}

static const struct {
    const char *name;
    vf (*run)(vf a, vf b);
    float (*means)(float a, float b);
} of_two[] = {
    {"vf_add", vf_add, add},    {"vf_sub", vf_sub, sub},     {"vf_mul", vf_mul, mul},
    {"vf_div", vf_div, divide}, {"vf_max", vf_max, greater}, {"vf_min", vf_min, lesser},
};

static void arithmetic_is_that_of_scalars(void) {
    float a[V_LANES], b[V_LANES];
    for (size_t f = 0; f < sizeof of_two / sizeof *of_two; f++) {
        for (int i = 0; i < N_EDGES; i++) {
            for (int j = 0; j < N_EDGES; j++) {
                edge_lanes(i, a);
                edge_lanes(j, b);
                const float *got = lanes_of(of_two[f].run(vf_load(a), vf_load(b)));
                for (int l = 0; l < V_LANES; l++)
                    EXPECT_FLOAT(of_two[f].name, l, got[l], of_two[f].means(a[l], b[l]));
            }
        }
    }
}

static float minus(float a) {
    return float_of(bits_of(a) ^ 0x80000000);
}
static float magnitude(float a) {
    return float_of(bits_of(a) & 0x7fffffff);
}
static float root(float a) {
    return (float)sqrt((double)a); /* two roundings give what one does: 53 bits are more than twice 24 and 2 */
}
static float whole(float a) {
    return isfinite(a) ? (float)nearest_even((double)a) : a;
}

static const struct {
    const char *name;
    vf (*run)(vf a);
    float (*means)(float a);
} of_one[] = {{"vf_neg", vf_neg, minus},
              {"vf_abs", vf_abs, magnitude},
              {"vf_sqrt", vf_sqrt, root},
              {"vf_round", vf_round, whole}};

static void functions_of_one_are_those_of_scalars(void) {
    float a[V_LANES];
    for (size_t f = 0; f < sizeof of_one / sizeof *of_one; f++) {
        for (int i = 0; i < N_EDGES; i++) {
            edge_lanes(i, a);
            const float *got = lanes_of(of_one[f].run(vf_load(a)));
            for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT(of_one[f].name, l, got[l], of_one[f].means(a[l]));
        }
    }
}

static void neighbours_change_places(void) {
    float a[V_LANES];
    for (int i = 0; i < N_EDGES; i++) {
        edge_lanes(i, a);
        const float *got = lanes_of(vf_swap_pairs(vf_load(a)));
        for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT("vf_swap_pairs", l, got[l], a[l ^ 1]);
    }
}

static void a_multiply_add_rounds_once(void) {
    float a[V_LANES], b[V_LANES], c[V_LANES];
    const float above_one = 1 + 0x1p-12f;
    const float *got = lanes_of(vf_fma(vf_set1(above_one), vf_set1(above_one), vf_set1(-1 - 0x1p-11f)));
    for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT("vf_fma, one rounding", l, got[l], 0x1p-24f);
    for (int i = 0; i < N_EDGES; i++) {
        for (int j = 0; j < N_EDGES; j++) {
            edge_lanes(i, a);
            edge_lanes(j, b);
            edge_lanes(i * 7 + j * 3, c);
            got = lanes_of(vf_fma(vf_load(a), vf_load(b), vf_load(c)));
            for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT("vf_fma", l, got[l], fmaf(a[l], b[l], c[l]));
            got = lanes_of(vf_accumulate(vf_load(c), vf_load(a), vf_load(b)));
            for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT("vf_accumulate", l, got[l], fmaf(a[l], b[l], c[l]));
        }
    }
}

static void powers_of_two_scale_exactly(void) {
    float a[V_LANES];
    random_floats(a, V_LANES, 1);
    for (int n = -110; n <= 127; n++) {
        const float *got = lanes_of(vf_scale2(vf_load(a), vf_set1((float)n)));
        for (int l = 0; l < V_LANES; l++) EXPECT_FLOAT("vf_scale2", l, got[l], ldexpf(a[l], n));
    }
}

static void what_is_below_a_limit_becomes_zero(void) {
    float x[V_LANES], limit[V_LANES];
    for (int i = 0; i < N_EDGES; i++) {
        for (int j = 0; j < N_EDGES; j++) {
            edge_lanes(i, x);
            edge_lanes(j, limit);
            const float *got = lanes_of(vf_unless_lt(vf_set1(-3), vf_load(x), vf_load(limit)));
            for (int l = 0; l < V_LANES; l++)
                EXPECT_FLOAT("vf_unless_lt", l, got[l], isless(x[l], limit[l]) ? 0.0f : -3.0f);
        }
    }
}

/* ---- over lanes ---------------------------------------------------------------------------------- */

/* The upper half is added to the lower until one lane is left. */
static float folded_sum(const float *x) {
    float part[V_LANES];
    memcpy(part, x, sizeof part);
    for (int n = V_LANES / 2; n > 0; n /= 2) {
        for (int i = 0; i < n; i++) part[i] = part[i] + part[n + i];
    }
    return part[0];
}

static void sums_over_lanes_have_their_order(void) {
    float x[V_LANES];
    for (uint64_t seed = 0; seed < 1000; seed++) {
        random_floats(x, V_LANES, seed);
        EXPECT_FLOAT("vf_sum", seed, vf_sum(vf_load(x)), folded_sum(x));
    }
}

static void the_greatest_is_found_in_every_lane(void) {
    float x[V_LANES];
    for (int at = 0; at < V_LANES; at++) {
        random_floats(x, V_LANES, 5);
        x[at] = 7;
        EXPECT_FLOAT("vf_hmax", at, vf_hmax(vf_load(x)), 7);
        for (int i = 0; i < V_LANES; i++) x[i] = -INFINITY;
        EXPECT_FLOAT("vf_hmax of -inf", at, vf_hmax(vf_load(x)), -INFINITY);
        x[at] = -3e38f;
        EXPECT_FLOAT("vf_hmax beside -inf", at, vf_hmax(vf_load(x)), -3e38f);
    }
}

/* Magnitudes as their bits are ordered: NaN above infinity. */
static void magnitudes_put_nan_above_all(void) {
    float a[V_LANES], b[V_LANES];
    for (int i = 0; i < N_EDGES; i++) {
        uint32_t most = 0;
        for (int j = 0; j < N_EDGES; j++) {
            edge_lanes(i, a);
            edge_lanes(j, b);
            const float *got = lanes_of(vf_max_magnitude(vf_abs(vf_load(a)), vf_abs(vf_load(b))));
            for (int l = 0; l < V_LANES; l++) {
                const uint32_t x = bits_of(magnitude(a[l])), y = bits_of(magnitude(b[l]));
                EXPECT_INT("vf_max_magnitude", l, bits_of(got[l]), x > y ? x : y);
            }
        }
        for (int l = 0; l < V_LANES; l++) most = bits_of(magnitude(a[l])) > most ? bits_of(magnitude(a[l])) : most;
        EXPECT_INT("vf_hmax_magnitude", i, bits_of(vf_hmax_magnitude(vf_abs(vf_load(a)))), most);
    }
}

/* ---- what simd.h adds ----------------------------------------------------------------------------- */

static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}
static double silu(double x) {
    return x / (1 + exp(-x));
}

static const struct {
    const char *name;
    vf (*run)(vf x);
    double (*means)(double x);
    float from, to, error; /* relative */
} curves[] = {
    {"vf_exp2", vf_exp2, exp2, -125, 126, 2e-7f},
    {"vf_exp", vf_exp, exp, -87, 87, 3e-7f},
    {"vf_softplus", vf_softplus, softplus, -86, 86, 5e-7f},
    {"vf_silu", vf_silu, silu, -86, 86, 5e-7f},
};

static void curves_keep_their_error(void) {
    for (size_t f = 0; f < sizeof curves / sizeof *curves; f++) {
        const float step = (curves[f].to - curves[f].from) / 4099;
        for (float x = curves[f].from; x < curves[f].to; x += step) {
            const double wanted = curves[f].means((double)x);
            const double error = fabs((double)lanes_of(curves[f].run(vf_set1(x)))[V_LANES - 1] - wanted);
            if (error > (double)curves[f].error * fabs(wanted))
                printf("%s(%a): error %g\n", curves[f].name, (double)x, error);
            CU_ASSERT(error <= (double)curves[f].error * fabs(wanted));
        }
        CU_ASSERT(isnan(lanes_of(curves[f].run(vf_set1(NAN)))[0]));
    }
    EXPECT_FLOAT("2^0", 0, lanes_of(vf_exp2(vf_zero()))[0], 1);
    EXPECT_FLOAT("2^-126", 0, lanes_of(vf_exp2(vf_set1(-126)))[0], 0);
    EXPECT_FLOAT("exp(-inf)", 0, lanes_of(vf_exp(vf_set1(-INFINITY)))[0], 0);
    EXPECT_FLOAT("softplus(-inf)", 0, lanes_of(vf_softplus(vf_set1(-INFINITY)))[0], 0);
    EXPECT_FLOAT("softplus(inf)", 0, lanes_of(vf_softplus(vf_set1(INFINITY)))[0], INFINITY);
}

const check_case shim_float_cases[] = {
    CHECK_CASE(loads_and_stores_touch_their_lanes_alone),
    CHECK_CASE(halves_are_loaded_exactly),
    CHECK_CASE(halves_are_stored_to_nearest_even),
    CHECK_CASE(bytes_become_floats_and_back),
    CHECK_CASE(arithmetic_is_that_of_scalars),
    CHECK_CASE(functions_of_one_are_those_of_scalars),
    CHECK_CASE(neighbours_change_places),
    CHECK_CASE(a_multiply_add_rounds_once),
    CHECK_CASE(powers_of_two_scale_exactly),
    CHECK_CASE(what_is_below_a_limit_becomes_zero),
    CHECK_CASE(sums_over_lanes_have_their_order),
    CHECK_CASE(the_greatest_is_found_in_every_lane),
    CHECK_CASE(magnitudes_put_nan_above_all),
    CHECK_CASE(curves_keep_their_error),
};
const size_t n_shim_float_cases = sizeof shim_float_cases / sizeof *shim_float_cases;
