/* Integers of a shim: bits and shifts, dot products, places of bytes, and floats that become integers. */
#include "shim_check.h"

enum { BYTES = 4 * V_LANES, WORDS = 2 * V_LANES, ROUNDS = 200 };

/* A vector as all that its functions see in it. */
typedef union lanes {
    uint8_t bytes[BYTES];
    int8_t signed_bytes[BYTES];
    uint16_t words[WORDS];
    int16_t signed_words[WORDS];
    uint32_t dwords[V_LANES];
    int32_t signed_dwords[V_LANES];
    float floats[V_LANES];
} lanes;

static lanes random_lanes(uint64_t seed) {
    lanes all;
    fill_random(&all, sizeof all, seed);
    return all;
}

static vi vector_of(const lanes *a) {
    return vi_load(a);
}

static lanes lanes_of(vi a) {
    lanes *room = shim_room(sizeof *room);
    vi_store(room, a);
    return *room;
}

static void expect(const char *what, vi got, const lanes *wanted) {
    const lanes is = lanes_of(got);
    for (int i = 0; i < V_LANES; i++) EXPECT_INT(what, i, is.dwords[i], wanted->dwords[i]);
}

/* ---- bits ----------------------------------------------------------------------------------------- */

/* got: a function of vectors; wanted: the same of elements a.field[i], b.field[i]. */
#define EXPECT_EACH(name, got, field, count, wanted)              \
    do {                                                          \
        lanes w_;                                                 \
        for (int i = 0; i < (count); i++) w_.field[i] = (wanted); \
        expect(name, got, &w_);                                   \
    } while (0)
#define EXPECT_DWORDS(name, got, wanted) EXPECT_EACH(name, got, dwords, V_LANES, (uint32_t)(wanted))
#define EXPECT_WORDS(name, got, wanted)  EXPECT_EACH(name, got, words, WORDS, (uint16_t)(wanted))
#define EXPECT_BYTES(name, got, wanted)  EXPECT_EACH(name, got, bytes, BYTES, (uint8_t)(wanted))

static void bits_and_sums_are_those_of_elements(void) {
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        const lanes a = random_lanes(seed), b = random_lanes(seed + ROUNDS);
        const vi va = vector_of(&a), vb = vector_of(&b);
        EXPECT_DWORDS("vi_and", vi_and(va, vb), a.dwords[i] & b.dwords[i]);
        EXPECT_DWORDS("vi_or", vi_or(va, vb), a.dwords[i] | b.dwords[i]);
        EXPECT_DWORDS("vi_add", vi_add(va, vb), a.dwords[i] + b.dwords[i]);
        EXPECT_DWORDS("vi_mul32", vi_mul32(va, vb), a.dwords[i] * b.dwords[i]);
        EXPECT_BYTES("vi_sub_u8", vi_sub_u8(va, vb), a.bytes[i] - b.bytes[i]);
        EXPECT_DWORDS("vi_set1", vi_set1(a.signed_dwords[0]), a.dwords[0]);
        EXPECT_BYTES("vi_set1_u8", vi_set1_u8(a.bytes[1]), a.bytes[1]);
        EXPECT_DWORDS("vi_load_u8", vi_load_u8(shim_at_end(a.bytes, V_LANES)), a.bytes[i]);
        EXPECT_DWORDS("vi_load_i8", vi_load_i8(shim_at_end(a.bytes, V_LANES)), (int8_t)a.bytes[i]);
        lanes floats;
        vf_store(floats.floats, vf_bits(va));
        expect("vf_bits", vector_of(&floats), &a);
        vf_store(floats.floats, vf_from_i32(va));
        for (int i = 0; i < V_LANES; i++) EXPECT_FLOAT("vf_from_i32", i, floats.floats[i], (float)a.signed_dwords[i]);
    }
}

/* Counts are constants, as instructions have them. */
#define SHIFTS_16(X) X(1) X(4) X(7) X(8) X(15)
#define SHIFTS_32(X) SHIFTS_16(X) X(16) X(23) X(31)

