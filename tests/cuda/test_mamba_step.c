/* Layers of Mamba as a backend is given them, recorded and enqueued, on an emulated GPU: the same bits, and in one
 * launch where that is meant. Run by with-device; the first argument is the backend's library, the second, if any,
 * the one case to run. */
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nlm/plugin_kit.h>

#include "unit/check.h"

enum { MOST_LAYERS = 26, SLOTS = 3, SLOT = 1, TILE = 16, ARENA = 64 << 20, WORKSPACE = 64 << 10 };

/* What the first layer has of the row that the op before it wrote: not all columns. */
typedef enum cut { NOT_CUT, SCAN_OF_HALF, PRODUCT_OF_HALF } cut;

typedef struct shape {
    int model, inner, rank, states, width, layers;
    nlm_dtype weights, dt_weights;
    bool has_all;       /* biases and d; else none */
    bool is_in_place;   /* states, and h */
    bool shares_states; /* all layers those of the first */
    int n_tokens;       /* live: 1 or 0 */
    cut cut;
    int broken_after;   /* layers, behind which an op of another kind is recorded; 0: nowhere */
    const char *option; /* one that is "false", or NULL */
} shape;

/* A device's memory and the same on the host. Up to `n_changing` bytes are what ops write. */
typedef struct world {
    const nlm_plugin_v1 *plugin;
    const nlm_capture_v1 *capture;
    const nlm_device_v1 *device;
    void *stream;
    uint64_t buffer;
    char *address, *host;
    uint64_t used, n_changing;
    const char *option;
    uint32_t random;
} world;

typedef struct layer {
    nlm_tensor norm_w, w_in, conv_w, conv_bias, conv_state, conv_out, w_x, w_dt, b_dt, a, d, states, states_out,
        w_out;
    nlm_tensor x, xz, u, u_of_scan, z, y, y_of_product, h;
    nlm_norm_xz_conv_args norm;
    nlm_dt_bc_scan_args scan;
    nlm_matmul_args out;
} layer;

typedef struct model {
    shape of;
    layer layers[MOST_LAYERS];
    nlm_tensor seq_start, slot;
    nlm_copy_args copy; /* of another kind */
    nlm_tensor copied;
    void *live_rows;
    char *workspace;
} model;

static const char *library;
static char launches[64];
static bool has_clusters, is_dry;

#define OK(call)                                                       \
    do {                                                               \
        nlm_error error = NLM_ERROR_INIT;                              \
        const nlm_status status_ = call;                               \
        if (status_ != NLM_OK) printf("\n%s: %s\n", #call, error.msg); \
        CU_ASSERT_EQUAL_FATAL(status_, NLM_OK);                        \
    } while (0)

/* ---- the host ---- */

static void say(void *self, int32_t level, const char *message) {
    (void)self, (void)level, (void)message;
}
static void *allocate(void *self, uint64_t bytes, uint64_t alignment) {
    (void)self;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
static void release(void *self, void *memory) {
    (void)self;
    free(memory);
}
static const char *option(void *self, const char *key) {
    const world *w = self;
    return w->option && strcmp(key, w->option) == 0 ? "false" : NULL;
}

/* The device is one for all worlds, whose host is the latest. */
static void open_world(world *w, const nlm_host_v1 *host) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(handle);
    const nlm_plugin_v1 *(*query)(uint32_t) = NULL;
    *(void **)&query = dlsym(handle, "nlm_plugin_query_v1");
    w->plugin = query(NLM_ABI_MINOR);
    w->capture = w->plugin->extension(NLM_CAPTURE_EXTENSION, 1);
    OK(w->plugin->open(host, 0, &w->device, &error));
    OK(w->device->stream_create(w->device->self, &w->stream, &error));
    OK(w->device->buffer_alloc(w->device->self, ARENA, &w->buffer, (void **)&w->address, &error));
    w->host = calloc(1, ARENA);
}
static void close_world(world *w) {
    OK(w->device->sync(w->device->self, w->stream, &error));
    w->device->buffer_free(w->device->self, w->buffer);
    w->device->stream_destroy(w->device->self, w->stream);
    w->plugin->close(w->device);
    free(w->host);
}

/* ---- tensors ---- */

static float draw(world *w, float scale) {
    w->random = w->random * 1664525u + 1013904223u;
    return ((float)(w->random >> 8) / (1 << 24) - 0.5f) * scale;
}

static char *take(world *w, uint64_t bytes) {
    const uint64_t at = w->used;
    w->used += (bytes + 255) / 256 * 256;
    CU_ASSERT_FATAL(w->used <= ARENA);
    return w->address + at;
}
static void *on_host(const world *w, const void *address) {
    return w->host + ((const char *)address - w->address);
}

static nlm_tensor dense(world *w, nlm_dtype type, int rank, const int64_t *dims, uint32_t row_kind) {
    nlm_tensor t = {.dtype = type, .rank = rank, .buffer = w->buffer, .row_kind = row_kind};
    int64_t stride = 4;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = dims[i];
        t.stride_bytes[i] = stride;
        stride *= dims[i];
    }
    t.data = take(w, (uint64_t)stride);
    return t;
}
/* With numbers of around `middle`. */
static nlm_tensor floats(world *w, int rank, const int64_t *dims, uint32_t row_kind, float middle, float scale) {
    const nlm_tensor t = dense(w, NLM_F32, rank, dims, row_kind);
    float *at = on_host(w, t.data);
    for (int64_t i = 0; i < t.shape[0] * t.stride_bytes[0] / 4; i++) at[i] = middle + draw(w, scale);
    return t;
}
#define FLOATS(w, kind, middle, scale, ...)                                                                      \
    floats(w, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}, kind, middle, \
           scale)

