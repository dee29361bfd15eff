/* The part of nlm/nlm.h that has to do with text: tokens, conversations and generation. Its rules are nlm.h's. */
#ifndef NLM_TEXT_H
#define NLM_TEXT_H

#include <nlm/nlm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- text and tokens ---------------------------------------------------------------------- */

enum {
    NLM_TEXT_BOS = 1,    /* encode: put BOS and EOS where the model wants them */
    NLM_TEXT_SPECIAL = 2 /* encode: text that spells a control token becomes it (never for what a user
                            typed); decode: control tokens give their text, else nothing */
};

/* Token ids of text[0..length), any bytes. At most capacity ids are written; *out_count is how many there
 * are in all. out_ids NULL: they are only counted.
 * Errors   LIMIT (capacity is smaller than *out_count; the first ones are written), INVALID_ARGUMENT,
 *          NOT_FOUND (the file has no tokenizer), UNSUPPORTED (one that is not known), OUT_OF_MEMORY. */
NLM_API nlm_status nlm_encode(const nlm_model *model, const char *text, size_t length, uint32_t flags,
                              int32_t *out_ids, size_t capacity, size_t *out_count, nlm_error *error);

/* The bytes of ids[0..count) as a whole text (not terminated). As nlm_encode; an id outside the
 * vocabulary is INVALID_ARGUMENT. */
NLM_API nlm_status nlm_decode(const nlm_model *model, const int32_t *ids, size_t count, uint32_t flags,
                              char *out_text, size_t capacity, size_t *out_length, nlm_error *error);

/* The bytes of one token as it stands in the middle of a text, maybe a part of a character, and their number: valid
 * as long as the model, not terminated. flags: NLM_TEXT_SPECIAL, as nlm_decode. Errors   as nlm_decode. */
NLM_API nlm_status nlm_token_text(const nlm_model *model, int32_t id, uint32_t flags, const char **out_text,
                                  size_t *out_length, nlm_error *error);

/* 1 if the token ends a generation, as those do that NLM_ENDED_BY_MODEL stands for; else 0, also for an id outside
 * the vocabulary and a file without a tokenizer. */
NLM_API int32_t nlm_token_is_end(const nlm_model *model, int32_t id);

/* Text of ids that come one by one, from wherever they come: as nlm_decode gives it, in whole characters. */
typedef struct nlm_detokenizer nlm_detokenizer;

/* flags: NLM_TEXT_SPECIAL. Errors   as nlm_decode, OUT_OF_MEMORY.
 * Threads  a detokenizer is used by one thread at a time, while the engine and others of the model may be in use; it
 *          may be destroyed after the model is unloaded, and works until then. */
NLM_API nlm_status nlm_detokenizer_create(const nlm_model *model, uint32_t flags, nlm_detokenizer **out_detokenizer,
                                          nlm_error *error);
NLM_API void nlm_detokenizer_destroy(nlm_detokenizer *detokenizer);
/* What can be given out now that the id has come: whole characters (bytes that can never be UTF-8 as they are), maybe
 * none. Not terminated, valid until the next call with this detokenizer.
 * Errors   INVALID_ARGUMENT (an id outside the vocabulary), OUT_OF_MEMORY; the text is then as it was. */
NLM_API nlm_status nlm_detokenizer_add(nlm_detokenizer *detokenizer, int32_t id, const char **out_text,
                                       size_t *out_length, nlm_error *error);
/* The text is over: gives out what is left, the bytes of a character that is cut, in the same way. What is added
 * next begins another text. */
NLM_API nlm_status nlm_detokenizer_end(nlm_detokenizer *detokenizer, const char **out_text, size_t *out_length,
                                       nlm_error *error);

typedef struct nlm_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;
} nlm_message;

/* Token ids of messages in the model's chat template, followed by the opening of the assistant's turn.
 * messages: those to be added alone. n_before: how many messages of the conversation the session holds already, the
 * answers it generated included; with 0 the ids begin with BOS where the model wants it, else with the end of the
 * last answer. Control tokens spelled in `content` stay text, and so do all tokens that the template is made of. A
 * model's template that fails where a known one renders the same, and a vocabulary without its tokens, are warnings.
 * Errors   as nlm_encode; NOT_FOUND (the model has no template) and BAD_FORMAT (one that is not understood): name
 *          one in nlm_model_options.chat_template; INVALID_ARGUMENT (what the template itself says against the
 *          messages, or what is wrong at which line of it; a role that a known template does not have), LIMIT. */