static void shifts_are_those_of_elements(void) {
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        const lanes a = random_lanes(seed);
        const vi va = vector_of(&a);
#define OF_DWORDS(n)                                                \
    EXPECT_DWORDS("vi_shl32", vi_shl32(va, n), a.dwords[i] << (n)); \
    EXPECT_DWORDS("vi_shr32", vi_shr32(va, n), a.dwords[i] >> (n)); \
    EXPECT_DWORDS("vi_sra32", vi_sra32(va, n), a.signed_dwords[i] >> (n));
#define OF_WORDS(n)                                               \
    EXPECT_WORDS("vi_shl16", vi_shl16(va, n), a.words[i] << (n)); \
    EXPECT_WORDS("vi_shr16", vi_shr16(va, n), a.words[i] >> (n));
        SHIFTS_32(OF_DWORDS)
        SHIFTS_16(OF_WORDS)
    }
}

/* ---- dot products ---------------------------------------------------------------------------------- */

/* Bytes of a round: random ones, and in the first rounds the least and the greatest. */
static lanes bytes_within(uint64_t round, int least, int most) {
    lanes all = random_lanes(round);
    for (int i = 0; i < BYTES; i++) {
        const int value = round == 0   ? least
                          : round == 1 ? most
                          : round == 2 ? (i & 1 ? least : most)
                                       : least + all.bytes[i] % (most - least + 1);
        all.bytes[i] = (uint8_t)value;
    }
    return all;
}

#ifdef V_BYTE_SUMS
/* A weight as the dot product takes it. */
static int weight_of(uint8_t byte, bool is_small) {
    return is_small || V_Q8_OFFSET ? byte : (int8_t)byte;
}

static void check_dot4(vi (*dot4)(vi acc, vi w, vi a), const char *name, bool is_small, int least, int most) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (uint64_t other = 0; other < 4; other++) {
            const lanes w = bytes_within(round, least, most),
                        a = bytes_within(other < 3 ? other : round + 7, -127, 127);
            lanes acc = random_lanes(round + 99);
            const vi got = dot4(vector_of(&acc), vector_of(&w), vector_of(&a));
            for (int i = 0; i < BYTES; i++)
                acc.dwords[i / 4] += (uint32_t)(weight_of(w.bytes[i], is_small) * a.signed_bytes[i]);
            expect(name, got, &acc);
        }
    }
}

static void dot_products_of_four_bytes_are_exact(void) {
    check_dot4(vi_dot4, "vi_dot4", false, V_Q8_OFFSET ? 0 : -128, V_Q8_OFFSET ? 255 : 127);
    check_dot4(vi_dot4_small, "vi_dot4_small", true, 0, 63);
}
#endif

#ifdef V_WORD_TOKENS
static uint32_t two_products(const lanes *a, const lanes *b, int lane) {
    return (uint32_t)(a->signed_words[2 * lane] * b->signed_words[2 * lane]) +
           (uint32_t)(a->signed_words[2 * lane + 1] * b->signed_words[2 * lane + 1]);
}

/* Words of a round: random ones, and in the first rounds the least and the greatest. */
static lanes words_of(uint64_t round) {
    lanes all = random_lanes(round);
    for (int i = 0; i < WORDS && round < 2; i++) all.words[i] = round ? 0x7fff : 0x8000;
    return all;
}

static void dot_products_of_two_words_are_exact(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const lanes a = words_of(round), b = words_of(round / 2), acc = random_lanes(round + 2);
        const vw in_place = vw_at(shim_at_end(&a, sizeof a));
        EXPECT_DWORDS("vi_dot2", vi_dot2(vector_of(&acc), in_place, vector_of(&b)),
                      acc.dwords[i] + two_products(&a, &b, i));
        EXPECT_WORDS("vi_sub16", vi_sub16(vector_of(&a), vector_of(&b)), a.words[i] - b.words[i]);
        EXPECT_WORDS("vi_mul16", vi_mul16(vector_of(&a), vector_of(&b)), a.words[i] * b.words[i]);
        EXPECT_WORDS("vi_set1_i16", vi_set1_i16(a.signed_words[0]), a.words[0]);
#define OF_SIGNED_WORDS(n) EXPECT_WORDS("vi_sra16", vi_sra16(vector_of(&a), n), a.signed_words[i] >> (n));
        SHIFTS_16(OF_SIGNED_WORDS)
    }
}

