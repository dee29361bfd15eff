/* Calls of nlm.h that write to the caller's memory, whose size is a guess at first. */
#include "nlm-server/texts.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

typedef struct source {
    const char *text;
    size_t length;
    uint32_t flags;
    const nlm_conversation *conversation; /* or NULL: the text */
} source;

static nlm_status encode(const nlm_model *model, const source *from, int32_t *ids, size_t capacity, size_t *out_count,
                         nlm_error *err) {
    if (from->conversation) {
        return nlm_encode_conversation(model, from->conversation, ids, capacity, out_count, err);
    }
    return nlm_encode(model, from->text, from->length, from->flags, ids, capacity, out_count, err);
}

static nlm_status encode_in(const nlm_model *model, const source *from, size_t capacity, int32_t **out_ids,
                            size_t *out_count, nlm_error *err) {
    *out_count = 0;
    *out_ids = malloc((capacity + 1) * sizeof **out_ids);
    if (!*out_ids) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for %zu tokens", capacity);
    const nlm_status status = encode(model, from, *out_ids, capacity, out_count, err);
    if (status == NLM_OK) return NLM_OK;
    free(*out_ids);
    *out_ids = NULL;
    return status;
}

/* Again where the guess was too small. */
static nlm_status encode_all(const nlm_model *model, const source *from, size_t guess, int32_t **out_ids,
                             size_t *out_count, nlm_error *err) {
    const nlm_status status = encode_in(model, from, guess, out_ids, out_count, err);
    if (status != NLM_LIMIT || *out_count <= guess) return status;
    return encode_in(model, from, *out_count, out_ids, out_count, err);
}

nlm_status text_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags, int32_t **out_ids,
                       size_t *out_count, nlm_error *err) {
    const source from = {.text = text, .length = length, .flags = flags};
    return encode_all(model, &from, length / 2 + 16, out_ids, out_count, err);
}

nlm_status text_encode_conversation(const nlm_model *model, const nlm_conversation *conversation, int32_t **out_ids,
                                    size_t *out_count, nlm_error *err) {
    const source from = {.conversation = conversation};
    const size_t length = strlen(conversation->messages) + (conversation->tools ? strlen(conversation->tools) : 0);
    return encode_all(model, &from, length / 2 + 64, out_ids, out_count, err);
}

nlm_status text_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags, nlm_str *out,
                       nlm_error *err) {
    size_t length = 0;
    NLM_TRY(nlm_decode(model, ids, count, flags, NULL, 0, &length, err));
    char *text = malloc(length + 1);
    if (!text) return nlm_fail(err, NLM_OUT_OF_MEMORY, "", "no memory for the text");
    const nlm_status status = nlm_decode(model, ids, count, flags, text, length, &length, err);
    if (status == NLM_OK) nlm_str_append(out, text, length);
    free(text);
    return status;
}
