/* nlm for programs that embed it: run language models on the backends found at run time.
 *
 *   nlm_engine_create    a device and threads
 *   nlm_model_load       a GGUF file on that device, with a cache for several sessions
 *   nlm_session_create   one conversation: extend it with tokens, generate, save, fork
 *
 * What has to do with text (tokens, conversations, generation) is in nlm/text.h, and how a token is chosen in
 * nlm/sampler.h; this header includes both.
 *
 * Rules of this interface
 *   - Versions: nlm_api_version() is what the library has, NLM_API_MAJOR and NLM_API_MINOR what the program
 *     was compiled with. A library serves every program of its major version and a minor up to its own.
 *   - Growth: every struct begins with struct_size, which the caller sets to sizeof of its own definition
 *     before the call, and only ever appends. The library reads and writes what struct_size covers; what
 *     it does not cover, and every field that is zero, is the default. Options may be NULL.
 *   - Errors: a call that can fail returns an nlm_status and writes a sentence to the nlm_error it is
 *     given, if any. Nothing prints, aborts or exits; progress and warnings go to the log sink. When a
 *     call fails, *out is NULL or untouched.
 *   - Ownership: handles are freed by the function named destroy or unload, which accept NULL, in any order
 *     and from any thread: what something else still needs, or a call under way uses, lives until that is
 *     over. Pointers passed in are borrowed for the call; one that is needed and NULL is INVALID_ARGUMENT,
 *     as are flags that are not known. Pointers handed out say how long they are valid.
 *   - Threads: an engine, its models and their sessions are used by one thread at a time; a call while
 *     another is under way is INVALID_ARGUMENT. Different engines are independent. What encodes,
 *     decodes or tells of tokens (nlm/text.h up to generation) and the describe functions may be called from
 *     any number of threads at once. Callbacks run on the calling thread; what they call on the same engine is
 * INVALID_ARGUMENT too, but for those just named and nlm_session_tokens.
 *   - Processes: an engine works in the process that made it. In a child of fork() its calls are
 *     INVALID_ARGUMENT, and destroying it does nothing; the child makes its own.
 *   - Numbers: on CPU backends results depend on the input alone, not on the number of threads or on what
 *     else is in the batch.
 *
 * Strings are UTF-8 and terminated unless a length stands beside them. Times are seconds. */
#ifndef NLM_NLM_H
#define NLM_NLM_H

#include <nlm/api.h>
#include <nlm/sampler.h>
#include <nlm/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NLM_API_MAJOR 1
#define NLM_API_MINOR 0

/* The library's interface: major << 16 | minor. */
NLM_API uint32_t nlm_api_version(void);
/* The library's release, "0.1.0"; valid for ever. */
NLM_API const char *nlm_version(void);
/* "out of memory" for NLM_OUT_OF_MEMORY; valid for ever. */
NLM_API const char *nlm_status_string(nlm_status status);

/* Where messages go: one line without control characters, from any thread. level: 0 error, 1 warning, 2 information,
 * 3 debug; messages above `level` are not made. fn NULL: stderr. Process-wide. */
typedef void (*nlm_log_fn)(void *user, int32_t level, const char *message);
NLM_API void nlm_set_log(nlm_log_fn fn, void *user, int32_t level);

/* How far a long operation is: 0..1. Returning nonzero ends it with NLM_CANCELLED. */
typedef int32_t (*nlm_progress_fn)(void *user, double fraction);

/* ---- backends: what there is to choose from -------------------------------------------------- */

typedef struct nlm_backends nlm_backends;

enum {
    NLM_BACKEND_READY = 0,   /* can be given to nlm_engine_create */
    NLM_BACKEND_SKIPPED = 1, /* not for this machine: the reason says what is missing */
    NLM_BACKEND_REFUSED = 2  /* broken or not trusted */
};

typedef struct nlm_backend_info {
    uint32_t struct_size;
    int32_t state;       /* NLM_BACKEND_* */
    const char *name;    /* these strings live as long as the list */
    const char *library; /* the shared object */
    const char *reason;  /* why it is not ready; "" if it is */
    uint32_t n_devices;  /* 0 if it is not ready */
    int32_t score;       /* how well it suits this machine, as it says */
    int64_t priority;    /* of the registry; the greatest priority, then score, comes first */
} nlm_backend_info;