static void words_of_activations_stand_as_0_2_1_3(void) {
    static const int place[4] = {0, 2, 1, 3};
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int16_t q[32], *room = shim_room(sizeof q);
        float x[32];
        int64_t sum = 0;
        fill_random(q, sizeof q, round);
        for (int i = 0; i < 32; i++) x[i] = (float)(q[i] % (127 << 7)) / 2; /* every second one halfway */
        const int32_t got = v_round32(shim_at_end(x, sizeof x), 1, q);
        for (int i = 0; i < 32; i++) {
            const int64_t wanted = (int64_t)nearest_even((double)x[i]);
            EXPECT_INT("v_round32", i, q[i / 4 * 4 + place[i % 4]], wanted);
            sum += wanted;
        }
        EXPECT_INT("the sum of v_round32", round, got, sum);
        CU_ASSERT_EQUAL(v_round32(x, 0.25f, room), v_round32(x, 0.25f, q));
        CU_ASSERT(memcmp(room, q, sizeof q) == 0);
    }
}
#endif

#ifndef V_BYTE_SUMS
/* In words that hold the sums of two products; what is added to them wraps. */
static void dot_products_in_words_are_exact(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const lanes b = words_of(round / 2), c = words_of(round);
        EXPECT_DWORDS("vi_dot2_by", vi_dot2_by(vector_of(&b), vector_of(&c)), two_products(&b, &c, i));
        for (uint64_t other = 0; other < 4; other++) {
            const lanes w = bytes_within(round, 0, 128), a = bytes_within(other < 3 ? other : round + 7, -128, 127);
            const lanes acc = random_lanes(round + 99);
            EXPECT_WORDS("vi_dot2_bytes", vi_dot2_bytes(vector_of(&acc), vector_of(&w), vector_of(&a)),
                         acc.words[i] + w.bytes[2 * i] * a.signed_bytes[2 * i] +
                             w.bytes[2 * i + 1] * a.signed_bytes[2 * i + 1]);
        }
    }
}
#endif

#ifdef V_BYTE_SUM_BITS
/* The products of bytes 4i to 4i + 3, of one unsigned and one signed vector, as a lane of sums has them, added to
 * acc. */
static void add_byte_products(lanes *acc, const lanes *without_sign, const lanes *with_sign) {
    for (int i = 0; i < BYTES; i++) {
        const uint32_t product = (uint32_t)(without_sign->bytes[i] * with_sign->signed_bytes[i]);
        if (V_BYTE_SUM_BITS == 32)
            acc->dwords[i / 4] += product;
        else
            acc->words[i / 2] = (uint16_t)(acc->words[i / 2] + product);
    }
}

/* Sums of 16 bits are for weights of up to 6 bits. */
static void sums_of_byte_products_are_exact(void) {
    const int most = V_BYTE_SUM_BITS == 32 ? 255 : 63, half = (most + 1) / 2;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const lanes w = bytes_within(round, 0, most), a = bytes_within(round % 4 < 3 ? round % 4 : round, -127, 127);
        const lanes centred = bytes_within(round, -half, half - 1), raised = bytes_within(round + 3, 1, 255);
        const lanes first = random_lanes(round + 99), second = random_lanes(round + 7);
        lanes wanted = first;
        add_byte_products(&wanted, &w, &a);
        expect("vi_bytes_dot", vi_bytes_dot(vector_of(&first), vector_of(&w), vector_of(&a)), &wanted);
        wanted = first;
        add_byte_products(&wanted, &raised, &centred);
        const vw in_place = vw_at(shim_at_end(&centred, sizeof centred));
        expect("vi_bytes_dot_signed", vi_bytes_dot_signed(vector_of(&first), in_place, vector_of(&raised)), &wanted);
#if V_BYTE_SUM_BITS == 32
#define EXPECT_SUMS(name, got, of) EXPECT_DWORDS(name, got, of(dwords))
#else
#define EXPECT_SUMS(name, got, of) EXPECT_WORDS(name, got, of(words))
#endif
#define SUM(field)   (first.field[i] + second.field[i])
#define REST(field)  (first.field[i] - second.field[i])
#define TIMES(field) (first.field[i] * (uint32_t)-8)
        EXPECT_SUMS("vi_bytes_add", vi_bytes_add(vector_of(&first), vector_of(&second)), SUM);
        EXPECT_SUMS("vi_bytes_sub", vi_bytes_sub(vector_of(&first), vector_of(&second)), REST);
        EXPECT_SUMS("vi_bytes_times", vi_bytes_times(vector_of(&first), -8), TIMES);
        EXPECT_DWORDS("vi_bytes_total", vi_bytes_total(vector_of(&first)),
                      V_BYTE_SUM_BITS == 32 ? first.signed_dwords[i]
                                            : first.signed_words[2 * i] + first.signed_words[2 * i + 1]);
    }
}