/* Of a number that is no less than 2^-14, or nearly 0; cut, not rounded. */
static uint16_t half_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000u, exponent = bits >> 23 & 255u;
    return (uint16_t)(exponent < 113 ? sign : sign | (exponent - 112) << 10 | (bits >> 13 & 0x3ffu));
}

/* Numbers of a type: a row's bytes are drawn, its scales made small. */
static void draw_row(world *w, const nlm_dtype_info *type, int64_t n, float scale, uint8_t *row) {
    for (int64_t b = 0; b < n / type->block_elements; b++) {
        uint8_t *block = row + b * type->block_bytes;
        if (type->block_elements == 1) {
            const float value = draw(w, scale);
            uint32_t bits;
            memcpy(&bits, &value, 4);
            const uint16_t half = type->dtype == NLM_BF16 ? (uint16_t)(bits >> 16) : half_of(value);
            memcpy(block, type->block_bytes == 4 ? (const void *)&value : &half, type->block_bytes);
            continue;
        }
        for (uint32_t i = 0; i < type->block_bytes; i++) block[i] = (uint8_t)(draw(w, 256) + 128);
        const uint16_t small = half_of(scale / 64);
        memcpy(block, &small, 2); /* d of q8_0, q4_0 and q5_0 */
    }
}

static nlm_tensor packed(world *w, nlm_dtype dtype, int64_t rows, int64_t columns) {
    const nlm_dtype_info *type = nlm_dtype_find(dtype);
    const int64_t row_bytes = columns / type->block_elements * type->block_bytes;
    nlm_tensor t = {
        .dtype = dtype, .rank = 2, .shape = {rows, columns}, .stride_bytes = {row_bytes, type->block_bytes}};
    nlm_pack_info_v1 info = {.struct_size = sizeof info};
    uint8_t *plain = malloc((size_t)(rows * row_bytes));
    for (int64_t r = 0; r < rows; r++) draw_row(w, type, columns, 2 / sqrtf((float)columns), plain + r * row_bytes);
    t.data = plain;
    OK(w->device->pack_size(w->device->self, &t, 1, NLM_ROLE_MATMUL, &info, &error));
    char *to = take(w, info.bytes);
    OK(w->device->pack(w->device->self, &t, 1, NLM_ROLE_MATMUL, 0, rows, on_host(w, to), &error));
    free(plain);
    t.data = to;
    t.buffer = w->buffer;
    t.layout = 1;
    return t;
}

/* ---- a model ---- */

/* Channels of a layer's scan and of its last product. */
static int channels_of(const shape *s, int layer, cut from) {
    return s->cut != NOT_CUT && s->cut <= from && layer == 0 ? s->inner / 2 : s->inner;
}