typedef struct nlm_backend_device {
    uint32_t struct_size;
    int32_t device_id;
    uint64_t memory_bytes; /* 0: not known */
    uint64_t memory_free_bytes;
    char name[256];
} nlm_backend_device;

/* Reads a registry (NULL: as nlm_engine_options.registry) and examines its backends, best first. Needs no engine.
 * Errors   NOT_FOUND, BAD_FORMAT (the registry: file:line:column), OUT_OF_MEMORY; not a backend that is no good. */
NLM_API nlm_status nlm_backends_create(const char *registry, nlm_backends **out_backends, nlm_error *error);
NLM_API void nlm_backends_destroy(nlm_backends *backends);
/* Errors   NOT_FOUND (there are no more). */
NLM_API nlm_status nlm_backends_describe(const nlm_backends *backends, size_t index, nlm_backend_info *out_info,
                                         nlm_error *error);
/* Opens device 0 to n_devices - 1 of backend `index` for a moment. Errors   as nlm_engine_create. */
NLM_API nlm_status nlm_backends_device(const nlm_backends *backends, size_t index, int32_t device_id,
                                       nlm_backend_device *out_device, nlm_error *error);

/* ---- engine: a device and threads --------------------------------------------------------- */

typedef struct nlm_engine nlm_engine;

enum {
    NLM_ENGINE_NO_FALLBACK = 1, /* an op the backend lacks is an error, not run by another CPU backend */
    NLM_ENGINE_PROFILE = 2,     /* count time, bytes and FLOP per op: nlm_engine_profile */
    NLM_ENGINE_BIND_CALLER = 4, /* also bind the calling thread to its core while it works (a program that
                                   has the machine to itself) */
    NLM_ENGINE_UNBOUND = 8      /* bind no thread */
};

typedef struct nlm_engine_options {
    uint32_t struct_size;
    uint32_t flags;                     /* NLM_ENGINE_* */
    const char *backend;                /* "cpu_scalar", as in plugins.toml; NULL: the best that works here */
    int32_t device_id;                  /* which device of the backend, from 0 */
    uint32_t threads;                   /* 0: one per physical core the process may use */
    const char *registry;               /* a plugins.toml; NULL: NLM_PLUGIN_REGISTRY, or the library's own */
    const char *const *backend_options; /* key, value, key, value, ..., NULL: override the registry's */
    nlm_log_fn log; /* where messages of calls on this engine, its models and sessions go, as nlm_set_log's function;
                       NULL: there. What a backend says on threads of its own goes there always */
    void *log_user;
    int32_t log_level; /* with log: as nlm_set_log's; 0 is errors alone */
    uint32_t reserved;
    uint64_t memory_limit_bytes; /* what the engine's models and sessions may take together, as nlm_model_estimate
                                    reckons; 0: no limit */
    const int32_t *device_ids;   /* n_device_ids of them, all different: layers are split over these devices in turn,
                                    and   device_id is not looked at. NULL: device_id alone */
    uint32_t n_device_ids;
    uint32_t reserved2;
} nlm_engine_options;

typedef struct nlm_engine_info {
    uint32_t struct_size;
    int32_t device_id; /* the first, where layers are split */
    uint32_t threads;
    uint32_t reserved;
    const char *backend;          /* these strings live as long as the engine */
    const char *device;           /* for people: the device's name */
    const char *threads_reason;   /* for people: "2 threads: one per physical core of 2 allowed CPUs" */
    uint64_t device_memory_bytes; /* 0: not known */
    uint64_t device_memory_free_bytes;
    uint64_t memory_limit_bytes;
    uint64_t memory_used_bytes; /* what counts towards the limit now */
    uint32_t n_devices;         /* that layers are split over; 1: they are not */
    uint32_t reserved2;
} nlm_engine_info;

/* Finds the backends, opens the device and starts the threads.
 * Errors   NOT_FOUND (no such backend, and which there are; no registry), UNSUPPORTED (the backend does not work
 *          here, and why), INVALID_ARGUMENT, BAD_FORMAT (the registry: file:line:column), OUT_OF_MEMORY. */
NLM_API nlm_status nlm_engine_create(const nlm_engine_options *options, nlm_engine **out_engine, nlm_error *error);
/* Models that are left keep it until they are unloaded. */
NLM_API void nlm_engine_destroy(nlm_engine *engine);
NLM_API nlm_status nlm_engine_describe(const nlm_engine *engine, nlm_engine_info *out_info, nlm_error *error);