/* And their sums are those of products with 1. */
static void bytes_of_activations_leave_their_sums(void) {
    const lanes ones = bytes_within(0, 1, 1);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int16_t random[32];
        int8_t q[32], *room = shim_room(sizeof q);
        int32_t sum16[2], sum16_again[2];
        int64_t sum = 0;
        float x[32];
        fill_random(random, sizeof random, round);
        for (int i = 0; i < 32; i++) x[i] = (float)(random[i] % 255) / 2; /* every second one halfway */
        if (round < 2) x[0] = x[31] = round ? 127 : -127;
        const int32_t got = v_round32_bytes(shim_at_end(x, sizeof x), 1, q, sum16);
        for (int i = 0; i < 32; i++) {
            EXPECT_INT("v_round32_bytes", i, q[i], (int64_t)nearest_even((double)x[i]));
            sum += q[i];
        }
        EXPECT_INT("the sum of v_round32_bytes", round, got, sum);
        CU_ASSERT_EQUAL(v_round32_bytes(x, 0.25f, room, sum16_again), v_round32_bytes(x, 0.25f, q, sum16_again));
        CU_ASSERT(memcmp(room, q, sizeof q) == 0);
        v_round32_bytes(x, 1, q, sum16_again);
        for (int h = 0; h < 2; h++) {
            lanes wanted = {.dwords = {0}}, four = {.dwords = {0}};
            for (int v = 0; v < 4; v++) { /* 4 columns meet lane 0 at a time */
                memcpy(four.bytes, q + 16 * h + 4 * v, 4);
                add_byte_products(&wanted, &ones, &four);
            }
            EXPECT_INT("a half's sum of v_round32_bytes", h, (uint32_t)sum16[h], wanted.dwords[0]);
        }
    }
}
#endif

/* ---- places ------------------------------------------------------------------------------------------ */

static void bits_choose_bytes_that_are_added_to(void) {
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        const lanes a = random_lanes(seed), value = random_lanes(seed + 1), source = random_lanes(seed + 2);
        uint8_t bits[V_LANES / 2], *room = shim_room(sizeof bits);
        vi_store_bits(room, vector_of(&source));
        memcpy(bits, room, sizeof bits);
        for (int i = 0; i < BYTES; i++)
            EXPECT_INT("vi_store_bits", i, bits[i / 8] >> i % 8 & 1, source.bytes[i] >> 7);
        EXPECT_BYTES("vi_add_where", vi_add_where(vector_of(&a), shim_at_end(bits, sizeof bits), vector_of(&value)),
                     a.bytes[i] + (source.bytes[i] >> 7) * value.bytes[i]);
    }
}

/* Lanes of any bits, NaNs among them, and nothing but them. */
static void transposing_moves_every_lane(void) {
    enum { STRIDE = V_LANES + 3 };
    uint32_t in[V_LANES][V_LANES], out[V_LANES * STRIDE];
    vf rows[V_LANES];
    fill_random(in, sizeof in, 3);
    in[1][2] = 0x7fa00001; /* a signalling NaN */
    for (int r = 0; r < V_LANES; r++) rows[r] = vf_bits(vi_load(in[r]));
    memset(out, 0x55, sizeof out);
    v_transpose(rows, (float *)(void *)out, STRIDE);
    for (int c = 0; c < V_LANES; c++) {
        for (int r = 0; r < V_LANES; r++) EXPECT_INT("v_transpose", c, out[c * STRIDE + r], in[r][c]);
        for (int r = V_LANES; r < STRIDE; r++) EXPECT_INT("beside v_transpose", c, out[c * STRIDE + r], 0x55555555);
    }
}