static void make_changing(world *w, model *m) {
    const shape *s = &m->of;
    const int64_t kept = s->width - 1, tiles = (s->inner + TILE - 1) / TILE;
    nlm_tensor h[2], xz = FLOATS(w, NLM_ROWS_TOKENS, 0, 1, 1, 2 * s->inner), u, y;
    for (int i = 0; i < 2; i++) h[i] = FLOATS(w, NLM_ROWS_TOKENS, 0, 2, 1, s->model);
    u = FLOATS(w, NLM_ROWS_TOKENS, 0, 1, 1, s->inner);
    y = FLOATS(w, NLM_ROWS_TOKENS, 0, 1, 1, s->inner);
    m->copied = FLOATS(w, NLM_ROWS_TOKENS, 0, 1, 1, s->inner);
    for (int i = 0; i < s->layers; i++) {
        layer *l = &m->layers[i];
        l->x = h[s->is_in_place ? 0 : i % 2];
        l->h = h[s->is_in_place ? 0 : (i + 1) % 2];
        l->xz = xz, l->u = u, l->y = y, l->z = xz;
        l->z.data = (char *)xz.data + 4 * s->inner;
        l->u_of_scan = u, l->y_of_product = y;
        l->u_of_scan.shape[1] = l->z.shape[1] = l->y.shape[1] = channels_of(s, i, SCAN_OF_HALF);
        l->y_of_product.shape[1] = channels_of(s, i, PRODUCT_OF_HALF);
        l->conv_state = l->conv_out = FLOATS(w, 0, 0, 2, SLOTS, kept, s->inner);
        l->states = l->states_out = FLOATS(w, 0, 0, 2, SLOTS, tiles, s->states, TILE);
        if (s->shares_states && i > 0) {
            l->conv_state = l->conv_out = m->layers[0].conv_state;
            l->states = l->states_out = m->layers[0].states;
        }
        if (!s->is_in_place) {
            l->conv_out = FLOATS(w, 0, 0, 2, SLOTS, kept, s->inner);
            l->states_out = FLOATS(w, 0, 0, 2, SLOTS, tiles, s->states, TILE);
        }
        l->states.shape[1] = l->states_out.shape[1] = (channels_of(s, i, SCAN_OF_HALF) + TILE - 1) / TILE;
    }
    w->n_changing = w->used;
}

static void make_weights(world *w, model *m) {
    const shape *s = &m->of;
    for (int i = 0; i < s->layers; i++) {
        layer *l = &m->layers[i];
        const int of_scan = channels_of(s, i, SCAN_OF_HALF), of_product = channels_of(s, i, PRODUCT_OF_HALF);
        l->norm_w = FLOATS(w, 0, 1, 1, s->model);
        l->w_in = packed(w, s->weights, 2 * s->inner, s->model);
        l->conv_w = FLOATS(w, 0, 0, 1, s->inner, s->width);
        l->conv_bias = FLOATS(w, 0, 0, 1, s->inner);
        l->w_x = packed(w, s->weights, s->rank + 2 * s->states, of_scan);
        l->w_dt = packed(w, s->dt_weights, of_scan, s->rank);
        l->b_dt = FLOATS(w, 0, 0, 1, of_scan);
        l->a = FLOATS(w, 0, -2, 3, of_scan, s->states);
        l->d = FLOATS(w, 0, 0, 2, of_scan);
        l->w_out = packed(w, s->weights, s->model, of_product);
    }
    m->seq_start = dense(w, NLM_I32, 1, (int64_t[]){2}, 0);
    m->slot = dense(w, NLM_I32, 1, (int64_t[]){1}, NLM_ROWS_SEQS);
    m->live_rows = take(w, 16);
    m->workspace = take(w, WORKSPACE);
    memcpy(on_host(w, m->seq_start.data), (int32_t[]){0, s->n_tokens}, 8);
    memcpy(on_host(w, m->slot.data), (int32_t[]){SLOT}, 4);
    memcpy(on_host(w, m->live_rows), (int32_t[]){0, s->n_tokens, 1, 1}, 16);
}

static void make_calls(model *m) {
    const bool has = m->of.has_all;
    for (int i = 0; i < m->of.layers; i++) {
        layer *l = &m->layers[i];
        l->norm = (nlm_norm_xz_conv_args){sizeof l->norm,
                                          NLM_CONV_SILU,
                                          &l->x,
                                          &l->norm_w,
                                          &l->w_in,
                                          &l->conv_w,
                                          has ? &l->conv_bias : NULL,
                                          &l->conv_state,
                                          &m->seq_start,
                                          &m->slot,
                                          &l->xz,
                                          &l->u,
                                          &l->conv_out,
                                          1e-5f,
                                          0};
        l->scan = (nlm_dt_bc_scan_args){sizeof l->scan, 0,
                                        &l->u_of_scan,  &l->w_x,
                                        &l->w_dt,       has ? &l->b_dt : NULL,
                                        &l->a,          has ? &l->d : NULL,
                                        &l->z,          &l->states,
                                        &m->seq_start,  &m->slot,
                                        &l->y,          &l->states_out};
        l->out = (nlm_matmul_args){sizeof l->out, 0, &l->y_of_product, &l->w_out, NULL, &l->x, &l->h};
    }
    m->copy = (nlm_copy_args){.struct_size = sizeof m->copy, .x = &m->layers[0].u, .y = &m->copied};
}