/* Goes on with another backend or device, for example after one was lost or ran out of memory: opens it,
 * then closes the one before. Threads, registry, flags and profile stay. Unload the engine's models first:
 * the tokens of their sessions are what to take along. backend and backend_options as in
 * nlm_engine_options; a failure leaves the engine as it was.
 * Errors   as nlm_engine_create; INVALID_ARGUMENT (a model is loaded, or one is in training). */
NLM_API nlm_status nlm_engine_switch(nlm_engine *engine, const char *backend, int32_t device_id,
                                     const char *const *backend_options, nlm_error *error);

enum { NLM_PROFILE_TEXT = 0, NLM_PROFILE_JSON = 1 };

/* What has run so far, per op and per layer, as a table for people or a JSON object. At most capacity
 * bytes are written, always terminated if capacity is not 0; *out_length is the length of the whole.
 * Errors   INVALID_ARGUMENT (the engine was made without NLM_ENGINE_PROFILE), OUT_OF_MEMORY. */
NLM_API nlm_status nlm_engine_profile(const nlm_engine *engine, uint32_t form, char *out_text, size_t capacity,
                                      size_t *out_length, nlm_error *error);

/* ---- model: weights, tokenizer and cache -------------------------------------------------- */

enum {
    NLM_MODEL_NO_PROMPT_CACHE = 1, /* do not keep prefixes of earlier prompts */
    NLM_MODEL_NO_MMAP = 2 /* read files into memory, beside what is packed; what becomes of them is no matter */
};

typedef struct nlm_model_options {
    uint32_t struct_size;
    uint32_t flags;              /* NLM_MODEL_* */
    uint32_t context_length;     /* tokens a session may hold; 0: what the model was trained for, with a KV
                                cache at most 4096 */
    uint32_t parallel;           /* sessions at once; 0: 1 */
    const char *kv_type;         /* of the KV cache: "f16", "f32", "q8_0"; NULL: f16 */
    uint64_t prompt_cache_bytes; /* bound of the prompt cache; 0: a quarter of the KV cache, or 64 MiB of states */
    const char *chat_template;   /* "chatml", "llama-2", "llama-3", "llama-3.1", "llama-3.2", "zephyr", "mistral",
                                    "mistral-v0.1", "mistral-v1", "mistral-v3", "mistral-nemo", "qwen2", "qwen2.5",
                                    "qwen3", "qwen3-coder", "qwq", "granite-3", "granite-4", "lfm2", "smollm2",
                                    "stablelm-zephyr", "vigogne"; NULL: the model's */
    nlm_progress_fn progress;    /* of the load, told after every weight; or NULL */
    void *progress_user;
    const char *pack_cache; /* a folder, made if it is missing: weights that the backend packs are written there, and
                               mapped by later loads of the same file on the same backend. A file in it that cannot
                               be used or written is a warning in the log. NULL: none */
    const char *const *overrides; /* metadata in place of the file's, or beside it: "KEY=TYPE:VALUE", ..., NULL; TYPE
                                     is int, float, bool (true, false) or str. NULL: none */
} nlm_model_options;

typedef struct nlm_model_info {
    uint32_t struct_size;
    uint32_t context_length; /* as chosen */
    uint32_t parallel;
    int32_t n_vocab, n_layer, n_embd;
    int32_t n_ctx_train;
    int32_t bos, eos;          /* token ids, -1: none */
    const char *family;        /* "llama", "mamba"; these strings live as long as the model */
    const char *chat_template; /* "jinja": a text of its own, none known; NULL: there is none */
    uint64_t file_bytes;
    uint64_t cache_bytes;            /* when every session is full */
    uint64_t weight_bytes_per_token; /* weights read to decode one token */
    double load_seconds;
} nlm_model_info;

/* What a load would need of the memory it goes to. */
typedef struct nlm_memory_estimate {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t weight_bytes;
    uint64_t cache_bytes;     /* when every session is full */
    uint64_t working_bytes;   /* activations, tokenizer: about */
    uint64_t available_bytes; /* of the machine or, where smaller, the control group; 0: not known */
} nlm_memory_estimate;

/* Reads the file's header alone. Errors as nlm_model_load. */
NLM_API nlm_status nlm_model_estimate(const nlm_engine *engine, const char *path, const nlm_model_options *options,
                                      nlm_memory_estimate *out_estimate, nlm_error *error);

