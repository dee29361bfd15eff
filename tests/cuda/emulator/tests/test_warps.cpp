// Collectives of a warp, and products of matrices in its registers, beside plain C.
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "rig.h"

namespace {

using u32 = uint32_t;

const emu_kernel *kernel(const char *name) {
    return rig::kernel_of(rig::module_of("warps.cu"), name);
}

rig::shape warp() {
    rig::shape s;
    s.block.x = 32;
    return s;
}

void test_collectives(uint64_t seed) {
    std::vector<u32> x(32);
    for (u32 i = 0; i < 32; i++) x[i] = i * 2654435761u >> 10 & 1023;
    u32 odd = 0, sum = 0, least = ~0u, mixed = 0, n_odd = 0;
    int most = -1000;
    bool are_same = true;
    for (u32 i = 0; i < 32; i++) {
        odd |= (x[i] & 1) << i;
        n_odd += x[i] & 1;
        sum += x[i];
        mixed ^= x[i];
        least = std::min(least, x[i]);
        most = std::max(most, static_cast<int>(x[i]) - 500);
        are_same = are_same && (x[i] & 3) == (x[0] & 3);
    }
    const auto alike = [&](u32 i) {
        u32 lanes = 0;
        for (u32 j = 0; j < 32; j++) lanes |= static_cast<u32>((x[j] & 3) == (x[i] & 3)) << j;
        return lanes;
    };
    const std::function<u32(u32)> wanted[] = {
        [&](u32) { return x[5]; },
        [&](u32 i) { return x[i * 7 % 32]; },
        [&](u32 i) { return i < 3 ? x[i] : x[i - 3]; },
        [&](u32 i) { return i % 8 + 3 > 7 ? x[i] : x[i + 3]; },
        [&](u32 i) { return x[i ^ 9]; },
        [&](u32 i) { return x[i / 4 * 4 + 2]; },
        [&](u32) { return odd; },
        [&](u32) { return 1u; },
        [&](u32) { return 1u; },
        alike,
        [&](u32) { return are_same ? ~0u : 0; },
        [&](u32) { return sum; },
        [&](u32) { return least; },
        [&](u32) { return static_cast<u32>(most); },
        [&](u32) { return mixed; },
        [&](u32 i) { return i & 1   ? x[i ^ 2]
                            : i < 2 ? x[i]
                                    : x[i - 2]; },
        [&](u32) { return n_odd; },
        [&](u32) { return 1u; },
        [&](u32) { return 1u; },
        [&](u32) { return 1u; },
        [&](u32) { return 1u; },
    };
    constexpr size_t N = sizeof wanted / sizeof *wanted;
    const rig::buffer<u32> in(x), out(32 * N);
    const std::string why = rig::run(kernel("collectives"), warp(), seed, out.data, in.data);
    CHECK(why.empty(), why);
    for (size_t n = 0; n < N; n++) {
        bool is_right = true;
        for (u32 i = 0; i < 32; i++) is_right = is_right && out.data[32 * n + i] == wanted[n](i);
        CHECK(is_right, "collective " + std::to_string(n));
    }
}

// Halves of small whole numbers are their bits; sums of products of them are exact.
uint16_t half_of(int v) {
    if (!v) return 0;
    const int size = std::abs(v), e = std::ilogb(size);
    return static_cast<uint16_t>((v < 0 ? 0x8000 : 0) | (e + 15) << 10 | ((size << 10 >> e) & 1023));
}

struct matrices {
    std::vector<int> a, b;
    int depth;
    // Element of a b^T, b by columns as its rows.
    int product(int row, int column) const {
        int sum = 0;
        for (int k = 0; k < depth; k++) {
            sum += a[static_cast<size_t>(row * depth + k)] * b[static_cast<size_t>(column * depth + k)];
        }
        return sum;
    }
};

matrices draw(int depth, int size, unsigned seed) {
    std::mt19937 random(seed);
    matrices m{{}, {}, depth};
    for (int i = 0; i < 16 * depth; i++)
        m.a.push_back(static_cast<int>(random() % (2 * static_cast<unsigned>(size))) - size);
    for (int i = 0; i < 8 * depth; i++)
        m.b.push_back(static_cast<int>(random() % (2 * static_cast<unsigned>(size))) - size);
    return m;
}

template <typename T, typename U>
void test_product(const char *name, const matrices &m, const std::function<T(int)> &element,
                  const std::function<U(int)> &result, bool is_b_by_rows, uint64_t seed) {
    std::vector<T> a, b;
    for (const int v : m.a) a.push_back(element(v));
    for (int i = 0; i < 8 * m.depth; i++) {
        const int at = is_b_by_rows ? i % 8 * m.depth + i / 8 : i;
        b.push_back(element(m.b[static_cast<size_t>(at)]));
    }
    const rig::buffer<T> da(a), db(b);
    const rig::buffer<U> d(128);
    const std::string why = rig::run(kernel(name), warp(), seed, d.data, da.data, db.data);
    CHECK(why.empty(), why);
    bool is_right = true;
    for (int i = 0; i < 128; i++) is_right = is_right && d.data[i] == result(m.product(i / 8, i % 8));
    CHECK(is_right, name);
}

} // namespace

int main() {
    if (!rig::has_nvrtc()) {
        std::puts("skipped: no NVRTC");
        return 77;
    }
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const unsigned s = static_cast<unsigned>(seed);
        test_collectives(seed);
        test_product<uint16_t, float>(
            "mma_f16", draw(16, 30, s), half_of, [](int v) { return static_cast<float>(v + 1); }, true, seed);
        test_product<uint16_t, uint16_t>("mma_f16_sums", draw(16, 8, s), half_of, half_of, true, seed);
        test_product<int8_t, int>(
            "mma_s8", draw(32, 128, s), [](int v) { return static_cast<int8_t>(v); }, [](int v) { return v; }, false,
            seed);
        const auto low_bits = [](int v) {
            const float x = static_cast<float>(v);
            u32 bits;
            std::memcpy(&bits, &x, 4);
            return bits | 0x1abc;
        };
        test_product<u32, float>(
            "mma_tf32", draw(8, 500, s), low_bits, [](int v) { return static_cast<float>(v); }, false, seed);
    }
    return rig::result();
}
