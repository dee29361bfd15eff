/* Causal attention over the paged cache. */
#include "attention.h"

#define THREADS    128 /* these of attention.cu */
#define MIN_CHUNK  64
#define MAX_CHUNKS 64
#define IS_TILED   1u

/* Of a batch in which sequences of several rows are worth a look. */
#define TILED_ROWS 16

#define MMA_ROWS 64 /* of a block of attention_mma.cu */

/* Blocks without chunks that keep a multiprocessor busy: fewer rows than that have a block a chunk. */
#define BUSY_BLOCKS 4

static bool is_chunked(const nlm_cuda_device *d, int64_t rows, int64_t groups) {
    return rows * groups < (int64_t)BUSY_BLOCKS * d->n_multiprocessors;
}

/* The most chunks that a row which sees so many positions may have. */
static int64_t most_chunks(int64_t positions) {
    const int64_t chunks = nlm_cuda_div_up(positions, MIN_CHUNK);
    return chunks < MAX_CHUNKS ? chunks : MAX_CHUNKS;
}

/* A chunk's sums of a head: see room_of in attention.cu. */
void nlm_cuda_attention_needs(void *self, const nlm_dims *dims, uint32_t nth, nlm_caps_v1 *out) {
    const int64_t rows = nlm_dim(dims, 'T'), heads = nlm_dim(dims, 'H'), head = nlm_dim(dims, 'D');
    (void)nth;
    if (!is_chunked(self, rows, nlm_dim(dims, 'G'))) return;
    const int64_t chunks = most_chunks(nlm_dim(dims, 'M') * nlm_dim(dims, 'B'));
    out->workspace_bytes = (uint64_t)(rows * heads * chunks * (head + 2)) * sizeof(float);
}

/* q8_0 never begins at multiples of 16 bytes, and is read as it is. */
static bool is_aligned(const nlm_tensor *cache) {
    return cache->dtype == NLM_Q8_0 || nlm_cuda_heads_are_aligned(cache);
}

/* Over how many blocks the heads that share keys and values are spread: a thread has registers for a part of the
 * elements of so many. */
static int blocks_of_group(const nlm_attention_args *args, int shared) {
    const int64_t of_thread = 8 * nlm_cuda_div_up(args->q->shape[2], 256), most = 32 / of_thread;
    return (int)nlm_cuda_div_up(shared, most < 1 ? 1 : most);
}

static nlm_cuda_kernel kernel_of(const nlm_attention_args *args, int shared, const char *source, const char *name) {
    return (nlm_cuda_kernel){source,
                             name,
                             {{"ACT", nlm_cuda_type_name(args->q), 0},
                              {"KEY", nlm_cuda_type_name(args->k_cache), 0},
                              {"VALUE", nlm_cuda_type_name(args->v_cache), 0},
                              {"HEAD_SIZE", NULL, (int)args->q->shape[2]},
                              {"SHARED", NULL, shared},
                              {"BLOCKS", NULL, blocks_of_group(args, shared)}}};
}

/* How many chunks this run's rows may have. */
static int64_t chunks_of(const nlm_exec_v1 *x, const nlm_attention_args *args) {
    const int64_t capacity = args->block_table->shape[1] * args->k_cache->shape[2];
    int64_t seen = x->max_context > 0 && x->max_context < capacity ? x->max_context : capacity;
    if (args->window > 0 && args->window < seen) seen = args->window;
    return most_chunks(seen);
}

/* Rows that see much have a block for each of their chunks, and then one that merges them; else a block a row does.
 * `told` has the kernels' own flags. */
static nlm_status launch_rows(const nlm_exec_v1 *x, nlm_attention_args *told, int shared, bool are_aligned) {
    const int64_t groups = told->k_cache->shape[1], rows = nlm_live_rows(x, told->q), chunks = chunks_of(x, told);
    nlm_cuda_work work = {.op = NLM_OP_attention, .args = told, .threads = THREADS, .is_early = true};
    work.grid[0] = rows * groups * blocks_of_group(told, shared);
    work.kernel = kernel_of(told, shared, "attention", are_aligned ? "attention" : "attention_unaligned");
    if (!is_chunked(x->device, told->q->shape[0], groups)) return nlm_cuda_launch(x, &work);
    told->flags |= (uint32_t)chunks << 8;
    work.grid[1] = chunks;
    NLM_KIT_TRY(nlm_cuda_launch(x, &work));
    work.kernel = kernel_of(told, shared, "attention", "attention_merge");
    work.grid[0] = rows * groups;
    work.grid[1] = shared;
    return nlm_cuda_launch(x, &work);
}

/* Tiles sum in another order: not where a row's bits may not depend on what is beside it. */
static bool is_tiled(const nlm_cuda_device *d, const nlm_attention_args *args) {
    return !d->is_batch_invariant && args->q->shape[0] >= TILED_ROWS && args->q->shape[2] <= NLM_CUDA_TILED_HEAD;
}

/* Tensor cores need caches of halves, read 16 bytes at a time. */
static bool has_mma(const nlm_cuda_device *d, const nlm_attention_args *args) {
    const int64_t size = args->q->shape[2];
    const bool are_halves = args->k_cache->dtype == NLM_F16 && args->v_cache->dtype == NLM_F16;
    return d->capability >= 80 && are_halves && size <= 128 && size % 8 == 0;
}

static nlm_status launch_mma(const nlm_exec_v1 *x, const nlm_attention_args *told, int shared) {
    const int64_t heads = shared < MMA_ROWS ? shared : MMA_ROWS, tokens = MMA_ROWS / heads;
    const nlm_cuda_work work = {
        .op = NLM_OP_attention,
        .args = told,
        .kernel = kernel_of(told, shared, "attention_mma", "attention_mma"),
        .grid = {nlm_live_rows(x, told->q) / tokens + nlm_live_rows(x, told->slot),
                 told->k_cache->shape[1] * nlm_cuda_div_up(shared, heads)},
        .threads = 128,
    };
    return nlm_cuda_launch(x, &work);
}

/* The sequences of many rows. Where no address is known yet, in prepare, all kernels that may be wanted are. */
static nlm_status launch_tiles(const nlm_exec_v1 *x, const nlm_attention_args *told, int shared, bool are_aligned) {
    nlm_cuda_work work = {.op = NLM_OP_attention, .args = told};
    if (has_mma(x->device, told) && are_aligned) {
        NLM_KIT_TRY(launch_mma(x, told, shared));
        if (x->stream) return NLM_OK;
    }
    work.kernel =
        kernel_of(told, shared, "attention_tiles", are_aligned ? "attention_tiles" : "attention_tiles_unaligned");
    nlm_cuda_tile(&work, x, told->q, nlm_live_rows(x, told->slot), told->k_cache->shape[1], shared);
    return nlm_cuda_launch(x, &work);
}

nlm_status nlm_cuda_attention(const nlm_exec_v1 *x, const nlm_attention_args *args) {
    const int64_t groups = args->k_cache->shape[1];
    const int shared = groups > 0 ? (int)(args->q->shape[1] / groups) : 0;
    const bool are_aligned = is_aligned(args->k_cache) && is_aligned(args->v_cache);
    nlm_attention_args told = *args;
    if (shared == 0) return NLM_OK;
    told.flags = is_tiled(x->device, args) ? IS_TILED : 0;
    if (told.flags) NLM_KIT_TRY(launch_tiles(x, &told, shared, are_aligned));
    return launch_rows(x, &told, shared, are_aligned);
}