/* Maps a GGUF file, places its weights on the engine's device and sets up the cache. A need above the
 * available memory is a warning in the log; one above what is left of the engine's memory_limit_bytes is
 * OUT_OF_MEMORY, and nothing is placed. Cutting a file in use is IO where it is noticed, else SIGBUS.
 * Errors   NOT_FOUND, PERMISSION, IO, BAD_FORMAT (file:offset, what, what was expected), UNSUPPORTED (an architecture
 *          or an op not known: which are), INVALID_ARGUMENT (options), OUT_OF_MEMORY, CANCELLED. */
NLM_API nlm_status nlm_model_load(nlm_engine *engine, const char *path, const nlm_model_options *options,
                                  nlm_model **out_model, nlm_error *error);
/* Sessions that are left keep it until they are destroyed. */
NLM_API void nlm_model_unload(nlm_model *model);
NLM_API nlm_status nlm_model_describe(const nlm_model *model, nlm_model_info *out_info, nlm_error *error);

/* The value of a key of the file's metadata as text: a string as it is, a number, "true" or "false", an array as
 * [a, b, ...]. As nlm_engine_profile writes. Errors   NOT_FOUND (the file has no such key), UNSUPPORTED (an array of
 * strings: a vocabulary, which is not kept). */
NLM_API nlm_status nlm_model_metadata(const nlm_model *model, const char *key, char *out_text, size_t capacity,
                                      size_t *out_length, nlm_error *error);
/* The name of entry `index` of the metadata, in the file's order, in the same way. Errors   NOT_FOUND (there are no
 * more). */
NLM_API nlm_status nlm_model_metadata_key(const nlm_model *model, size_t index, char *out_text, size_t capacity,
                                          size_t *out_length, nlm_error *error);

/* Writes what the prompt cache holds to a file that its owner alone can read, for a later load of the same model:
 * prompts used latest first, as far as max_bytes have room (0: all). As nlm_session_save writes, but a symbolic link
 * is replaced. *out_tokens (NULL: not told) is how many tokens these are. Errors   IO, PERMISSION, NOT_FOUND,
 * OUT_OF_MEMORY, UNSUPPORTED (the model has no prompt cache). */
NLM_API nlm_status nlm_model_save_prompts(nlm_model *model, const char *path, uint64_t max_bytes,
                                          uint64_t *out_tokens, nlm_error *error);
/* Puts them into the prompt cache, beside what it holds and as far as there is room; *out_tokens (NULL: not told) is
 * how many tokens were. A session that finds its prompt there has the bits that computing would give.
 * Errors   NOT_FOUND, IO, PERMISSION (also: the file is another user's, or others may write to it), INVALID_ARGUMENT
 *          (it is no file of prompts), BAD_FORMAT (it was cut or changed: where), UNSUPPORTED (another version,
 * model, KV type, backend or CPU), OUT_OF_MEMORY: the cache is as it was. */
NLM_API nlm_status nlm_model_restore_prompts(nlm_model *model, const char *path, uint64_t *out_tokens,
                                             nlm_error *error);

/* ---- session: one sequence of tokens ------------------------------------------------------ */

typedef struct nlm_session nlm_session;

/* An empty session. Errors LIMIT (the model's `parallel` sessions are all in use), OUT_OF_MEMORY (or the engine's
 * memory_limit_bytes would be passed). */
NLM_API nlm_status nlm_session_create(nlm_model *model, nlm_session **out_session, nlm_error *error);
NLM_API void nlm_session_destroy(nlm_session *session);

/* Called between chunks of a long prefill; NULL: none. A cancelled session keeps the chunks it has. */
NLM_API void nlm_session_set_progress(nlm_session *session, nlm_progress_fn fn, void *user);

/* Ends what is under way with the session, from any thread or a signal handler: a prefill, or its part of nlm_step,
 * after the chunk that is being computed with CANCELLED, a generation after its token with NLM_ENDED_BY_CANCEL. Where
 * nothing is under way it does nothing: the next call begins uncancelled. */
NLM_API void nlm_session_cancel(nlm_session *session);

/* Appends tokens: the first time this is the prefill, of which what the prompt cache holds is not computed
 * again; later calls compute the new tokens alone.
 * Errors   INVALID_ARGUMENT (an id outside the vocabulary, count 0), LIMIT (the context would overflow:
 *          nothing is appended), NUMERIC (a logit is not finite: at which position), CANCELLED,
 *          OUT_OF_MEMORY, DEVICE_ERROR, IO (the model's file was cut). After an error that came while computing, the
 *          session holds what it held before, and one of a Llama the chunks before the failed one too; what of it is
 *          not computed any more is computed again when it is needed. */
