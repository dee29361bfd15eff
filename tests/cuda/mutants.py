"""Faults planted in the sources of backends/cuda, and what stops each: see test_mutants.py.

Of a mutant: the file; the text that goes, which is there once; what comes instead; the case that meets it, of nlm-conform or ("mamba_step/CASE") of test_mamba_step;
a pattern of the sentence that the test device says; of kernels, a part of the line that the sentence names; and what
the case runs with.
"""
from dataclasses import dataclass, field


@dataclass
class Mutant:
    name: str
    file: str
    before: str
    after: str
    case: str
    sentence: str
    line: str
    settings: dict = field(default_factory=dict)
    options: tuple = ()  # of nlm-conform


BUSY = {"EMU_CUDA_MULTIPROCESSORS": "1"}  # so that work is cut as where there is plenty
FEW = "matmul/M=1,K=512,N=19,w:q8_0"
SPLIT = "matmul/M=2,K=11008,N=3,w:q4_0"
MANY = "matmul/M=33,K=64,N=17,w:q4_0"
ROWS = "attention/seqs=1,past=2000,H=8,G=1,D=128,B=32,cache:f16"
TILED = "attention/seqs=100+1,past=450+900,H=4,G=2,D=64,B=32,cache:f16,lse"
RACES = "races with a"
STEP = "mamba_step/of_many_layers"
DENSE = ("--option", "products=cublaslt")
DENSE_TILES = "matmul/M=20,K=96,N=150,w:q4_1"
SMALL = {"EMU_CUDA_MEMORY_MIB": "16"}  # so that a weight is decoded in several tiles

