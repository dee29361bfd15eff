// example_cpp: a backend in C++17 with two ops, matmul and rms_norm. What else a model needs falls back.
#include <nlm/plugin_kit.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <exception>
#include <iterator>

namespace {

// Eight partial sums in a fixed order: the same bits for every number of threads.
template <typename Term>
float sum_of(std::int64_t n, Term term) {
    std::array<float, 8> sums{};
    for (std::int64_t i = 0; i < n; i++) sums[static_cast<std::size_t>(i % 8)] += term(i);
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

float *row_of(const nlm_tensor *t, std::int64_t i) {
    return t ? static_cast<float *>(nlm_kit_at(t, i)) : nullptr;
}

// Of [rows, heads, columns]; of [rows, columns] head 0 is the row.
float *head_of(const nlm_tensor *t, std::int64_t i, std::int64_t head) {
    return t ? row_of(t, i) + head * t->stride_bytes[1] / static_cast<std::int64_t>(sizeof(float)) : nullptr;
}

// ---- matmul ----

void matmul_needs(void *, const nlm_dims *dims, std::uint32_t, nlm_caps_v1 *out) {
    out->scratch_bytes = static_cast<std::uint64_t>(nlm_dim(dims, 'K')) * sizeof(float);
}

void matmul(const nlm_exec_v1 &x, const nlm_matmul_args &args) {
    const std::int64_t columns = args.w->shape[1], rows = nlm_live_rows(&x, args.x);
    const float *bias = row_of(args.bias, 0);
    const nlm_kit_range slice = nlm_kit_slice(&x, args.w->shape[0], 1);
    for (std::int64_t n = slice.from; n < slice.to; n++) {
        const float *w = nlm_kit_row_f32(args.w, n, static_cast<float *>(x.scratch));
        for (std::int64_t m = 0; m < rows; m++) {
            const float *row = row_of(args.x, m), *residual = row_of(args.residual, m);
            const float sum = sum_of(columns, [&](std::int64_t k) { return row[k] * w[k]; });
            row_of(args.y, m)[n] = sum + (bias ? bias[n] : 0) + (residual ? residual[n] : 0);
        }
    }
}

// ---- rms_norm ----

void rms_norm(const nlm_exec_v1 &x, const nlm_rms_norm_args &args) {
    const std::int64_t columns = args.y->shape[args.y->rank - 1], heads = args.y->rank == 3 ? args.y->shape[1] : 1;
    const float *w = row_of(args.w, 0);
    const nlm_kit_range slice = nlm_kit_slice(&x, nlm_live_rows(&x, args.x) * heads, 1);
    for (std::int64_t i = slice.from; i < slice.to; i++) {
        const std::int64_t r = i / heads, h = i % heads;
        const float *in = head_of(args.x, r, h), *residual = head_of(args.residual, r, h);
        float *y = head_of(args.y, r, h), *sum = head_of(args.sum, r, h);
        const auto s = [&](std::int64_t c) { return residual ? in[c] + residual[c] : in[c]; };
        const float squares = sum_of(columns, [&](std::int64_t c) { return s(c) * s(c); });
        const float scale = 1 / std::sqrt(squares / static_cast<float>(columns) + args.eps);
        for (std::int64_t c = 0; c < columns; c++) {
            const float value = s(c); // read before y or sum, which may be x or residual, is written
            if (sum) sum[c] = value;
            y[c] = value * scale * (w ? w[c] : 1);
        }
    }
}

// ---- tables ----

// A slot: no exception may cross the boundary.
template <typename Args, void (*run)(const nlm_exec_v1 &, const Args &)>
nlm_status slot(const nlm_exec_v1 *x, const Args *args) noexcept {
    try {
        run(*x, *args);
        return NLM_OK;
    } catch (const std::exception &e) {
        return nlm_kit_fail(x->error, NLM_INTERNAL, "example_cpp", "%s", e.what());
    } catch (...) {
        return nlm_kit_fail(x->error, NLM_INTERNAL, "example_cpp", "an exception");
    }
}

constexpr nlm_kit_op list[] = {{NLM_OP_matmul, 0, NLM_LAYOUT_ROW_MAJOR, matmul_needs},
                               {NLM_OP_rms_norm, 0, NLM_LAYOUT_ROW_MAJOR, nullptr}};
constexpr nlm_kit_backend has{list, std::size(list), NLM_LAYOUT_ROW_MAJOR, NLM_TYPES_DECODED, 0, 0};

nlm_status query(void *self, nlm_op op, const void *args, std::uint32_t nth, nlm_caps_v1 *out) {
    return nlm_kit_query(&has, self, op, args, nth, out);
}

// constexpr, so that loading the library runs no constructor of ours.
constexpr nlm_ops_v1 make_ops() {
    nlm_ops_v1 ops{};
    ops.struct_size = sizeof ops;
    ops.matmul = slot<nlm_matmul_args, matmul>;
    ops.rms_norm = slot<nlm_rms_norm_args, rms_norm>;
    return ops;
}
constexpr nlm_ops_v1 ops = make_ops();

constexpr nlm_device_info_v1 info{sizeof info, NLM_DEVICE_SLICED, NLM_DEVICE_HOST_MEMORY, 0, 0, 0, 0, "CPU, C++",
                                  "any"};

constexpr nlm_device_v1 make_device() {
    nlm_device_v1 device{};
    device.struct_size = sizeof device;
    device.self = const_cast<nlm_device_info_v1 *>(&info);
    device.ops = &ops;
    device.describe = nlm_kit_describe;
    device.query = query;
    return device;
}
constexpr nlm_device_v1 device = make_device();

} // namespace

NLM_KIT_PLUGIN("example_cpp", "1", "matmul and rms_norm in C++", 0, device)