NLM_API nlm_status nlm_session_extend(nlm_session *session, const int32_t *ids, size_t count, nlm_error *error);

/* As nlm_session_extend, and writes the logits after each token: out_logits [count, n_vocab] f32. The
 * prompt cache is not used. */
NLM_API nlm_status nlm_session_extend_logits(nlm_session *session, const int32_t *ids, size_t count,
                                             float *out_logits, nlm_error *error);

enum {
    NLM_STEP_SAMPLE = 1, /* choose the token that follows the item's last one: nlm_step_item.next */
    NLM_STEP_LOGPROB = 2 /* with NLM_STEP_SAMPLE: how likely the model holds it, nlm_step_item.logprob */
};

/* What nlm_step does for one session. An array of them has the struct_size of its first item as its stride. */
typedef struct nlm_step_item {
    uint32_t struct_size;
    uint32_t flags; /* NLM_STEP_* */
    nlm_session *session;
    const int32_t *ids;   /* tokens to append: a whole prompt, a chunk of one, or one token */
    size_t count;         /* 0: none; what the session has not computed yet still is */
    float *out_logits;    /* [n_logits, n_vocab] f32: the logits after each of the last n_logits of ids; or NULL */
    size_t n_logits;      /* at most count */
    nlm_sampler *sampler; /* with NLM_STEP_SAMPLE; NULL: greedy */
    /* Written by nlm_step: */
    nlm_error *error;  /* the caller's, for the sentence of a status that is not OK; or NULL */
    nlm_status status; /* how it went for this item */
    int32_t next;      /* with NLM_STEP_SAMPLE the token chosen; else, and after an error, -1 */
    /* Read and written where struct_size covers them: */
    const nlm_constraint *constraint; /* with NLM_STEP_SAMPLE; it accepts the token chosen. NULL: none */
    nlm_logprob *out_top;  /* [n_top] with NLM_STEP_LOGPROB, the likeliest tokens as in nlm_generated, written where
                              `next` is; where the vocabulary has fewer, the rest have id -1 */
    uint32_t n_top;        /* at most NLM_LOGPROBS_MAX */
    float logprob;         /* with NLM_STEP_LOGPROB that of `next`; else, and after an error, 0 */
    uint32_t max_computed; /* at most so many of the tokens are computed, after those that the prompt cache has: where
                             some are left the item ends as by its progress function (CANCELLED); 0: all */
    uint32_t reserved;     /* 0 */
} nlm_step_item;

/* Takes many sessions of one model on at once, in as few runs as the batch allows: prompts, chunks and single tokens
 * mixed, single tokens first. Each session gets what nlm_session_extend would have given it alone (on CPU backends
 * the same bits), the prompt cache and its progress function included (with n_logits the cache is not used); its
 * logits are copied for nobody who does not ask, by n_logits or nlm_session_logits. What goes wrong with one item (a
 * full context, a bad id, a logit that is not finite, cancelled) leaves the others alone; a run that fails is an
 * error of each item in it. A session holds after an error what nlm_session_extend says. Allocates nothing once the
 * model has run batches of as many tokens. Errors   the first item's that has one; of an item INVALID_ARGUMENT (no
 * session, another model than the first item's, a session that an item before it has, nothing to compute for an empty
 * session, n_logits without out_logits or above count, n_top without out_top or above NLM_LOGPROBS_MAX, a sampler of
 * another vocabulary, a constraint without its functions, unknown flags), those of nlm_session_extend and those that
 * nlm_sampler_pick_with has of a constraint (also of its `accept`); after these the session has its tokens.
 * INVALID_ARGUMENT without any item's status (struct_size; count 0). */
NLM_API nlm_status nlm_step(nlm_step_item *items, size_t count, nlm_error *error);

/* One more token for each of several sessions of one model: session i gets ids[i].
 * Errors   as nlm_step: the first session's that has one, and the others have gone on; sessions of different
 *          models, or one given twice, is INVALID_ARGUMENT and nothing has happened. */
NLM_API nlm_status nlm_sessions_decode(nlm_session *const *sessions, const int32_t *ids, size_t count,
                                       nlm_error *error);

