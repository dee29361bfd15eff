/* Parts of OpenAI's answers. */
#include "nlm-server/openai.h"

void openai_usage(const call *c, json_out *j) {
    const uint64_t generated = call_generated(c);
    json_object(j, "usage");
    json_u64(j, "prompt_tokens", c->n_prompt);
    json_u64(j, "completion_tokens", generated);
    json_u64(j, "total_tokens", c->n_prompt + generated);
    json_object(j, "prompt_tokens_details");
    json_u64(j, "cached_tokens", call_cached(c));
    json_end_object(j);
    json_end_object(j);
}

void openai_begin(const call *c, json_out *j, const char *object) {
    json_object(j, NULL);
    json_string(j, "id", c->id);
    json_string(j, "object", object);
    json_i64(j, "created", c->created);
    json_string(j, "model", c->s->model_name);
    json_string(j, "system_fingerprint", nlm_version());
    json_u64(j, "seed", c->seed);
}

void openai_token_bytes(json_out *j, const char *text, size_t length) {
    json_array(j, "bytes");
    for (size_t i = 0; i < length; i++) json_u64(j, NULL, (unsigned char)text[i]);
    json_end_array(j);
}
