"""Ways in which the vector kernels go wrong, as cpu_avx2 has them, and the case of nlm-conform that must say so.

A mutant is (name, file under backends/cpu/, text in it, what replaces that text, case or op, reason), as in
mutants.py. A case is named in full where its op has many: it is the only one that runs. Nothing changes a header.
"""
from mutants import NAN, WRONG_VALUE

OTHER_BITS = "other bits with [0-9]+ threads"
PAST_W = r"touches memory \d+ bytes past the end of w"

MUTANTS = [
    # products of few tokens
    ("gemv_plain_keeps_one_token_of_a_tile", "vector/gemv_plain.c",
     "vf_store(tile + (p * n_tokens + m) * PANEL_ROWS, acc[p][m]);", "vf_store(tile + p * n_tokens * PANEL_ROWS, acc[p][m]);",
     "matmul/M=3,K=256,N=33,w:f16", WRONG_VALUE + "|" + NAN),
    ("jobs_of_several_weights_skip_a_panel_of_the_next", "vector/matmul.c",
     "at = at < here ? 0 : at - here;", "at = at < here ? 0 : at - here + 1;",
     "qkv_rope_append/seqs=1,past=6,K=256,H=3,G=1,D=32,B=4,w:q8_0,cache:f32", OTHER_BITS),
    # products of many tokens
    ("workers_take_a_panel_past_the_last", "vector/matmul.c",
     "if (*to > panels) *to = panels;", "", "matmul/M=33,K=64,N=17,w:q8_0", "touches memory|process died|" + WRONG_VALUE),
    ("gemm_quant_forgets_the_groups_before", "vector/matmul_quant.c",
     "&x, block == 0,", "&x, block % GROUP_BLOCKS == 0,", "matmul/M=17,K=256,N=12,w:q8_0,residual,y=residual", WRONG_VALUE),
    ("gemm_quant_takes_minimums_times_the_first_sums", "vector/gemm_quant.c",
     "vf_set1(x->sum[block * TOKENS + m])", "vf_set1(x->sum[m])",
     "matmul/M=17,K=256,N=12,w:q4_1,residual,y=residual", WRONG_VALUE),
    ("gemm_quant_raises_all_high_bytes_by_seven", "vector/gemm_quant.c",
     "vi_shl32(ints[p][m], f->plane_bits)", "vi_shl32(ints[p][m], 7)", "matmul/M=33,K=64,N=17,w:q4_0", WRONG_VALUE),
    ("gemm_plain_forgets_the_columns_before", "vector/gemm_plain.c",
     "call->is_first ? vf_zero()", "1 ? vf_zero()", "matmul/M=386,K=1536,N=35", WRONG_VALUE),
    ("gemm_plain_keeps_the_sums_of_all_pairs_in_one_place", "vector/matmul_plain.c",
     "(c->pair * shape->chunk + t - from)", "(t - from)", "matmul/M=386,K=1536,N=35", WRONG_VALUE),
    ("gemm_plain_takes_columns_after_the_last_for_zeros_too_soon", "vector/matmul_plain.c",
     "(size_t)n * sizeof(float)", "(size_t)(n / 4 * 4) * sizeof(float)", "matmul/M=65,K=33,N=31,w:f32", WRONG_VALUE),
    ("gemv_quant_scales_all_groups_as_the_first", "vector/gemv_quant.c",
     "x[m].d[first / GROUP_BLOCKS]", "x[m].d[0]", "matmul/M=2,K=11008,N=3,w:q4_0", WRONG_VALUE + "|NMSE"),
    # lookups
    ("embed_takes_the_minimum_of_the_first_block", "ops/embed.c",
     "min[c / BLOCK * PANEL_ROWS + r]", "min[r]", "embed/R=3,V=5,N=512,w:q4_k", WRONG_VALUE),
    # activations
    ("activations_leave_sums_of_padding_as_they_were", "vector/activations.c",
     "memset(sum + whole, 0, (size_t)(blocks - whole) * sizeof *sum);", "", "matmul/M=2,K=32,N=8,w:q4_1",
     WRONG_VALUE + "|" + NAN),
    ("activations_pass_over_a_nan", "vector/activations.c",
     "vf_max_magnitude(most, vf_abs(vf_load(x + i)))", "vf_max(most, vf_abs(vf_load(x + i)))",
     "matmul/M=3,K=512,N=20,data=one_nan,w:q8_0", WRONG_VALUE),
    ("activations_that_are_faint_get_an_infinite_scale", "vector/activations.c",
     "largest > 0 && largest < TINY", "0", "matmul/M=3,K=256,N=20,data=faint,w:q8_0", WRONG_VALUE + "|" + NAN),
    ("activations_use_one_value_too_many", "vector/activations.c",
     "(float)(127 << plane_bits)", "(float)(128 << plane_bits)", "matmul/M=3,K=256,N=33,w:q8_0", WRONG_VALUE),
    # packing
    ("packing_reads_a_whole_record_of_half_a_row", "vector/panel_pack.c",
     "row_bytes < step.in_bytes ? row_bytes : step.in_bytes, out,", "step.in_bytes, out,", "matmul/M=2,K=32,N=8,w:q8_0",
     PAST_W + "|process died|" + WRONG_VALUE),
    # attention
    ("attention_weighs_positions_before_the_window", "vector/attention_take.c",
     "for (int64_t j = 0; j < from; j++) scores[j] = -INFINITY;", "",
     "attention/seqs=9,past=30,H=4,G=2,D=32,B=8,window=7,cache:f32,lse", WRONG_VALUE),
    ("attention_weighs_positions_after_the_last", "vector/attention_take.c",
     "for (int64_t j = to; j < end; j++) scores[j] = -INFINITY;", "",
     "attention/seqs=1,past=40,H=9,G=3,D=64,B=16,cache:f32", WRONG_VALUE),
    ("attention_does_not_shrink_its_earlier_weight", "vector/attention_take.c",
     "weight[r] = weight[r] * shrink[r] +", "weight[r] = weight[r] +",
     "attention/seqs=1,past=300,H=4,G=1,D=32,B=16,cache:f32,lse", WRONG_VALUE),
    ("attention_folds_chunks_as_if_equally_great", "ops/attention.c",
     "total->weight[total_row] * shrink[0] + part->weight[row] * shrink[1]",
     "total->weight[total_row] * shrink[0] + part->weight[row]", "attention/seqs=1,past=1200,H=2,G=1,D=32,B=64,cache:f32",
     WRONG_VALUE),
    ("attention_folds_before_the_other_workers_are_done", "ops/attention.c",
     "NLM_KIT_TRY(x->barrier(x));\n    walk =", "walk =", "attention/seqs=1,past=4500,H=1,G=1,D=32,B=64,cache:f32", OTHER_BITS),
    ("attention_keeps_all_split_blocks_in_one_place", "vector/attention_deal.c",
     "b->split = walk->n_split++;", "b->split = 0 * walk->n_split++;",
     "attention/seqs=1+0+1+2+1,past=1500+0+3+255+767,H=6,G=3,D=64,B=32,cache:f32,lse", OTHER_BITS),
    ("attention_scales_values_by_the_first_block", "vector/attention_load.c",
     "vf_set1(scales[b * TILE + j])", "vf_set1(scales[j])", "attention/seqs=1,past=40,H=9,G=3,D=64,B=16,cache:q8_0",
     WRONG_VALUE),
    ("attention_loses_the_sign_of_every_fourth_key", "vector/attention_load.c",
     "vi_sra32(quad, 24)", "vi_shr32(quad, 24)", "attention/seqs=1,past=40,H=9,G=3,D=64,B=16,cache:q8_0", WRONG_VALUE),
    # the rest
    ("norm_leaves_the_last_columns_out_of_the_mean", "ops/rms_norm.c",
     "if (c < columns) {", "if (c + V_LANES < columns) {", "rms_norm", WRONG_VALUE),
    ("conv_begins_every_batch_with_zeros", "ops/conv1d_causal.c",
     "in[j] = vf_load_n((const float *)nlm_kit_at2(args->state_out, l->slot, j) + l->channel, l->n);", "in[j] = vf_zero();",
     "conv1d_causal", WRONG_VALUE + "|other bits"),
    ("lanes_past_the_last_channel_are_read", "vector/lanes.c",
     "lane < n ? from[lane * stride + c] : 0.0f", "from[lane * stride + c]", "ssm_scan",
     r"touches memory \d+ bytes past the end of a|process died"),
    ("scan_skips_the_states_that_make_no_group", "ops/ssm_scan.c",
     "for (; s < n_states; s++) scan_states", "for (; s < 0; s++) scan_states", "ssm_scan", WRONG_VALUE + "|state"),
    ("scan_skips_with_the_step_times_x", "ops/ssm_scan.c",
     "vf_fma(d, chunk->x[i],", "vf_fma(d, chunk->step_x[i],", "ssm_scan", WRONG_VALUE),
    ("dt_bc_scan_does_not_wait_for_low", "ops/dt_bc_scan.c",
     "return is_own ? NLM_OK : rest->barrier(rest);", "return NLM_OK;",
     "dt_bc_scan/seqs=1,past=0,C=256,R=256,N=16,w:f32,b_dt,d,z,state_out=state", OTHER_BITS),
    ("gate_up_takes_up_for_gate", "ops/gate_up_silu_mul.c",
     "vf_mul(vf_silu(gate), up)", "vf_mul(vf_silu(up), gate)", "gate_up_silu_mul/M=1,K=256,N=19,w:f32", WRONG_VALUE),
]