KERNELS = (
    # missing barriers
    Mutant("a row is read before all of it is staged", "few.cuh",
           "squares);\n        __syncthreads();\n#pragma unroll\n        for (int i = 0; i < GROUPS",
           "squares);\n#pragma unroll\n        for (int i = 0; i < GROUPS", FEW,
           RACES + "|nothing was written to", "dot(w, x[m * STAGED_PLACES]"),
    Mutant("the next part is staged while the last is read", "few.cuh",
           "SPLIT, x, s);\n        }\n        __syncthreads();\n", "SPLIT, x, s);\n        }\n", SPLIT,
           RACES, ""),
    Mutant("warps' sums are added before they are there", "few.cuh",
           "parts[warp][lane] = mine;\n    __syncthreads();\n", "parts[warp][lane] = mine;\n", SPLIT,
           RACES + "|nothing was written to", "parts[warp"),
    Mutant("a block's sum is read before it is there", "device.cuh",
           "parts[threadIdx.x / 32] = v;\n    __syncthreads();\n    v = 0;", "parts[threadIdx.x / 32] = v;\n    v = 0;",
           "rms_norm/R=1,N=576,w", RACES + "|nothing was written to", "parts["),
    Mutant("a tile is multiplied before it is there", "many.cuh",
           "w.put(b, operands[1]);\n        __syncthreads();\n", "w.put(b, operands[1]);\n", MANY,
           RACES + "|nothing was written to", ""),
    Mutant("sums take the operands' place too early", "many.cuh",
           "    __syncthreads();\n    sums.put(shared.sums);", "    sums.put(shared.sums);",
           "matmul/M=20,K=96,N=150,w:q4_0", RACES, ""),
    Mutant("a chunk is read before all warps left theirs", "attention.cu",
           "share<P>(total, shared);\n    __syncthreads();\n", "share<P>(total, shared);\n", ROWS,
           RACES + "|nothing was written to", ""),
    Mutant("the next chunk takes the last one's place", "attention.cu",
           "element % HEAD_SIZE));\n        }\n        __syncthreads();\n", "element % HEAD_SIZE));\n        }\n",
           "attention/seqs=1+1+1+1,past=510+511+512+513,H=6,G=2,D=32,B=32,cache:f16,lse", RACES, "", BUSY),
    Mutant("keys that other threads brought are not waited for", "attention_mma.cu",
           "        wait_for_copies();\n        __syncthreads();\n        begin_loading(a.v_cache",
           "        wait_for_copies();\n        begin_loading(a.v_cache", TILED,
           RACES + "|was not waited for|nothing was written to", ""),
    Mutant("a chunk of the scan is read before it is there", "scan.cuh",
           "put<HAS_OUTPUT>(in, &memory);\n        __syncthreads();\n", "put<HAS_OUTPUT>(in, &memory);\n",
           "ssm_scan/seqs=7,past=0,C=48,N=16,state_out=state", RACES + "|nothing was written to", "m->"),
    Mutant("a row's best is read before all warps have theirs", "argmax.cu",
           "of_warp[threadIdx.x / 32] = best;\n    __syncthreads();\n", "of_warp[threadIdx.x / 32] = best;\n",
           "argmax/R=1,N=5000", RACES + "|nothing was written to", "of_warp"),
    Mutant("candidates are compared before the others have changed places", "sample.cu",
           "m.places[i + step] = a;\n            }\n            __syncthreads();\n", "m.places[i + step] = a;\n            }\n",
           "sample/R=15,N=257,pos=7", RACES, "m.places["),
    Mutant("candidates are ordered before all are there", "sample.cu",
           "= row.place(i);\n    }\n    __syncthreads();\n", "= row.place(i);\n    }\n", "sample/R=15,N=257,pos=7",
           RACES + "|nothing was written to", "m.places["),
    Mutant("weights are read before all kernels have them", "sample.cu",
           "__shared__ choose_memory shared;\n    wait_for_inputs();\n", "__shared__ choose_memory shared;\n",
           "sample/R=15,N=257,pos=7", "what an earlier kernel writes|no thread waits|has not waited", ""),
    Mutant("rows move before those of other warps are counted", "advance.cu",
           "of_warp[warp] = __popc(all);\n        __syncthreads();", "of_warp[warp] = __popc(all);",
           "advance/ones=70,C=3,Z=40", RACES + "|nothing was written to", ""),
    Mutant("the next rows are counted before these have moved", "advance.cu",
           "slots[to] = slot;\n        }\n        __syncthreads();\n", "slots[to] = slot;\n        }\n",
           "advance/ones=300,C=9,Z=3", RACES, "of_warp"),
    Mutant("two sums of a block share their room", "softmax.cu",
           "block_sum<THREADS>(sum, sum_parts)", "block_sum<THREADS>(sum, greatest_parts)", "softmax/R=1,N=1000", RACES,
           "parts["),
    # copies that are late
    Mutant("keys are not waited for", "attention_mma.cu",
           "        wait_for_copies();\n        __syncthreads();\n        begin_loading(a.v_cache",
           "        __syncthreads();\n        begin_loading(a.v_cache", TILED, "was not waited for", "" ),
    Mutant("values are not waited for", "attention_mma.cu",
           "        wait_for_copies();\n        if (__syncthreads_and", "        if (__syncthreads_and", TILED,
           "was not waited for", ""),
    # masks
    Mutant("half a warp in the mask of a sum", "device.cuh",
           "v += __shfl_xor_sync(0xffffffffu, v, o);\n    return v;\n}\n__device__ __forceinline__ float warp_max",
           "v += __shfl_xor_sync(0x0000ffffu, v, o);\n    return v;\n}\n__device__ __forceinline__ float warp_max",
           FEW, "takes part in a collective whose mask", "__shfl_xor_sync"),
    Mutant("a shuffle where only some lanes come", "attention_mma.cu",
           "        sums.weight[i] += __shfl_xor_sync(0xffffffffu, sums.weight[i], 1);\n",
           "        if (!is_row<TILE_HEADS>(r, pair)) continue;\n"
           "        sums.weight[i] += __shfl_xor_sync(0xffffffffu, sums.weight[i], 1);\n",
           TILED, "waits for ever at a collective|mask", "__shfl_xor_sync"),
    # places
    Mutant("a tile one row too far", "many.cuh",
           "*(float4 *)&out[threadIdx.x / 8 + 32 * i][threadIdx.x % 8 * 4] = rounded(v);",
           "*(float4 *)&out[threadIdx.x / 8 + 32 * i + 1][threadIdx.x % 8 * 4] = rounded(v);", MANY,
           RACES + "|of dynamic shared memory|nothing was written to", ""),
    Mutant("a wrong swizzle", "few.cuh", "i % 8 * PITCH + i / 8 % 32", "i % 8 * 32 + i / 8 % 32", FEW,
           RACES + "|nothing was written to", ""),
    Mutant("chunks' sums overlap", "attention.cu", "+ chunk) * (HEAD_SIZE + 2);", "+ chunk) * (HEAD_SIZE + 1);", ROWS,
           RACES, ""),
    Mutant("a vector where elements stand anywhere", "few.cuh", "is_whole = has_whole_quads<ACT>(x) && ", "is_whole = ",
           "matmul/M=5,K=128,N=9,w:q8_0,x+7,w+1,y+3,pad=2", "no multiple of", ""),
    Mutant("the last quads of a tile are left out", "many.cuh",
           "for (int i = 0; i < QUADS; i++) {\n            *(float4 *)&out[threadIdx.x / 8 + 32 * i]",
           "for (int i = 0; i < QUADS - 1; i++) {\n            *(float4 *)&out[threadIdx.x / 8 + 32 * i]", MANY,
           "nothing was written to", ""),
    Mutant("every token is written to the page's first row", "kv_append.cu",
           "append(at<KEY>(a.k_cache, place.page, g, place.row), size, element);",
           "append(at<KEY>(a.k_cache, place.page, g, 0), size, element);", "kv_append/seqs=9,past=0,G=2,D=32,B=4,cache:f16", RACES, ""),
    # launches that begin early
    Mutant("chunks are merged before they are waited for", "attention.cu",
           "    wait_for_inputs();\n    if (!find_row(run, a, 1, &r)) return;", "    if (!find_row(run, a, 1, &r)) return;", ROWS,
           "what an earlier kernel writes", "room[HEAD_SIZE]"),
    # a cluster's blocks
    Mutant("what other blocks send is not waited for", "mamba_step.cu",
           "    receive(s, b, OF_Y, layer, s.inner);\n", "", STEP, RACES + "|nothing was written to|waits for ever", ""),
    Mutant("a barrier counts too few bytes", "mamba_step.cu", "{s.inner, s.rank + 2 * STATES, s.inner, s.model}",
           "{s.inner - 4, s.rank + 2 * STATES, s.inner, s.model}", STEP,
           RACES + "|nothing was written to|waits for ever", ""),
    Mutant("weights go where a layer's are read", "mamba_step.cu", "begin_weights(s, b, layer - 1 + s.n_stages);",
           "begin_weights(s, b, layer + s.n_stages);", STEP, RACES, ""),
    Mutant("a block writes to one that need not have begun", "cluster.cuh",
           '    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");\n}\n'
           '__device__ __forceinline__ void cluster_wait() {\n'
           '    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");\n',
           "}\n__device__ __forceinline__ void cluster_wait() {\n", STEP, "need not have begun", ""),
    Mutant("the last layer sends to blocks that end", "mamba_step.cu", "is_there && layer + 1 < s.n_layers", "is_there",
           STEP, "ended|its block ends", ""),
    Mutant("layers begin before their inputs are there", "mamba_step.cu", "    wait_for_inputs();\n    const bool",
           "    const bool", STEP, "before griddepcontrol.wait", ""),
    # order
    Mutant("an atomic sum of floats", "device.cuh",
           "    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;\n    __syncthreads();\n    v = 0;\n",
           "    if (threadIdx.x < THREADS / 32) parts[threadIdx.x] = 0;\n    __syncthreads();\n"
           "    if (threadIdx.x % 32 == 0) atomicAdd(&parts[0], v);\n    __syncthreads();\n    v = 0;\n",
           "rms_norm/R=1,N=576,w", "depend on the order", "atomicAdd"),
    # of training
    Mutant("a tile of a gradient's product is multiplied before it is there", "gemm.cuh",
           "in_b.put(operands[half][1]);\n        __syncthreads();\n", "in_b.put(operands[half][1]);\n",
           "matmul_dw/M=33,N=17,K=130,accumulate", RACES + "|nothing was written to", ""),
    Mutant("weights of a backward tile are read before they are there", "attention_plain_bwd.cu",
           "weigh<false>(a, t, p.first, p.end, m);\n            __syncthreads();\n",
           "weigh<false>(a, t, p.first, p.end, m);\n", "attention_plain_bwd/seqs=9,H=4,G=2,D=32,window=1",
           RACES + "|nothing was written to", ""),
    Mutant("what a chunk says of its steps is read before it is there", "ssm_scan_bwd.cu",
           "run_back(b, first, n_tokens, dh, da);\n    __syncthreads();\n", "run_back(b, first, n_tokens, dh, da);\n",
           "ssm_scan_bwd/seqs=7,C=48,N=16,d,dd,z,dz", RACES + "|nothing was written to", ""),
    # of products by cuBLASLt
    Mutant("a row that is made dense runs into the next", "dense_rows.cu",
           "i < n_places; i += THREADS) {\n        const i64 k", "i <= n_places; i += THREADS) {\n        const i64 k",
           "norm_matmul/M=70,K=256,N=5,w:f16", RACES, "to[i]", options=DENSE),
    Mutant("a sum and a maximum of a block share their room", "dense_rows.cu",
           "block_max<THREADS>(greatest, of_greatest)", "block_max<THREADS>(greatest, of_squares)",
           "norm_matmul/M=70,K=256,N=5,w:f16", RACES, "parts[", options=DENSE),
    Mutant("results go past the last column", "dense_results.cu", "    if (j + 3 < n) to[3] = ", "    to[3] = ", DENSE_TILES,
           RACES, "to[", options=DENSE),
)

