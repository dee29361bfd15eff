/* A session to a file or memory, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/compute.h"
#include "session/session_file.h"

static nlm_session_shape shape_of(nlm_runtime *runtime) {
    const nlm_states *states = runtime->states;
    return (nlm_session_shape){
        .fingerprint = nlm_runtime_fingerprint(runtime),
        .state_kind = states->pages ? (uint32_t)states->cache->options.kv_dtype : NLM_SESSION_NO_KV,
        .n_vocab = runtime->hparams->n_vocab,
        .max_tokens = (uint64_t)runtime->context_length,
        .bytes_per_token = states->token_bytes,
        .fixed_bytes = states->slot_bytes};
}

/* ---- saving ------------------------------------------------------------------------------- */

typedef struct piece_writer {
    nlm_session_writer *writer;
    void *piece; /* room for the greatest one */
} piece_writer;

static nlm_status write_piece(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    const piece_writer *w = user;
    NLM_TRY(nlm_state_read(state, offset, w->piece, bytes, err));
    return nlm_session_writer_put(w->writer, w->piece, bytes, err);
}

static nlm_session_counts count_parts(const nlm_session *session) {
    return (nlm_session_counts){.n_tokens = (uint64_t)session->n_tokens,
                                .n_logits = session->n_tokens ? (uint64_t)session->runtime->hparams->n_vocab : 0,
                                .n_text = session->stream.pending.length,
                                .mu = nlm_mirostat_now(&session->mirostat, session->n_tokens)};
}

static nlm_status write_all(nlm_session *session, nlm_session_writer *writer, void *piece, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    NLM_TRY(nlm_gguf_check_size(nlm_model_gguf(runtime->model), err));
    const nlm_session_shape shape = shape_of(runtime);
    const nlm_session_counts n = count_parts(session);
    const nlm_text_stream *stream = &session->stream;
    NLM_TRY(nlm_session_writer_begin(writer, &shape, &n, err));
    NLM_TRY(nlm_session_writer_put(writer, session->tokens, n.n_tokens * sizeof *session->tokens, err));
    NLM_TRY(nlm_session_writer_put(writer, session->logits, n.n_logits * sizeof *session->logits, err));
    NLM_TRY(nlm_session_writer_put(writer, stream->pending.data, n.n_text, err));
    NLM_TRY(nlm_session_writer_put(writer, stream->marks.data, n.n_text, err));
    piece_writer pieces = {.writer = writer, .piece = piece};
    NLM_TRY(nlm_states_each_piece(runtime->states, session->slot, session->n_tokens, write_piece, &pieces, err));
    return nlm_session_writer_commit(writer, err);
}

/* What is written is all there: tokens are computed, the logits after them are the session's own. */
static nlm_status get_ready(nlm_session *session, nlm_error *err) {
    NLM_TRY(nlm_session_compute(session, &(nlm_wanted){.has_logits = true}, err));
    return nlm_session_own_logits(session, err);
}

static nlm_status write_to(nlm_session *session, nlm_session_writer *writer, const char *name, nlm_error *err) {
    void *piece = malloc(nlm_states_greatest_piece(session->runtime->states));
    if (!piece) return nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory to save the session");
    const nlm_status status = write_all(session, writer, piece, err);
    free(piece);
    return status;
}

nlm_status nlm_session_save(nlm_session *session, const char *path, nlm_error *error) {
    NLM_NEEDS(path, error);
    NLM_ENTER_SESSION(session, error);
    NLM_TRY(get_ready(session, error));
    nlm_session_writer writer;
    NLM_TRY(nlm_session_writer_to_file(&writer, path, error));
    const nlm_status status = write_to(session, &writer, path, error);
    nlm_session_writer_release(&writer);
    return status;
}

nlm_status nlm_session_save_memory(nlm_session *session, void *out_data, size_t capacity, size_t *out_size,
                                   nlm_error *error) {
    NLM_NEEDS(out_size, error);
    NLM_ENTER_SESSION(session, error);
    NLM_TRY(nlm_gguf_check_size(nlm_model_gguf(session->runtime->model), error));
    const nlm_session_shape shape = shape_of(session->runtime);
    const nlm_session_counts counts = count_parts(session);
    const size_t size = (size_t)nlm_session_file_bytes(&shape, &counts);
    if (out_data && capacity < size) {
        *out_size = size;
        return nlm_fail(error, NLM_LIMIT, "nlm_session_save_memory",
                        "there is room for %zu bytes, and %zu are needed", capacity, size);
    }
    if (out_data) {
        nlm_session_writer writer;
        NLM_TRY(get_ready(session, error));
        nlm_session_writer_to_memory(&writer, out_data);
        NLM_TRY(write_to(session, &writer, "nlm_session_save_memory", error));
    }
    *out_size = size;
    return NLM_OK;
}

/* ---- restoring ---------------------------------------------------------------------------- */

static nlm_status read_piece(void *user, nlm_state *state, uint64_t offset, uint64_t bytes, nlm_error *err) {
    const unsigned char **at = user;
    NLM_TRY(nlm_state_write(state, offset, *at, bytes, err));
    *at += bytes;
    return NLM_OK;
}

static nlm_status take_view(nlm_session *session, const nlm_session_view *view, nlm_error *err) {
    nlm_runtime *runtime = session->runtime;
    const int32_t n_tokens = (int32_t)view->n_tokens;
    NLM_TRY(nlm_session_make_room(session, n_tokens, err));
    const unsigned char *at = view->state;
    NLM_TRY(nlm_states_each_piece(runtime->states, session->slot, n_tokens, read_piece, &at, err));
    NLM_TRY(nlm_text_stream_set(&session->stream, view->text, view->marks, view->n_text, err));
    memcpy(session->tokens, view->tokens, view->n_tokens * sizeof *session->tokens);
    if (view->logits) memcpy(session->logits, view->logits, (size_t)runtime->hparams->n_vocab * sizeof(float));
    session->mirostat = (nlm_mirostat){.mu = view->mu, .next = view->mu};
    session->row = view->logits ? session->logits : NULL;
    session->n_tokens = session->n_computed = n_tokens;
    return NLM_OK;
}

static nlm_status restore_from(nlm_session *session, const char *name, const void *data, size_t size,
                               nlm_error *err) {
    NLM_TRY(nlm_gguf_check_size(nlm_model_gguf(session->runtime->model), err));
    const nlm_session_shape shape = shape_of(session->runtime);
    nlm_session_view view;
    NLM_TRY(nlm_session_file_parse(name, data, size, &shape, &view, err));
    NLM_TRY(nlm_session_reset(session, err));
    const nlm_status status = take_view(session, &view, err);
    if (status != NLM_OK) nlm_session_roll_back(session, 0);
    return status;
}

nlm_status nlm_session_restore(nlm_session *session, const char *path, nlm_error *error) {
    NLM_NEEDS(path, error);
    NLM_ENTER_SESSION(session, error);
    nlm_file_map map;
    NLM_TRY(nlm_file_read(path, &map, error)); /* others may write to the file: what is checked is what is used */
    const nlm_status status = restore_from(session, path, map.data, map.size, error);
    nlm_file_map_close(&map);
    return status;
}

nlm_status nlm_session_restore_memory(nlm_session *session, const void *data, size_t size, nlm_error *error) {
    NLM_NEEDS(data, error);
    NLM_ENTER_SESSION(session, error);
    return restore_from(session, "nlm_session_restore_memory", data, size, error);
}