NLM_API nlm_status nlm_encode_chat(const nlm_model *model, const nlm_message *messages, size_t count, size_t n_before,
                                   int32_t *out_ids, size_t capacity, size_t *out_count, nlm_error *error);

/* As nlm_encode_chat, but the last message is the beginning of an answer, of role "assistant": its turn is left open
 * for the model to go on, and no other is begun. The template may take off blanks at its end.
 * Errors   as nlm_encode_chat; INVALID_ARGUMENT (the last message is not the assistant's). */
NLM_API nlm_status nlm_encode_chat_continue(const nlm_model *model, const nlm_message *messages, size_t count,
                                            size_t n_before, int32_t *out_ids, size_t capacity, size_t *out_count,
                                            nlm_error *error);

enum {
    NLM_CHAT_NO_PROMPT = 1, /* end behind the last message: the assistant's turn is not opened */
    NLM_CHAT_CONTINUE = 2   /* the last message is the beginning of an answer, as in nlm_encode_chat_continue */
};

/* A whole conversation as programs of the network write it, in terminated texts of JSON. All that they hold stays
 * text but the roles, as `content` does: no tool, argument or answer of a tool can spell a control token. */
typedef struct nlm_conversation {
    uint32_t struct_size;
    uint32_t flags; /* NLM_CHAT_* */
    /* An array of objects, each with a `role`; `content` is a string, null, or an array of {"type": "text", "text":
     * ...}, which are joined by newlines. `tool_calls` is an array of {"id", "type", "function": {"name",
     * "arguments"}} whose arguments are an object or the text of one: they reach the template as it wants them, and
     * so does a content that is null. What else an object has (tool_call_id, name, reasoning_content, ...) reaches it
     * as it is. */
    const char *messages;
    const char *tools;     /* an array of {"type": "function", "function": {...}}; NULL: none */
    const char *arguments; /* an object of further variables for the template, {"enable_thinking": false}, say, which
                              may not have the names of those it has anyway; NULL: none */
} nlm_conversation;

/* Token ids of the conversation in the model's chat template, which begin with BOS where the model wants it.
 * Errors   as nlm_encode_chat; BAD_FORMAT also for what is no JSON (at which byte); INVALID_ARGUMENT for JSON that is
 *          not as above (of which message), UNSUPPORTED (a part of a content that is no text; tools, calls and
 *          arguments where the template is a known one of roles and contents alone, or leaves them out). */
NLM_API nlm_status nlm_encode_conversation(const nlm_model *model, const nlm_conversation *conversation,
                                           int32_t *out_ids, size_t capacity, size_t *out_count, nlm_error *error);

/* The same as text, which goes out as nlm_decode's does: a BOS is in it where the template writes one. Read it as
 * text to look at: encoding it would make control tokens of what users spelled. Errors   as nlm_encode_conversation.
 */
NLM_API nlm_status nlm_render_conversation(const nlm_model *model, const nlm_conversation *conversation,
                                           char *out_text, size_t capacity, size_t *out_length, nlm_error *error);

/* ---- generation --------------------------------------------------------------------------- */

/* Receives text as it is generated: whole characters (bytes that can never be UTF-8 as they are), never
 * part of a stop string. Returning nonzero ends the generation. */
typedef int32_t (*nlm_text_fn)(void *user, const char *text, size_t length);

/* A token that was generated. The library sets struct_size: what it covers is there. */
typedef struct nlm_generated {
    uint32_t struct_size;
    int32_t id;
    const char *text; /* as nlm_token_text gives it with the flags of the call: maybe a part of a character */
    size_t length;
    float logprob;          /* of this token; 0 if none were asked for */
    uint32_t n_top;         /* as many as were asked for, or the vocabulary has */
    const nlm_logprob *top; /* [n_top] the likeliest tokens, likeliest first, of equals the lower id */
    int32_t is_end;         /* it ends the generation, and the session does not hold it */
    uint32_t reserved;
} nlm_generated;

/* Receives each token as it is generated, the end token too, before the text that it completes: valid during the
 * call. Returning nonzero ends the generation behind this token, whose text the session holds back. */
typedef int32_t (*nlm_token_fn)(void *user, const nlm_generated *token);

enum {
    NLM_GENERATE_IGNORE_END = 1, /* go on after the model's end-of-text tokens */
    NLM_GENERATE_SPECIAL = 2     /* control tokens give their text (those that mark a tool call, for example), else
                                    nothing */
};