static void quads_of_rows_are_taken_apart(void) {
    enum { STRIDE = 23 };
    uint8_t in[(V_LANES - 1) * STRIDE + 16];
    vi out[4];
    fill_random(in, sizeof in, 4);
    v_quads(shim_at_end(in, sizeof in), STRIDE, out);
    for (int k = 0; k < 4; k++) {
        const lanes got = lanes_of(out[k]);
        for (int r = 0; r < V_LANES; r++)
            CU_ASSERT(memcmp(&got.dwords[r], in + r * STRIDE + 4 * k, sizeof got.dwords[r]) == 0);
    }
}

static void bytes_find_their_places(void) {
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        const lanes a = random_lanes(seed), table = random_lanes(seed + 1), index = bytes_within(seed, 0, 15);
        EXPECT_BYTES("vi_planes", vi_planes(vector_of(&a)), a.bytes[i % V_LANES * 4 + i / V_LANES]);
        EXPECT_WORDS("vi_halves", vi_halves(vector_of(&a)), a.words[i % V_LANES * 2 + i / V_LANES]);
        EXPECT_BYTES("vi_load_table", vi_load_table(shim_at_end(&table, 16)), table.bytes[i % 16]);
        EXPECT_BYTES("vi_lookup", vi_lookup(vi_load_table(&table), vector_of(&index)), table.bytes[index.bytes[i]]);
        EXPECT_BYTES("vi_load_2", vi_load_2(a.bytes + BYTES / 2, shim_at_end(table.bytes, BYTES / 2)),
                     i < BYTES / 2 ? a.bytes[BYTES / 2 + i] : table.bytes[i - BYTES / 2]);
        expect("vi_load", vi_load(shim_at_end(&a, sizeof a)), &a);
    }
}

/* ---- floats ------------------------------------------------------------------------------------------- */

static void check_split(int bits, uint64_t round) {
    float x[16];
    int16_t random[16];
    int8_t high[16], low[16];
    int64_t sum = 0;
    fill_random(random, sizeof random, round);
    for (int i = 0; i < 16; i++) x[i] = (float)(random[i] % (2 * (127 << bits) + 1)) / 2; /* some halfway */
    x[round % 16] = round & 1 ? (float)(127 << bits) : -(float)(127 << bits);
    const int32_t got = v_split16(shim_at_end(x, sizeof x), 1, bits, high, low);
    for (int i = 0; i < 16; i++) {
        const int64_t wanted = (int64_t)nearest_even((double)x[i]), half = 1 << (bits - 1);
        EXPECT_INT("v_split16", i, high[i] * (1 << bits) + low[i], wanted);
        CU_ASSERT(low[i] >= -half && low[i] < half);
        sum += wanted;
    }
    EXPECT_INT("the sum of v_split16", bits, got, sum);
}

static void activations_are_split_in_two_bytes(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        check_split(4, round);
        check_split(7, round);
    }
}

const check_case shim_integer_cases[] = {
    CHECK_CASE(bits_and_sums_are_those_of_elements),  CHECK_CASE(shifts_are_those_of_elements),
#ifdef V_BYTE_SUMS
    CHECK_CASE(dot_products_of_four_bytes_are_exact),
#else
    CHECK_CASE(dot_products_in_words_are_exact),
#endif
#ifdef V_WORD_TOKENS
    CHECK_CASE(dot_products_of_two_words_are_exact),  CHECK_CASE(words_of_activations_stand_as_0_2_1_3),
#endif
#ifdef V_BYTE_SUM_BITS
    CHECK_CASE(sums_of_byte_products_are_exact),      CHECK_CASE(bytes_of_activations_leave_their_sums),
#endif
    CHECK_CASE(bits_choose_bytes_that_are_added_to),  CHECK_CASE(transposing_moves_every_lane),
    CHECK_CASE(quads_of_rows_are_taken_apart),        CHECK_CASE(bytes_find_their_places),
    CHECK_CASE(activations_are_split_in_two_bytes),
};
const size_t n_shim_integer_cases = sizeof shim_integer_cases / sizeof *shim_integer_cases;
