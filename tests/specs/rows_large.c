/* Shapes as models have them, to be timed: a token, a few, and a prompt, of models with 0.5 to 8 billion
 * weights. */
#include <string.h>

#include "spec.h"

static const char *const large_rows[] = {
    "embed/R=256,V=32000,N=2048,w:q4_0",
    "matmul/M=1,K=4096,N=4096,w:all",
    "matmul/M=4,K=2048,N=2048,w:all",
    "matmul/M=128,K=2048,N=2048,w:all",
    "rms_norm/R=1,N=4096,w,residual,sum",
    "rms_norm/R=512,N=4096,w,residual,sum",
    "rope/T=512,H=32,D=128,half_split",
    "kv_append/seqs=512,past=0,G=8,D=128,B=64,cache:all",
    "attention/seqs=1,past=4095,H=32,G=8,D=128,B=64,cache:all",
    "attention/seqs=256,past=0,H=16,G=4,D=64,B=64,cache:all",
    "silu_mul/R=512,N=8192",
    "add/R=512,N=4096",
    "softmax/R=512,N=4096",
    "conv1d_causal/seqs=1,past=0,C=5120,K=4,bias,silu,state_out=state",
    "conv1d_causal/seqs=512,past=0,C=2048,K=4,bias,silu,state_out=state",
    "ssm_scan/seqs=1,past=0,C=5120,N=16,d,z,state_out=state",
    "ssm_scan/seqs=512,past=0,C=2048,N=16,d,z,state_out=state",
    "argmax/R=1,N=151936",
    "gate_up_silu_mul/M=1,K=2048,N=5632,w:all",
    "gate_up_silu_mul/M=64,K=1024,N=2816,w:all",
    "qkv_rope_append/seqs=1,past=1000,K=2048,H=32,G=8,D=64,B=64,w:all,cache:f16",
    "norm_matmul/M=1,K=2048,N=32000,w:q4_0",
    "norm_matmul/M=1,K=2048,N=32000,w:q6_k",
    "norm_xz_conv/seqs=1,past=0,K=768,C=1536,J=4,w:blocks,conv_bias,silu,state_out=state",
    "norm_xz_conv/seqs=512,past=0,K=768,C=1536,J=4,w:blocks,conv_bias,silu,state_out=state",
    "dt_bc_scan/seqs=1,past=0,C=1536,R=48,N=16,b_dt,d,z,state_out=state",
    "dt_bc_scan/seqs=512,past=0,C=1536,R=48,N=16,b_dt,d,z,state_out=state",
    "matmul_dx/M=256,K=2048,N=2048,w:plain",
    "matmul_dw/M=256,K=2048,N=2048,accumulate",
    "rms_norm_bwd/R=512,N=2048,w,dw",
    "silu_mul_bwd/R=512,N=8192",
    "embed_bwd/R=512,V=32000,N=2048",
    "cross_entropy/R=64,N=32000,K=1024,w:plain,dx,dw,accumulate",
    "sum_sq/R=2048,N=2048",
    "adamw/R=2048,N=2048",
    "attention_plain/seqs=512,H=16,G=4,D=64,lse",
    "attention_plain_bwd/seqs=512,H=16,G=4,D=64",
    "conv1d_causal_bwd/seqs=32,C=256,K=4,bias,db,silu",
    "conv1d_causal_bwd/seqs=512,C=1536,K=4,bias,db,silu",
    "ssm_scan_bwd/seqs=32,C=256,N=16,d,dd,z,dz",
    "ssm_scan_bwd/seqs=512,C=1536,N=16,d,dd,z,dz",
    NULL,
};

/* The table of the op that the row begins with. */
static const spec_table *table_of(const char *row) {
    size_t n_tables;
    const spec_table *tables = spec_tables(&n_tables);
    for (size_t i = 0; i < n_tables; i++) {
        const char *op = nlm_op_spec_of(tables[i].op)->name;
        if (strncmp(row, op, strlen(op)) == 0 && row[strlen(op)] == '/') return &tables[i];
    }
    return NULL;
}

void spec_for_each_large(spec_visit_fn visit, void *user) {
    for (const char *const *row = large_rows; *row; row++) {
        const spec_table *table = table_of(*row);
        if (table && !spec_spell_out(visit, user, table, *row)) return;
    }
}
