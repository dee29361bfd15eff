/* Dot products of f32 in eight partial sums, whose order depends on the length alone. */
#include "dot.h"

#include <string.h>

/* Four floats as a vector type of GCC and Clang: arithmetic on it is lane by lane, on any machine,
 * whatever registers it has. Two of them hold the eight partial sums. */
typedef float quad __attribute__((vector_size(16)));

static inline quad load(const float *from) {
    quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The last n % 8 elements and the sum of the lanes. */
static float finish(quad low, quad high, const float *a, const float *b, int64_t n) {
    float s[8];
    memcpy(s, &low, sizeof low);
    memcpy(s + 4, &high, sizeof high);
    const int64_t tail = n - n % 8;
    for (int64_t k = tail; k < n; k++) s[k - tail] += a[k] * b[k];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

float nlm_scalar_dot(const float *a, const float *b, int64_t n) {
    quad low = {0}, high = {0};
    for (int64_t k = 0; k + 8 <= n; k += 8) {
        low += load(a + k) * load(b + k);
        high += load(a + k + 4) * load(b + k + 4);
    }
    return finish(low, high, a, b, n);
}

void nlm_scalar_dot4(const float *const rows[4], const float *x, int64_t n, float out[4]) {
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    quad low0 = {0}, low1 = {0}, low2 = {0}, low3 = {0};
    quad high0 = {0}, high1 = {0}, high2 = {0}, high3 = {0};
    for (int64_t k = 0; k + 8 <= n; k += 8) {
        const quad low = load(x + k), high = load(x + k + 4);
        low0 += load(r0 + k) * low;
        low1 += load(r1 + k) * low;
        low2 += load(r2 + k) * low;
        low3 += load(r3 + k) * low;
        high0 += load(r0 + k + 4) * high;
        high1 += load(r1 + k + 4) * high;
        high2 += load(r2 + k + 4) * high;
        high3 += load(r3 + k + 4) * high;
    }
    out[0] = finish(low0, high0, r0, x, n);
    out[1] = finish(low1, high1, r1, x, n);
    out[2] = finish(low2, high2, r2, x, n);
    out[3] = finish(low3, high3, r3, x, n);
}
