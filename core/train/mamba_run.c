/* nlm/mamba.h: forward, backward, steps. */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "session/options.h"
#include "train/mamba_impl.h"

/* ---- batches ------------------------------------------------------------------------------------------ */

/* Rows of sequences on their way into a program. lengths NULL: one row each. */
typedef struct rows {
    const float *x;
    const uint32_t *lengths, *slots;
    uint32_t n_seqs, most_rows;
} rows;

static uint32_t slot_of(const rows *r, uint32_t sequence) {
    return r->slots ? r->slots[sequence] : sequence;
}

static nlm_status check_slots(const nlm_mamba *m, const rows *r, nlm_error *err) {
    for (uint32_t s = 0; s < r->n_seqs; s++) {
        const uint32_t slot = slot_of(r, s);
        if (slot >= m->options.max_seqs) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "sequence %u has slot %u; there are %u", s,
                            slot, m->options.max_seqs);
        }
        for (uint32_t other = 0; r->slots && other < s; other++) {
            if (r->slots[other] != slot) continue;
            return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "sequences %u and %u have slot %u", other, s,
                            slot);
        }
    }
    return NLM_OK;
}

/* Checks all of it, then fills the inputs of the program. *out_tokens: how many rows there are. */
static nlm_status take_rows(const nlm_mamba *m, const nlm_mamba_program *p, const rows *r, int32_t *out_tokens,
                            nlm_error *err) {
    if (!r->x || r->n_seqs < 1 || r->n_seqs > m->options.max_seqs) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "%u sequences%s: expected x, and 1 to %u of them",
                        r->n_seqs, r->x ? "" : ", x NULL", m->options.max_seqs);
    }
    NLM_TRY(check_slots(m, r, err));
    int32_t *starts = nlm_program_input(p->program, p->rows.io.batch.seq_start), tokens = 0;
    int32_t *slots = nlm_program_input(p->program, p->rows.io.batch.slot);
    for (uint32_t s = 0; s < r->n_seqs; s++) {
        const uint32_t length = r->lengths ? r->lengths[s] : 1;
        if (length > r->most_rows - (uint32_t)tokens) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE,
                            "sequence %u ends after more than the %u rows that were planned for (max_tokens)", s,
                            r->most_rows);
        }
        starts[s] = tokens;
        slots[s] = (int32_t)slot_of(r, s);
        tokens += (int32_t)length;
    }
    if (tokens == 0) return nlm_fail(err, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "the sequences have no rows");
    for (uint32_t s = r->n_seqs; s <= m->options.max_seqs; s++) starts[s] = tokens;
    memcpy(nlm_program_input(p->program, p->rows.io.rows), r->x,
           (size_t)tokens * m->options.input_dim * sizeof *r->x);
    *out_tokens = tokens;
    return NLM_OK;
}

static void copy_rows(const nlm_mamba_program *p, nlm_value value, int32_t rows, uint32_t width, float *out) {
    if (out) memcpy(out, nlm_program_output(p->program, value), (size_t)rows * width * sizeof *out);
}

/* ---- states of slots ------------------------------------------------------------------------------------ */

static nlm_status copy_slot(const nlm_mamba *m, uint32_t slot, nlm_error *err) {
    for (uint32_t i = 0; i < m->n_states; i++) {
        const uint64_t bytes = nlm_mamba_slot_elements(m, i) * sizeof(float);
        NLM_TRY(nlm_state_read(nlm_mamba_state(m->now, i), slot * bytes, m->room, bytes, err));
        NLM_TRY(nlm_state_write(nlm_mamba_state(m->before, i), slot * bytes, m->room, bytes, err));
    }
    return NLM_OK;
}

static nlm_status zero_slot(const nlm_mamba *m, uint32_t slot, nlm_error *err) {
    for (uint32_t i = 0; !m->is_zero[slot] && i < m->n_states; i++) {
        const uint64_t bytes = nlm_mamba_slot_elements(m, i) * sizeof(float);
        NLM_TRY(nlm_state_zero(nlm_mamba_state(m->before, i), slot * bytes, bytes, err));
    }
    return NLM_OK;
}

