// What C++ becomes beside arithmetic, under eight orders of the threads: calls, local memory, variables of the
// module, atomic operations, vectors; and, in PTX written here, jump tables and what the translator refuses.
#include <cstring>

#include "rig.h"

namespace {

struct sums { // without a hole
    uint32_t add, min, max, inc, both, either, odd, halves, cas, exchanged;
    int32_t lowest, highest;
    uint64_t wide;
    double real;
    float single, none;
};

const emu_module *language() {
    return rig::module_of("language.cu");
}

rig::shape of(unsigned threads, unsigned blocks = 1, unsigned dynamic = 0) {
    rig::shape s;
    s.block.x = threads;
    s.grid.x = blocks;
    s.dynamic_shared_bytes = dynamic;
    return s;
}

std::vector<int> some(size_t n) {
    std::vector<int> x(n);
    for (size_t i = 0; i < n; i++) x[i] = static_cast<int>(i * 2654435761u >> 12 & 1023);
    return x;
}

void set_variable(const char *name, const void *values, size_t bytes) {
    for (size_t i = 0; i < language()->n_variables; i++) {
        const emu_variable &v = language()->variables[i];
        if (std::strcmp(v.name, name)) continue;
        CHECK(v.bytes == bytes, std::string(name) + " has another size");
        std::memcpy(v.memory, values, bytes);
        return;
    }
    CHECK(false, std::string("no variable ") + name);
}

void test_calls(uint64_t seed) {
    const int scale[4] = {10, 20, 30, 40}, table[6] = {3, 1, 4, 1, 5, 0};
    set_variable("scale", scale, sizeof scale);
    const std::vector<int> x = some(32);
    const rig::buffer<int> in(x), out(8 * 32);
    const std::string why = rig::run(rig::kernel_of(language(), "calls"), of(32), seed, out.data, in.data);
    CHECK(why.empty(), why);
    for (int t = 0; t < 32; t++) {
        int sum = 0, prefix = 0;
        for (int i = 0; i < 9; i++) sum += x[static_cast<size_t>(t + i) % 32];
        for (int i = 0; i < t % 6; i++) prefix += table[i];
        const int local = x[static_cast<size_t>(t + t % 9) % 32];
        const int *y = out.data + 8 * t;
        CHECK(y[0] == sum, "the sum of a local array");
        CHECK(y[1] == 2 * x[static_cast<size_t>(t)] + 3, "a float of a structure");
        CHECK(y[2] == local * t * 3, "an int of a structure");
        CHECK(y[3] == static_cast<int>(2 * ((8.0 / 4 + (local > 100)) / 4)), "a double of a structure");
        CHECK(y[4] == 'c', "a char of a structure");
        CHECK(y[5] == prefix + 4, "a table, and a pointer to it");
        CHECK(y[6] == "emulate"[t % 7] + scale[t % 4], "constants");
        CHECK(y[7] == (t % 2 ? -9 : 2), "doubles of the module");
    }
}

void test_jumps(uint64_t seed) {
    std::vector<int> x(64), y = some(64);
    for (int i = 0; i < 64; i++) x[static_cast<size_t>(i)] = i % 12;
    const rig::buffer<int> in(x), out(y);
    const std::string why = rig::run(rig::kernel_of(language(), "jumps"), of(64), seed, out.data, in.data);
    CHECK(why.empty(), why);
    for (size_t i = 0; i < 64; i++) {
        uint32_t reversed = 0;
        for (int b = 0; b < 32; b++) reversed |= (static_cast<uint32_t>(y[i]) >> b & 1) << (31 - b);
        const int cases[] = {3 * y[i] + 1,
                             __builtin_clz(static_cast<unsigned>(y[i] + 1)),
                             2 ^ y[i] >> 1,
                             y[i] / 3,
                             __builtin_popcount(static_cast<unsigned>(y[i])),
                             y[i] % 7,
                             y[i] < 12 ? y[i] : 12,
                             -y[i],
                             static_cast<int>(reversed),
                             y[i] << 4,
                             1000,
                             1000};
        CHECK(out.data[i] == cases[i % 12], "case " + std::to_string(i % 12));
    }
}

void test_atomics(uint64_t seed) {
    const std::vector<int> x = some(256);
    const uint32_t million = 1000000;
    set_variable("counter", &million, sizeof million);
    sums start{}, want{};
    start.min = want.min = 5000;
    start.both = want.both = ~0u;
    for (const int v : x) {
        const uint32_t u = static_cast<uint32_t>(v);
        want.add += u;
        want.min = std::min(want.min, u);
        want.max = std::max(want.max, u);
        want.inc = want.inc >= 50 ? 0 : want.inc + 1;
        want.both &= u | 1;
        want.either |= u;
        want.odd ^= u;
        want.lowest = std::min(want.lowest, -v);
        want.highest = std::max(want.highest, v);
        want.wide += uint64_t{u} << 30;
        want.single += static_cast<float>(v & 255);
        want.real += 0.5 * v;
        want.cas += 3;
    }
    want.halves = 0x5c005c00; // 256, twice
    const rig::buffer<int> in(x);
    const rig::buffer<sums> out(std::vector<sums>{start});
    const std::string why = rig::run(rig::kernel_of(language(), "atomics"), of(64, 4), seed, out.data, in.data);
    CHECK(why.empty(), why);
    CHECK(std::memcmp(out.data, &want, sizeof want) == 0, "sums of atomic operations");
}

void test_shared(uint64_t seed) {
    const std::vector<int> x = some(256);
    uint32_t bins[8] = {};
    for (const int v : x) bins[v & 7]++;
    const rig::buffer<int> in(x);
    const rig::buffer<uint32_t> out(9);
    const std::string why = rig::run(rig::kernel_of(language(), "shared_atomics"), of(256), seed, out.data, in.data);
    CHECK(why.empty(), why);
    CHECK(std::memcmp(out.data, bins, sizeof bins) == 0 && out.data[8] == 256, "bins");
}

void test_vectors(uint64_t seed) {
    std::vector<uint32_t> x(256);
    for (size_t i = 0; i < 256; i++) x[i] = static_cast<uint32_t>(i * 2654435761u);
    const rig::buffer<uint32_t> in(x), out(5 * 64);
    const std::string why = rig::run(rig::kernel_of(language(), "vectors"), of(64, 1, 1024), seed, out.data, in.data);
    CHECK(why.empty(), why);
    bool is_right = true;
    for (size_t t = 0; t < 64; t++) {
        for (size_t i = 0; i < 4; i++) is_right = is_right && out.data[4 * t + i] == x[4 * (t ^ 1) + i];
        const uint32_t w = x[t], sum = ((w >> 8) + (w >> 16)) & 255;
        is_right = is_right && out.data[256 + t] == ((w & ~255u) | sum);
    }
    CHECK(is_right, "vectors through shared memory");
}

void test_dimensions(uint64_t seed) {
    rig::shape s;
    s.grid = {3, 2, 2};
    s.block = {4, 3, 2};
    const rig::buffer<uint32_t> out(12 * 24);
    const std::string why = rig::run(rig::kernel_of(language(), "dimensions"), s, seed, out.data);
    CHECK(why.empty(), why);
    bool is_right = true;
    for (uint32_t i = 0; i < 12 * 24; i++) {
        const uint32_t t = i % 24;
        is_right = is_right && out.data[i] == t / 12 * 100 + t / 4 % 3 * 10 + t % 4;
    }
    CHECK(is_right, "three dimensions");
}

const char *const HEAD =
    ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 y)\n{\n.reg .pred %p;\n"
    ".reg .b32 %r<4>;\n.reg .b64 %rd<4>;\nld.param.u64 %rd1, [y];\nmov.u32 %r1, %tid.x;\n"
    "mul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd1, %rd1, %rd2;\n";

void test_jump_table() {
    const std::string ptx =
        std::string(HEAD) +
        "table: .branchtargets one, two, one, three;\nbrx.idx %r1, table;\n"
        "one: mov.u32 %r2, 10; bra done;\ntwo: mov.u32 %r2, 20; bra done;\nthree: mov.u32 %r2, 30;\n"
        "done: st.global.u32 [%rd1], %r2;\nret;\n}\n";
    char why[1000] = "";
    const emu_module *m = emu_module_open(ptx.c_str(), why, sizeof why);
    CHECK(m != nullptr, why);
    if (!m) return;
    const rig::buffer<uint32_t> out(4);
    const std::string said = rig::run(&m->kernels[0], of(4), 1, out.data);
    CHECK(said.empty(), said);
    CHECK(out.data[0] == 10 && out.data[1] == 20 && out.data[2] == 10 && out.data[3] == 30, "a jump table");
    CHECK(rig::run(&m->kernels[0], of(5), 1, out.data).find("jumps past its table") != std::string::npos,
          "past the table");
    emu_module_close(m);
}

// What is not known is refused with its line, and not guessed.
void test_refusals() {
    const char *const unknown[] = {"wgmma.fence.sync.aligned;",
                                   "vadd4.u32.u32.u32 %r2, %r1, %r1, %r1;",
                                   "add.f32x2 %rd1, %rd1, %rd1;",
                                   "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%rd1}, {%rd1}, {%rd1}, {%rd1};",
                                   "tex.1d.v4.f32.f32 {%r1, %r1, %r1, %r1}, [y, {%r1}];",
                                   "prmt.f4e.b32 %r1, %r1, %r1, %r1;",
                                   "st.const.u32 [%rd1], %r1;",
                                   "cvt.rn.satfinite.e2m1x2.f32 %r1, %r1, %r1;",
                                   "call unknown;"};
    for (const char *text : unknown) {
        const std::string ptx = std::string(HEAD) + ".loc 1 42 0\n" + text + "\nret;\n}\n.file 1 \"some.cu\"\n";
        char why[1000] = "";
        const emu_module *m = emu_module_open(ptx.c_str(), why, sizeof why);
        CHECK(m == nullptr, std::string(text) + " is taken");
        const std::string opcode = std::string(text).substr(0, std::string(text).find_first_of(" ;"));
        CHECK(std::strstr(why, "some.cu:42") && std::strstr(why, opcode.c_str()),
              std::string(text) + " is refused so: " + why);
        emu_module_close(m);
    }
}

} // namespace

int main() {
    setenv("EMU_CHECKS", "burx", 0); // all but atomic sums of floats, which are tried here
    test_jump_table();
    test_refusals();
    if (!rig::has_nvrtc()) {
        std::puts("skipped: no NVRTC");
        return rig::result() ? 1 : 77;
    }
    for (uint64_t seed = 1; seed <= 8; seed++) {
        test_calls(seed);
        test_jumps(seed);
        test_atomics(seed);
        test_shared(seed);
        test_vectors(seed);
        test_dimensions(seed);
    }
    return rig::result();
}
