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

#endif