/* The logits after the last token: [n_vocab] f32, valid until this session changes.
 * Errors   INVALID_ARGUMENT (the session is empty), and those of computing a token not computed yet. */
NLM_API nlm_status nlm_session_logits(nlm_session *session, const float **out_logits, nlm_error *error);

/* Chooses the next token from the logits; nothing is appended. sampler NULL: greedy. Errors as
 * nlm_session_logits. */
NLM_API nlm_status nlm_session_sample(nlm_session *session, nlm_sampler *sampler, int32_t *out_id, nlm_error *error);

/* The tokens the session holds, valid until it changes; their number. */
NLM_API const int32_t *nlm_session_tokens(const nlm_session *session, size_t *out_count);

/* Keeps the first `count` tokens alone. The logits after the last of them are computed again when they are asked for:
 * from that token alone where keys and values are all that is kept, from the first where states are overwritten
 * (Mamba). Errors   INVALID_ARGUMENT (it holds fewer), DEVICE_ERROR. */
NLM_API nlm_status nlm_session_truncate(nlm_session *session, size_t count, nlm_error *error);

/* Forgets all tokens (the prompt cache may keep them). */
NLM_API nlm_status nlm_session_reset(nlm_session *session, nlm_error *error);

/* A new session that holds the same tokens; what both share is stored once until one of them writes it.
 * Errors as nlm_session_create. */
NLM_API nlm_status nlm_session_fork(nlm_session *session, nlm_session **out_session, nlm_error *error);

/* Writes the session to a file (a temporary beside it, renamed when complete); restore replaces what the
 * session holds, and continuing gives what continuing the saved one would have. A replaced file keeps its mode.
 * Errors   IO, PERMISSION, NOT_FOUND; restore: BAD_FORMAT (truncated or changed: where; a logit is not finite),
 *          UNSUPPORTED (another version, KV type or model), LIMIT (longer than the context). When restore
 *          fails before it has read the whole file the session is as it was, else empty. */
NLM_API nlm_status nlm_session_save(nlm_session *session, const char *path, nlm_error *error);
NLM_API nlm_status nlm_session_restore(nlm_session *session, const char *path, nlm_error *error);

/* The same in memory: the bytes that a file would hold, with the same checks. Nobody else may write to them during
 * the call. *out_size is how many there are; out_data NULL: they are only counted. Errors   as above; save: LIMIT
 * (capacity is smaller than *out_size: nothing is written). */
NLM_API nlm_status nlm_session_save_memory(nlm_session *session, void *out_data, size_t capacity, size_t *out_size,
                                           nlm_error *error);
NLM_API nlm_status nlm_session_restore_memory(nlm_session *session, const void *data, size_t size, nlm_error *error);

/* ---- embeddings --------------------------------------------------------------------------- */

enum {
    NLM_POOLING_MEAN = 0, /* the mean over a sequence's tokens */
    NLM_POOLING_LAST = 1, /* the last token's */
    NLM_POOLING_NONE = 2  /* all of them, a row a token */
};

enum {
    NLM_EMBED_NORMALIZE = 1 /* divide each row by its Euclidean length (a row of zeros stays) */
};

typedef struct nlm_embed_options {
    uint32_t struct_size;
    uint32_t flags;   /* NLM_EMBED_* */
    uint32_t pooling; /* NLM_POOLING_* */
    uint32_t reserved;
} nlm_embed_options;

/* Hidden states behind the final norm of sequences ids[i][0..counts[i]): out [n, n_embd] f32, or with
 * NLM_POOLING_NONE [sum of counts, n_embd], one sequence behind the other. The head is not run. Sequences share runs,
 * as many at once as the model's `parallel` has free beside its sessions, and each gets the bits that it would get
 * alone (on CPU backends); the prompt cache is not used. The first call plans graphs of its own. options NULL: all 0.
 * Errors   INVALID_ARGUMENT (an empty sequence, an id outside the vocabulary, unknown flags or pooling), LIMIT (a
 *          sequence is longer than the context, or every session is in use), NUMERIC (a number is not finite: of
 * which sequence), OUT_OF_MEMORY, DEVICE_ERROR, IO (the model's file was cut). `out` is then undefined. */
NLM_API nlm_status nlm_embed(nlm_model *model, const int32_t *const *ids, const size_t *counts, size_t n,
                             const nlm_embed_options *options, float *out, nlm_error *error);