/* What the sequences begin with. */
static nlm_status begin_slots(nlm_mamba *m, const rows *r, bool carries, nlm_error *err) {
    for (uint32_t s = 0; s < r->n_seqs; s++) {
        const uint32_t slot = slot_of(r, s);
        NLM_TRY(carries ? copy_slot(m, slot, err) : zero_slot(m, slot, err));
        m->is_zero[slot] = !carries;
    }
    return NLM_OK;
}

static nlm_status keep_slots(const nlm_mamba *m, const rows *r, nlm_error *err) {
    for (uint32_t i = 0; i < m->n_states; i++) {
        const char *after = nlm_program_output(m->train.program, m->after[i]);
        const uint64_t bytes = nlm_mamba_slot_elements(m, i) * sizeof(float);
        for (uint32_t s = 0; s < r->n_seqs; s++) {
            const uint64_t offset = slot_of(r, s) * bytes;
            NLM_TRY(nlm_state_write(nlm_mamba_state(m->now, i), offset, after + offset, bytes, err));
        }
    }
    return NLM_OK;
}

/* ---- there and back ---------------------------------------------------------------------------------------- */

/* Of the program that trains: `first` if it is wanted, and the values of all states if there are such. */
static nlm_run_info pick(nlm_mamba *m, nlm_value first, bool is_wanted, const nlm_value *states) {
    nlm_run_info info = {.outputs = m->outputs, .picks_outputs = true};
    if (is_wanted) m->outputs[info.n_outputs++] = first;
    for (uint32_t i = 0; states && i < m->n_states; i++) m->outputs[info.n_outputs++] = states[i];
    return info;
}

nlm_status nlm_mamba_forward(nlm_mamba *mamba, const nlm_mamba_batch *batch, float *out_y, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(batch, error);
    NLM_ENTER(&mamba->engine->gate, error);
    nlm_mamba_batch b = {0};
    NLM_TRY(nlm_take_options(&b, sizeof b, batch, "nlm_mamba_batch", error));
    if (b.flags & ~(uint32_t)NLM_MAMBA_CARRY || !b.lengths) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, NLM_MAMBA_WHERE, "flags 0x%x%s: expected NLM_MAMBA_CARRY or 0%s",
                        b.flags, b.lengths ? "" : " and lengths NULL", b.lengths ? "" : ", and lengths");
    }
    const rows r = {b.x, b.lengths, b.slots, b.n_seqs, mamba->options.max_tokens};
    const nlm_mamba_program *p = &mamba->train;
    int32_t tokens = 0;
    mamba->is_paused = false;
    NLM_TRY(take_rows(mamba, p, &r, &tokens, error));
    NLM_TRY(begin_slots(mamba, &r, (b.flags & NLM_MAMBA_CARRY) != 0, error));
    const int32_t live[NLM_ROWS_KINDS] = {0, tokens, 0, (int32_t)b.n_seqs};
    nlm_run_info info = pick(mamba, p->rows.y, out_y != NULL, mamba->after);
    info.live_rows = live;
    info.pauses = true;
    NLM_TRY(nlm_program_run(p->program, &info, error));
    copy_rows(p, p->rows.y, tokens, mamba->options.d_model, out_y);
    NLM_TRY(keep_slots(mamba, &r, error));
    mamba->is_paused = true;
    mamba->n_tokens = tokens;
    mamba->n_seqs = (int32_t)b.n_seqs;
    return NLM_OK;
}

static void show_state_gradients(const nlm_mamba *m, float *out) {
    const nlm_mamba_program *p = &m->train;
    const int32_t *slots = nlm_program_input(p->program, p->rows.io.batch.slot);
    for (uint32_t i = 0; i < m->n_states; i++) {
        const float *gradient = nlm_program_output(p->program, m->gradients[i]);
        const uint64_t elements = nlm_mamba_slot_elements(m, i);
        for (int32_t s = 0; s < m->n_seqs; s++)
            nlm_mamba_state_show(m, i, gradient + (uint64_t)slots[s] * elements, out + (uint64_t)s * m->state_size);
    }
}

