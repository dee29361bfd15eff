/* A loaded model ready to run: weights placed, tokenizer, cache, and the slots that sessions take. What an
 * nlm_model of nlm.h has beside the model itself. */
#ifndef NLM_SESSION_RUNTIME_H
#define NLM_SESSION_RUNTIME_H

#include <nlm/nlm.h>
#include <stdatomic.h>
#include "model/model.h"
#include "session/engine.h"
#include "session/programs.h"
#include "session/prompt_cache.h"
#include "session/snapshots.h"
#include "session/states.h"
#include "text/chat_own.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

/* Prompts of models whose states are not all paged: tokens from one snapshot to the next. */
#define NLM_SNAPSHOT_TOKENS 128

/* How far a load is. */
typedef struct nlm_loading {
    nlm_placing placing;
    nlm_engine *engine;
    nlm_progress_fn progress; /* or NULL */
    void *user;
    uint64_t placed, all; /* bytes of weights */
} nlm_loading;

typedef struct nlm_runtime {
    nlm_engine *engine;
    nlm_loading loading;
    nlm_model *model;
    const nlm_hparams *hparams;
    nlm_tokenizer *tokenizer; /* NULL if the file has none: text_error says so */
    nlm_error text_error;
    nlm_chat_own *own_chat;        /* the model's template, interpreted; NULL: another was named, or none can be */
    const nlm_chat_template *chat; /* named, or known to render as the model's does; or NULL */
    nlm_error chat_error;          /* why own_chat is NULL where no other was named */
    atomic_bool is_chat_warned;    /* what may be wrong with it was said */
    nlm_states *states;
    nlm_programs *programs;
    nlm_programs *embedders;   /* those that give hidden states; NULL until they are asked for */
    nlm_prompt_cache *prompts; /* or NULL */
    nlm_snapshots *snapshots;  /* its payloads; or NULL */
    int32_t *found;            /* [found_capacity] those of a prompt's prefix */
    int32_t found_capacity;
    uint32_t *mask; /* for constraints: [nlm_mask_words(n_vocab)], of the call under way */
    int32_t context_length;
    int32_t n_slots;
    bool *is_slot_used;    /* [n_slots] */
    uint32_t n_embeddings; /* that are under way */
    nlm_ending ending;     /* done when no slot is used any more, and nothing embeds */
    bool is_ending;
    uint64_t memory_bytes; /* that it counts towards the engine's limit */
    double load_seconds;
    uint64_t fingerprint; /* 0: not computed yet */
} nlm_runtime;

/* nlm_model_load of an open model, which is taken also when this fails. */
nlm_status nlm_model_load_open(nlm_engine *engine, nlm_model *model, const nlm_model_options *options,
                               nlm_model **out_model, nlm_error *err);

/* After a session has gone: unloads the model if that was asked for before. */
void nlm_runtime_end_with_last(nlm_runtime *runtime);

/* Fails with text_error if there is no tokenizer. */
nlm_status nlm_runtime_check_text(const nlm_runtime *runtime, nlm_error *err);

/* Identifies the model in session files: its metadata, the names, types and shapes of its tensors, and a
 * sample of their data. Computed at the first call; never 0. */
uint64_t nlm_runtime_fingerprint(nlm_runtime *runtime);

#endif