/* The same piece by piece: between two calls others may use the engine. ids, what they point to, counts and out are
 * borrowed until it is destroyed. Errors   INVALID_ARGUMENT and LIMIT of the sequences as above, OUT_OF_MEMORY. */
typedef struct nlm_embedding nlm_embedding;
NLM_API nlm_status nlm_embedding_create(nlm_model *model, const int32_t *const *ids, const size_t *counts, size_t n,
                                        const nlm_embed_options *options, float *out, nlm_embedding **out_embedding,
                                        nlm_error *error);
/* One run, of at most max_tokens tokens (0, or more than a run can have: as many as that is). A sequence that is not
 * done yet keeps its session. *out_left, where it is not NULL: tokens that are left; at 0 `out` is whole, and further
 * calls do nothing. The bits do not depend on how it is cut.
 * Errors   LIMIT where every session is in use (call it again); others as above, after which it cannot go on. */
NLM_API nlm_status nlm_embedding_run(nlm_embedding *embedding, uint64_t max_tokens, uint64_t *out_left,
                                     nlm_error *error);
NLM_API void nlm_embedding_destroy(nlm_embedding *embedding);

/* ---- metrics ------------------------------------------------------------------------------ */

typedef struct nlm_metrics {
    uint32_t struct_size;
    int32_t device_id;
    uint32_t threads;
    uint32_t reserved;
    const char *backend;    /* lives as long as the engine */
    uint64_t prompt_tokens; /* computed by nlm_session_extend */
    uint64_t cached_tokens; /* taken from the prompt cache instead */
    uint64_t decode_tokens; /* computed one at a time while generating or in nlm_sessions_decode */
    double prompt_seconds;
    double decode_seconds;
    double first_token_seconds;      /* from the latest extend to the first token generated after it */
    double prompt_tokens_per_second; /* 0 without a prompt token */
    double decode_tokens_per_second;
    uint64_t file_bytes;             /* of the model */
    uint64_t weight_bytes_per_token; /* read to decode one token */
    uint64_t cache_bytes;            /* of the model's cache, in use by all sessions */
    uint64_t activation_bytes;       /* of the graphs planned so far */
    uint64_t rss_bytes;              /* of the process */
    uint64_t rss_peak_bytes;
} nlm_metrics;

/* Since the session was created. */
NLM_API nlm_status nlm_session_metrics(const nlm_session *session, nlm_metrics *out_metrics, nlm_error *error);

/* Which numbers of nlm_device_metrics are known. */
enum {
    NLM_KNOWN_MEMORY = 1,
    NLM_KNOWN_UTILIZATION = 2,
    NLM_KNOWN_MEMORY_UTILIZATION = 4,
    NLM_KNOWN_POWER = 8,
    NLM_KNOWN_POWER_LIMIT = 16,
    NLM_KNOWN_CLOCK = 32,
    NLM_KNOWN_MEMORY_CLOCK = 64,
    NLM_KNOWN_TEMPERATURE = 128,
    NLM_KNOWN_ECC = 256
};

/* What the engine's device measures of itself, whoever uses it, now. */
typedef struct nlm_device_metrics {
    uint32_t struct_size;
    int32_t device_id;
    uint32_t known;                      /* NLM_KNOWN_*; what is not known is 0 */
    uint32_t utilization_percent;        /* time in which something ran, of the last second or so */
    uint32_t memory_utilization_percent; /* time in which memory was read or written */
    int32_t temperature_celsius;
    uint64_t memory_used_bytes;
    uint64_t memory_total_bytes;
    uint32_t power_milliwatts;
    uint32_t power_limit_milliwatts;
    uint32_t clock_mhz; /* of the processors */
    uint32_t memory_clock_mhz;
    uint64_t ecc_corrected; /* errors of memory since the driver was loaded */
    uint64_t ecc_uncorrected;
} nlm_device_metrics;

/* From any thread, also while the engine works.
 * Errors   UNSUPPORTED (the backend does not measure, or what it measures with is not installed: the sentence says
 *          which), DEVICE_ERROR, DEVICE_LOST. */
NLM_API nlm_status nlm_engine_device_metrics(const nlm_engine *engine, nlm_device_metrics *out_metrics,
                                             nlm_error *error);

#ifdef __cplusplus
}
#endif

#include <nlm/grammar.h>
#include <nlm/text.h>
#endif