static void prepare(world *w, const model *m) {
    for (int i = 0; i < m->of.layers; i++) {
        OK(w->device->prepare(w->device->self, NLM_OP_norm_xz_conv, &m->layers[i].norm, 1, &error));
        OK(w->device->prepare(w->device->self, NLM_OP_dt_bc_scan, &m->layers[i].scan, 1, &error));
        OK(w->device->prepare(w->device->self, NLM_OP_matmul, &m->layers[i].out, 1, &error));
    }
    OK(w->device->prepare(w->device->self, NLM_OP_copy, &m->copy, 1, &error));
}

static void call(world *w, const model *m, bool is_recorded) {
    const int32_t live[NLM_ROWS_KINDS] = {0, m->of.n_tokens, 1, 1};
    nlm_exec_v1 x = {.struct_size = sizeof x, .nth = 1, .device = w->device->self, .stream = w->stream};
    nlm_error said = NLM_ERROR_INIT;
    x.error = &said;
    x.workspace = m->workspace;
    x.workspace_bytes = WORKSPACE;
    x.flags = is_recorded ? NLM_EXEC_RECORDING : 0;
    x.live_rows = is_recorded ? NULL : live;
    x.live_rows_device = m->live_rows;
    for (int i = 0; i < m->of.layers; i++) {
        CU_ASSERT_EQUAL_FATAL(w->device->ops->norm_xz_conv(&x, &m->layers[i].norm), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(w->device->ops->dt_bc_scan(&x, &m->layers[i].scan), NLM_OK);
        CU_ASSERT_EQUAL_FATAL(w->device->ops->matmul(&x, &m->layers[i].out), NLM_OK);
        if (i + 1 == m->of.broken_after) CU_ASSERT_EQUAL_FATAL(w->device->ops->copy(&x, &m->copy), NLM_OK);
    }
}

/* ---- both ways ---- */

/* What all that changes is after the calls, as they are enqueued or recorded; and twice, as the states go on. */
static char *result_of(world *w, const model *m, bool is_recorded) {
    void *self = w->device->self, *recording = NULL;
    char *out = malloc(w->n_changing);
    OK(w->device->upload(self, NULL, w->buffer, 0, w->host, w->used, &error));
    if (is_recorded) {
        OK(w->capture->begin(self, w->stream, &error));
        call(w, m, true);
        OK(w->capture->end(self, w->stream, &recording, &error));
    }
    for (int i = 0; i < 2; i++) {
        if (is_recorded)
            OK(w->capture->launch(self, recording, w->stream, &error));
        else
            call(w, m, false);
    }
    OK(w->device->sync(self, w->stream, &error));
    OK(w->device->download(self, NULL, w->buffer, 0, out, w->n_changing, &error));
    if (recording) w->capture->destroy(self, recording);
    return out;
}

/* How often a kernel ran since the file was emptied. */
static int count(const char *kernel) {
    char line[256];
    int n = 0;
    FILE *file = fopen(launches, "re");
    while (file && fgets(line, sizeof line, file)) n += strncmp(line, kernel, strlen(kernel)) == 0;
    if (file) fclose(file);
    return n;
}

/* Recorded as enqueued, to the bit, and so many launches of a cluster each time. */
static void check(const shape *s, int n_clusters) {
    world w = {.option = s->option, .random = 1};
    const nlm_host_v1 host = {
        .struct_size = sizeof host, .self = &w, .log = say, .alloc = allocate, .release = release, .option = option};
    static model m;
    m = (model){.of = *s};
    open_world(&w, &host);
    make_changing(&w, &m);
    make_weights(&w, &m);
    make_calls(&m);
    prepare(&w, &m);
    char *enqueued = result_of(&w, &m, false);
    CU_ASSERT_EQUAL(truncate(launches, 0), 0);
    char *recorded = result_of(&w, &m, true);
    CU_ASSERT_EQUAL(count("mamba_step"), has_clusters ? 2 * n_clusters : 0);
    CU_ASSERT_EQUAL(memcmp(enqueued, recorded, w.n_changing), 0);
    const bool is_still = memcmp(enqueued, w.host, w.n_changing) == 0;
    CU_ASSERT_EQUAL(is_still, is_dry || (s->n_tokens == 0 && s->is_in_place));
    free(enqueued);
    free(recorded);
    close_world(&w);
}

/* ---- tests ---- */

static const shape of_each_type = {
    .model = 64, .inner = 96, .rank = 32, .states = 16, .width = 4, .layers = 2, .has_all = true, .n_tokens = 1};

/* Blocks that have more and fewer tiles and rows than others, ends of rows, states that eight threads share unevenly.
 */
static void of_any_size(void) {
    static const shape shapes[] = {
        {.model = 26, .inner = 52, .rank = 3, .states = 16, .width = 4, .layers = 3, .has_all = true, .n_tokens = 1},
        {.model = 17, .inner = 29, .rank = 1, .states = 20, .width = 2, .layers = 2, .n_tokens = 1},
        {.model = 5, .inner = 7, .rank = 9, .states = 16, .width = 3, .layers = 4, .has_all = true, .n_tokens = 1},
        {.model = 150,
         .inner = 70,
         .rank = 70,
         .states = 20,
         .width = 8,
         .layers = 1,
         .is_in_place = true,
         .n_tokens = 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check(&shapes[i], 1);
}

static void of_sixteen_blocks(void) {
    shape s = of_each_type;
    s.inner = 256;
    s.layers = 1;
    check(&s, 1);
}

static void of_any_type(void) {
    static const nlm_dtype types[] = {NLM_F16, NLM_BF16, NLM_Q8_0, NLM_Q4_0};
    shape s = of_each_type;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        s.weights = types[i];
        s.dt_weights = i % 2 ? types[i] : NLM_F32;
        check(&s, 1);
    }
}

/* A batch without a token, of a sequence all the same. */
static void of_no_token(void) {
    shape s = of_each_type;
    s.n_tokens = 0;
    check(&s, 1);
    s.is_in_place = true;
    check(&s, 1);
}

static const shape of_small_layers = {.model = 8, .inner = 32, .rank = 1, .states = 20, .width = 2, .n_tokens = 1};

/* More than there are stages for, and more than go into one launch. */
static void of_many_layers(void) {
    shape s = of_small_layers;
    s.layers = MOST_LAYERS;
    check(&s, 2);
}

/* What stands between layers parts them. */
static void of_parts(void) {
    shape s = of_small_layers;
    s.layers = 3;
    s.broken_after = 2;
    check(&s, 2);
}

/* A row of which an op has but half the columns begins where the whole one does, and makes no layer. */
static void of_half_rows(void) {
    shape s = of_small_layers;
    s.layers = 2;
    s.inner = 64; /* half of it is a whole row of packed weights */
    for (s.cut = SCAN_OF_HALF; s.cut <= PRODUCT_OF_HALF; s.cut++) check(&s, 1);
}

/* Where a cluster cannot, or must not, do it. */
static void of_single_ops(void) {
    shape s = of_each_type;
    s.option = "cluster_step";
    check(&s, 0);
    s = of_small_layers;
    s.layers = 2;
    s.is_in_place = s.shares_states = true;
    check(&s, 0);
    s = of_each_type;
    s.model = 1025; /* longer than what a warp has of a row at a time */
    s.layers = 1;
    check(&s, 0);
    s = of_each_type;
    s.model = 3; /* so that there are two blocks, and no stage fits */
    s.inner = 1024;
    s.rank = 1;
    s.layers = 1;
    check(&s, 0);
}

static const check_case cases[] = {
    CHECK_CASE(of_any_size), CHECK_CASE(of_sixteen_blocks), CHECK_CASE(of_any_type),    CHECK_CASE(of_no_token),
    CHECK_CASE(of_parts),    CHECK_CASE(of_half_rows),      CHECK_CASE(of_many_layers), CHECK_CASE(of_single_ops),
};

int main(int argc, char **argv) {
    const size_t n = sizeof cases / sizeof *cases;
    const char *capability = getenv("EMU_CUDA_CAPABILITY"), *dry = getenv("EMU_CUDA_DRY");
    size_t first = 0;
    while (argc == 3 && first < n && strcmp(cases[first].name, argv[2]) != 0) first++;
    if (argc < 2 || argc > 3 || first == n) {
        fprintf(stderr, "usage: with-device test_mamba_step LIBRARY [CASE]\n");
        return 2;
    }
    library = argv[1];
    snprintf(launches, sizeof launches, "/tmp/nlm-launches-XXXXXX");
    const int file = mkstemp(launches);
    if (file < 0) return 1;
    close(file);
    setenv("EMU_CUDA_LAUNCHES", launches, 1);
    has_clusters = !capability || atoi(capability) >= 9;
    is_dry = dry && strcmp(dry, "1") == 0;
    const int result = check_main("layers of Mamba as one launch", cases + first, argc == 3 ? 1 : n);
    unlink(launches);
    return result;
}
