/* What host and kernels both know: compiled as C11 here and as CUDA C++ by NVRTC, so without includes. */
#ifndef NLM_CUDA_TYPES_H
#define NLM_CUDA_TYPES_H

/* A tensor as a kernel gets it, by value. Strides in bytes, as in nlm_tensor. data 0: absent. */
typedef struct nlm_cuda_view {
    unsigned long long data;
    long long stride[4];
    long long shape[4];
    int rank;
    int row_kind; /* NLM_ROWS_* */
} nlm_cuda_view;

/* What a kernel found to be wrong with its inputs: the first that did, of a stream or a recording. */
typedef struct nlm_cuda_fault {
    unsigned int kind; /* NLM_CUDA_FAULT_*; 0: none */
    unsigned int op;
    long long place, value, limit;
    long long reserved[4]; /* a cache line each */
} nlm_cuda_fault;

enum {
    NLM_CUDA_FAULT_NONE = 0,
    NLM_CUDA_FAULT_ID,        /* `value` in row `place` is no id below `limit` */
    NLM_CUDA_FAULT_SLOT,      /* of sequence `place` */
    NLM_CUDA_FAULT_SEQ_START, /* entry `place` descends or passes `limit` */
    NLM_CUDA_FAULT_POSITION,  /* of token `place` */
    NLM_CUDA_FAULT_PAGE,      /* of token `place` */
    NLM_CUDA_FAULT_LABEL,     /* of row `place` */
    NLM_CUDA_FAULT_KINDS
};

/* Of a call of a slot: nlm_exec_v1 as kernels need it. */
typedef struct nlm_cuda_run {
    const int *live_rows_device; /* [4] in device memory, or 0 */
    long long live_rows[4];      /* by NLM_ROWS_*, where live_rows_device is 0 */
    nlm_cuda_fault *fault;
    char *workspace; /* nlm_exec_v1's */
    long long max_context;
    unsigned int op;
    unsigned int reserved;
    long long first_row, n_rows; /* of the op's, that this launch is about: where an op works its rows off in turns */
} nlm_cuda_run;

/* Of device/mamba_step.cu: layers at most, and stages of weights. */
#define NLM_CUDA_STEP_LAYERS 24
#define NLM_CUDA_STEP_STAGES 8

/* A layer: addresses, of which 0 is absent. Weights are packed; of what is written (xz, u, y, h) only that has an
 * address which no later layer overwrites. */
typedef struct nlm_cuda_step_layer {
    unsigned long long norm_w, w_in, conv_w, conv_bias, w_x, w_dt, dt_bias, rate, d, w_out;
    unsigned long long conv_state, conv_state_out, states, states_out;
    unsigned long long xz, u, y, h;
} nlm_cuda_step_layer;

/* Layers of Mamba for one token. Letters are those of op_table.h. */
typedef struct nlm_cuda_step {
    nlm_cuda_view x, seq_start, slot; /* the first layer's x, a row */
    int n_layers, n_blocks;           /* of the cluster */
    int model, inner, rank, width;    /* K, C, R, J */
    int is_silu;
    float eps;
    int n_stages, stage_bytes;                   /* of shared memory */
    int x_at, dt_at, out_at;                     /* where in a stage the weights behind w_in begin */
    int most_tiles, most_selected, most_outputs; /* of a block: tiles, rows of w_x, rows of w_out */
    int small_floats;
    int n_slots;
    long long conv_slot, conv_row, state_slot, state_tile;                 /* bytes, of states that are read, */
    long long conv_slot_out, conv_row_out, state_slot_out, state_tile_out; /* and written */
    nlm_cuda_step_layer layer[NLM_CUDA_STEP_LAYERS];
} nlm_cuda_step;

#endif
