/* The fused ops. Their reference is the float64 decomposition. */
#include "rows.h"

const char *const spec_gate_up_silu_mul_rows[] = {
    "M=1,K=1,N=1",
    "M=1,K=256,N=19,w:all",
    "M=5,K=256,N=33,w:all",
    "M=17,K=64,N=9,w:blocks",
    "M=3,K=33,N=65,w:plain",
    "M=4,K=32,N=12,w:blocks,x+3,w_gate+1,w_up+2,y+5,pad=2",
    "M=70,K=256,N=5,w:all",
    "M=530,K=32,N=6,w:blocks",
    "M=0,K=32,N=8,pad=2",
    REFUSALS("M=2,K=32,N=4"),
    NULL,
};

const char *const spec_qkv_rope_append_rows[] = {
    "seqs=1,past=0,K=8,H=1,G=1,D=2,B=1",
    "seqs=1,past=6,K=256,H=3,G=1,D=32,B=4,w:all,cache:all",
    "seqs=5,past=0,K=64,H=4,G=2,D=32,B=4,w:blocks,cache:f16,half_split",
    "seqs=3+0+4+1,past=0+4+9+2,K=32,H=2,G=1,D=32,B=4,cache:all,pad=3,spare=2",
    "seqs=2+3,past=5+0,K=32,H=2,G=1,D=16,B=4,pad=2,fixed,half_split",
    "seqs=4,past=3,K=33,H=3,G=3,D=10,B=4,n_rot=6,b_q,b_k,b_v,w:plain,cache:plain",
    "seqs=4,past=90,K=32,H=4,G=2,D=16,B=8,freq_factors,freq_base=500000,half_split,b_k,cache:plain",
    "seqs=3,past=8,K=40,H=2,G=2,D=8,B=4,freq_scale=0.5,x+4,w_q+1,w_k+2,w_v+3,q+6",
    "seqs=70+1+9,past=0+30+5,K=32,H=2,G=1,D=32,B=16,w:blocks",
    "seqs=1+1+1+1+1+1+1+1+1,past=0+1+2+3+4+5+6+7+30,K=32,H=2,G=1,D=32,B=16,w:blocks",
    "seqs=3+2,past=0+2,K=32,H=2,G=1,D=32,B=4,bad=page",
    "seqs=3+2,past=0+2,K=32,H=2,G=1,D=32,B=4,bad=slot",
    "seqs=3+2,past=0+2,K=32,H=2,G=1,D=32,B=4,bad=seq_start",
    REFUSALS("seqs=2,past=1,K=32,H=2,G=1,D=32,B=4"),
    NULL,
};

const char *const spec_norm_matmul_rows[] = {
    "M=1,K=1,N=1",
    "M=1,K=256,N=19,w:all",
    "M=5,K=512,N=13,w:all,bias",
    "M=17,K=64,N=9,w:blocks",
    "M=3,K=33,N=65,w:plain",
    "M=4,K=32,N=12,w:blocks,x+3,w+1,y+5,pad=2",
    "M=3,K=100,N=7,data=tiny,eps=1e-12",
    "M=3,K=100,N=7,data=huge",
    "M=70,K=256,N=5,w:all",
    "M=530,K=32,N=6,w:blocks",
    "M=0,K=32,N=8,pad=2",
    REFUSALS("M=2,K=32,N=4"),
    NULL,
};