typedef struct nlm_generate_options {
    uint32_t struct_size;
    uint32_t flags;           /* NLM_GENERATE_* */
    uint64_t max_tokens;      /* 0: until something else ends it */
    const char *const *stops; /* strings that end the generation, not part of the text; they may spell
                                 control tokens, whole ones, whether those are shown or not */
    size_t n_stops;
    const int32_t *stop_ids; /* tokens that end the generation as the model's end-of-text tokens do */
    size_t n_stop_ids;
    nlm_token_fn on_token; /* or NULL */
    void *token_user;
    uint32_t n_top; /* how many of the likeliest tokens on_token is told of, at most NLM_LOGPROBS_MAX; 0: no logprob
                       is computed */
    uint32_t reserved;
    const nlm_constraint *constraint; /* it accepts each token, the end token too, before on_token. NULL: none */
    /* So many tokens, at most 64, are computed and chosen on a device before the host looks at the first; 0, 1: each
     * is looked at. The tokens are the same. It counts where the model runs on one device with memory of its own that
     * can choose (cuda) and the choice is greedy, or by temperature, top_k, top_p and min_p alone, in this order,
     * without constraint and n_top; where states cannot be taken back (Mamba), only without stop strings and with at
     * most 32 tokens that end it, the model's among them. What is computed beyond an end is taken back; of states
     * that cannot be, all tokens are computed again by the next call if a callback ends this one. nlm_session_cancel
     * is looked at when the tokens are there. */
    uint32_t ahead;
    uint32_t reserved2;
} nlm_generate_options;

enum {
    NLM_ENDED_BY_MODEL = 1,    /* an end-of-text or end-of-turn token */
    NLM_ENDED_BY_TOKENS = 2,   /* max_tokens */
    NLM_ENDED_BY_STOP = 3,     /* a stop string */
    NLM_ENDED_BY_CALLBACK = 4, /* one of the callbacks */
    NLM_ENDED_BY_CONTEXT = 5,  /* the session is full */
    NLM_ENDED_BY_CANCEL = 6,   /* nlm_session_cancel */
    NLM_ENDED_BY_STOP_ID = 7   /* one of stop_ids */
};

typedef struct nlm_generate_result {
    uint32_t struct_size;
    int32_t ended_by;   /* NLM_ENDED_BY_* */
    uint64_t n_tokens;  /* generated, the end token included */
    uint64_t n_bytes;   /* of text passed to the callback */
    int32_t stop_index; /* which stop string or stop id, or -1 */
    uint32_t reserved;
    uint64_t n_held; /* bytes of text that the session holds back for the next call */
} nlm_generate_result;

/* Generates from where the session is, appending each token to it but an end token (the last one is
 * computed with the next call). sampler NULL: greedy. on_text may be NULL. Allocates nothing per token.
 * Text     Repeated calls with the same number of tokens in all give the same text: after max_tokens, the callback,
 *          nlm_session_cancel or an error has ended a call, an unfinished character and what may become a stop string
 *          stay in the session, go with it into forks and files, and are the first text of the next call (whose stop
 *          strings count, also for one that is there already). nlm_session_flush_text gives out what is left when
 *          there is no next call. Any other end ends the text: what was held back is given out, except a character
 *          that is cut and what follows a stop string. Extending, stepping, resetting or restoring the session
 *          forgets what is held.
 * Errors   INVALID_ARGUMENT (an empty session, an empty stop string, a stop id outside the vocabulary, n_top
 *          above NLM_LOGPROBS_MAX, a constraint without its functions, unknown flags), NOT_FOUND (the file has no
 * tokenizer; the constraint rules every token out), NUMERIC (a logit is not finite), those of a constraint's
 * functions, and those of nlm_session_extend but LIMIT. The session does not hold a token that was not accepted. Text
 * generated before an error has been passed on, and its tokens stay in the session: the same call again goes on
 * behind it. */
NLM_API nlm_status nlm_session_generate(nlm_session *session, nlm_sampler *sampler,
                                        const nlm_generate_options *options, nlm_text_fn on_text, void *user,
                                        nlm_generate_result *out_result, nlm_error *error);

/* Gives out the text that the latest nlm_session_generate held back for a stop string: for the end of an answer that
 * max_tokens, the callback or nlm_session_cancel ended. A cut character stays, and when on_text returns nonzero what
 * is left does. */
NLM_API nlm_status nlm_session_flush_text(nlm_session *session, nlm_text_fn on_text, void *user, nlm_error *error);

#ifdef __cplusplus
}
#endif
#endif