# Of the host's side, whose lines no sentence of the device knows: the case has to fail.
HOST = (
    Mutant("a host pointer for a tensor", "launch.c", "view.data = (uintptr_t)t->data;", "view.data = (uintptr_t)t;", FEW,
           "which is no device memory|no multiple of", ""),
    Mutant("a kernel in another stream than its copies", "launch.c", ".hStream = s->stream,", ".hStream = NULL,",
           "captured/rms_norm", "", ""),
    Mutant("an event that is not waited for", "stream.c",
           "    NLM_CUDA_TRY(cuStreamWaitEvent, s->stream, event, 0);\n", "    (void)event;\n", "abi/20_events", "", ""),
    Mutant("a copy to the host that is not waited for", "memory.c",
           "host, place(buffer, offset), bytes, stream_of(d, stream));\n    return finish(d, stream, error);",
           "host, place(buffer, offset), bytes, stream_of(d, stream));\n    return NLM_OK;", "abi/18_transfers", "", ""),
    Mutant("rows of results are nearer than their layout says", "dense.c",
           ".pitch = p->parts * pitch_of(columns),", ".pitch = p->parts * columns,", DENSE_TILES, "", "", options=DENSE),
    Mutant("every tile has the first rows of the weight", "dense.c",
           ".threads = THREADS,\n        .first_row = first,\n        .n_rows = columns,\n    };\n    return nlm_cuda_launch",
           ".threads = THREADS,\n        .first_row = 0,\n        .n_rows = columns,\n    };\n    return nlm_cuda_launch",
           DENSE_TILES, "", "", SMALL, DENSE),
    Mutant("a tile ends a column too early", "dense.c",
           "const nlm_matmul_args *args) {\n    for (int64_t first = 0; first < p->n; first += p->tile) {\n"
           "        const int64_t columns = least(p->tile, p->n - first);",
           "const nlm_matmul_args *args) {\n    for (int64_t first = 0; first < p->n; first += p->tile) {\n"
           "        const int64_t columns = least(p->tile, p->n - first - 1);", DENSE_TILES, "", "", SMALL, DENSE),
    Mutant("the exponents of a weight stay in its results", "dense.c",
           "p->is_direct ? 0 : p->parts * pitch_of(columns));", "0);", DENSE_TILES, "", "", options=DENSE),
    Mutant("the library's workspace is that of the operands", "dense.c",
           "p.at_workspace = place(&p.bytes, (int64_t)workspace_of(d, &p));", "p.at_workspace = p.at_x;",
           "matmul/M=530,K=32,N=9,w:q4_1", "", "", options=DENSE),
    Mutant("a sum may go in any order", "blas.c",
           "*out = scheme == CUBLASLT_REDUCTION_SCHEME_NONE || scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;",
           "*out = true;", "matmul/M=70,K=256,N=5,w:f16", "", "", options=DENSE),
    Mutant("what ends layers runs before them", "step.c",
           "    return nlm_cuda_step_flush(s, x->error);\n}", "    return NLM_OK;\n}", "mamba_step/of_parts", "", ""),
    Mutant("layers that share states are one launch", "step_plan.c", "return are_apart(states, 4 * n_layers) && ", "return ",
           "mamba_step/of_single_ops", "", ""),
)