nlm_status nlm_mamba_backward(nlm_mamba *mamba, const float *dy, float *out_dx, float *out_dstate, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(dy, error);
    NLM_ENTER(&mamba->engine->gate, error);
    if (!mamba->is_paused) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, __func__,
                        "there is no forward to go back from: none was run, or it has been gone back from, or the "
                        "parameters have changed since");
    }
    if (out_dstate && !(mamba->options.flags & NLM_MAMBA_STATE_GRADIENTS)) {
        return nlm_fail(error, NLM_INVALID_ARGUMENT, __func__,
                        "gradients by states are wanted, for which it was not made (NLM_MAMBA_STATE_GRADIENTS)");
    }
    const nlm_mamba_program *p = &mamba->train;
    mamba->is_paused = false;
    memcpy(nlm_program_input(p->program, p->rows.dy), dy,
           (size_t)mamba->n_tokens * mamba->options.d_model * sizeof *dy);
    const nlm_run_info info = pick(mamba, p->rows.dx, out_dx != NULL, out_dstate ? mamba->gradients : NULL);
    NLM_TRY(nlm_program_resume(p->program, &info, error));
    copy_rows(p, p->rows.dx, mamba->n_tokens, mamba->options.input_dim, out_dx);
    if (out_dstate) show_state_gradients(mamba, out_dstate);
    return NLM_OK;
}

nlm_status nlm_mamba_step(nlm_mamba *mamba, const float *x, const uint32_t *slots, uint32_t n, float *out_y,
                          nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_NEEDS(x, error);
    NLM_NEEDS(out_y, error);
    NLM_ENTER(&mamba->engine->gate, error);
    const rows r = {x, NULL, slots, n, mamba->options.max_seqs};
    const nlm_mamba_program *p = &mamba->step;
    int32_t tokens = 0;
    NLM_TRY(take_rows(mamba, p, &r, &tokens, error));
    const int32_t live[NLM_ROWS_KINDS] = {0, tokens, 0, tokens};
    NLM_TRY(nlm_program_run(p->program, &(nlm_run_info){.live_rows = live}, error));
    copy_rows(p, p->rows.y, tokens, mamba->options.d_model, out_y);
    return NLM_OK;
}

/* ---- the optimizer ------------------------------------------------------------------------------------------- */

static nlm_status check_rates(double rate, double factor, double clip_norm, nlm_error *err) {
    if (rate >= 0 && isfinite(rate) && isfinite(factor) && clip_norm >= 0 && isfinite(clip_norm)) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "nlm_mamba_update",
                    "rate %g, factor %g, clip_norm %g: expected finite numbers, the first and the last 0 or more",
                    rate, factor, clip_norm);
}

nlm_status nlm_mamba_update(nlm_mamba *mamba, double rate, double factor, double clip_norm, double *out_norm,
                            nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_ENTER(&mamba->engine->gate, error);
    NLM_TRY(check_rates(rate, factor, clip_norm, error));
    double norm = 0;
    NLM_TRY(nlm_optimizer_norm(mamba->optimizer, &norm, error));
    norm *= fabs(factor);
    if (!isfinite(norm)) {
        NLM_TRY(nlm_optimizer_clear(mamba->optimizer, error));
        return nlm_fail(error, NLM_NUMERIC, "nlm_mamba_update", "the norm of the gradients is not finite");
    }
    const double shrink = clip_norm > 0 && norm > clip_norm ? clip_norm / norm : 1;
    mamba->is_paused = false;
    NLM_TRY(nlm_optimizer_update(mamba->optimizer, mamba->steps + 1, rate, factor * shrink, error));
    mamba->steps++;
    if (out_norm) *out_norm = norm;
    return NLM_OK;
}

nlm_status nlm_mamba_clear_gradients(nlm_mamba *mamba, nlm_error *error) {
    NLM_NEEDS(mamba, error);
    NLM_ENTER(&mamba->engine->gate, error);
    return nlm_optimizer_clear(mamba->optimizer, error);
}
