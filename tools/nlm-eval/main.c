/* nlm-eval: the logits of given tokens, or the perplexity of a text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "common/input.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "nlm-eval/eval.h"

#define CHUNKED_WINDOW 512 /* llama-perplexity's */
#define LOG_WARNING    1

typedef struct arguments {
    const char *model, *tokens, *logits, *text, *backend, *kv_type, *registry;
    int64_t device_id, threads, window, stride;
    nlm_option_texts overrides;
    bool is_json, has_no_bos, is_chunked, has_no_mmap;
} arguments;

static arguments args;
static int failure_code = NLM_EXIT_FAILED; /* what main exits with */

static const nlm_option options[] = {
    {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file to evaluate", &args.model, 0, 0},
    {"tokens", 0, NLM_OPTION_TEXT, "FILE", "token ids separated by blanks, taken as they are (- is stdin)",
     &args.tokens, 0, 0},
    {"logits", 0, NLM_OPTION_TEXT, "OUT.npy", "where to write the logits after each token of --tokens", &args.logits,
     0, 0},
    {"text", 0, NLM_OPTION_TEXT, "FILE", "a text (- is stdin): print its perplexity", &args.text, 0, 0},
    {"window", 0, NLM_OPTION_INT, "N", "tokens a window of --text (the model's context, at most 1024)", &args.window,
     2, 1 << 24},
    {"stride", 0, NLM_OPTION_INT, "N", "tokens from one window to the next (half a window)", &args.stride, 1,
     1 << 24},
    {"chunked", 0, NLM_OPTION_FLAG, NULL,
     "score the second half of windows that do not overlap, as\nllama-perplexity does (windows of 512)",
     &args.is_chunked, 0, 0},
    {"no-bos", 0, NLM_OPTION_FLAG, NULL, "no BOS before each window, even if the model wants it", &args.has_no_bos, 0,
     0},
    {"backend", 'b', NLM_OPTION_TEXT, "NAME", "the backend to run on (the best one here; see nlm-plugins)",
     &args.backend, 0, 0},
    {"device-id", 0, NLM_OPTION_INT, "N", "which device of the backend (0)", &args.device_id, 0, 1023},
    {"threads", 'j', NLM_OPTION_INT, "N", "threads (0: one per physical core)", &args.threads, 0, 1024},
    {"registry", 0, NLM_OPTION_TEXT, "FILE", "the plugins.toml to find backends in", &args.registry, 0, 0},
    {"kv-type", 0, NLM_OPTION_TEXT, "TYPE", "of the KV cache: f16, f32 or q8_0 (f16)", &args.kv_type, 0, 0},
    {"no-mmap", 0, NLM_OPTION_FLAG, NULL, "read the model into memory rather than map its file", &args.has_no_mmap, 0,
     0},
    {"override", 0, NLM_OPTION_TEXTS, "KEY=TYPE:VALUE",
     "metadata in place of the file's; TYPE is int, float,\nbool or str; may be repeated", &args.overrides, 0, 0},
    {"json", 0, NLM_OPTION_FLAG, NULL, "the result as one JSON object", &args.is_json, 0, 0},
};

static const nlm_command command = {
    .name = "nlm-eval",
    .usage = "--model FILE (--tokens FILE --logits OUT.npy | --text FILE) [options]",
    .summary = "Writes the logits of given tokens, or prints the perplexity of a text.",
    .details =
        "Logits: float32 [tokens, vocabulary] in NumPy's format; nothing is put before the tokens.\n"
        "\n"
        "Perplexity is exp of the mean of -ln p(token | what stands before it in its window). The text is\n"
        "split into tokens as a whole. Windows begin every --stride tokens, each with BOS where the model\n"
        "wants it; a token is scored once, in the first window that holds it, so that after the first\n"
        "window it has at least window - stride tokens before it. Without BOS the first token of the text\n"
        "is not scored. The number after +- is the standard error.\n"
        "\n"
        "--chunked gives the number that llama-perplexity prints, for comparisons: each window begins with\n"
        "BOS in place of its first token, and what fills no window at the end is left out.\n",
    .examples =
        "  nlm-eval --model model.gguf --text book.txt\n"
        "  nlm-eval -m model.gguf --text book.txt --window 512 --stride 512 --kv-type f32 --json\n"
        "  nlm-tokenize -m model.gguf < book.txt | nlm-eval -m model.gguf --tokens - --logits book.npy\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
};

static void log_line(void *user, int32_t level, const char *message) {
    (void)user;
    fprintf(stderr, "nlm-eval: %s%s\n", level == LOG_WARNING ? "warning: " : "", message);
}

/* ---- results ------------------------------------------------------------------------------ */

static void add_engine(nlm_json *json, const nlm_engine *engine) {
    nlm_engine_info info = {.struct_size = sizeof info};
    if (nlm_engine_describe(engine, &info, NULL) != NLM_OK) return;
    nlm_json_string(json, "backend", info.backend);
    nlm_json_i64(json, "device_id", info.device_id);
    nlm_json_u64(json, "threads", info.threads);
}

static nlm_status print_perplexity(const nlm_engine *engine, const perplexity *p, const perplexity_options *o,
                                   nlm_error *err) {
    if (!args.is_json) {
        printf("perplexity %.4f +- %.4f (%zu tokens, %zu windows of %zu, ", perplexity_value(p), perplexity_error(p),
               p->n_scored, p->n_windows, o->window);
        if (args.is_chunked)
            printf("the second half of each)\n");
        else
            printf("stride %zu)\n", o->stride);
        return NLM_OK;
    }
    nlm_json json = {0};
    nlm_json_begin_object(&json, NULL);
    nlm_json_f64(&json, "perplexity", perplexity_value(p));
    nlm_json_f64(&json, "perplexity_error", perplexity_error(p));
    nlm_json_f64(&json, "mean_negative_log_likelihood", p->sum / (double)p->n_scored);
    nlm_json_bool(&json, "is_chunked", args.is_chunked);
    nlm_json_u64(&json, "tokens", p->n_scored);
    nlm_json_u64(&json, "windows", p->n_windows);
    nlm_json_u64(&json, "window", o->window);
    nlm_json_u64(&json, "stride", o->stride);
    nlm_json_bool(&json, "has_bos", o->bos >= 0);
    add_engine(&json, engine);
    const nlm_status status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}

static nlm_status print_logits(const nlm_engine *engine, size_t rows, size_t columns, nlm_error *err) {
    if (!args.is_json) return NLM_OK;
    nlm_json json = {0};
    nlm_json_begin_object(&json, NULL);
    nlm_json_string(&json, "logits", args.logits);
    nlm_json_u64(&json, "tokens", rows);
    nlm_json_u64(&json, "vocabulary", columns);
    add_engine(&json, engine);
    const nlm_status status = nlm_json_print(&json, stdout, err);
    nlm_json_release(&json);
    return status;
}

/* ---- evaluating --------------------------------------------------------------------------- */

static nlm_status load(nlm_engine *engine, size_t context, nlm_model **out, nlm_error *err) {
    const nlm_model_options model_options = {
        .struct_size = sizeof model_options,
        .flags = NLM_MODEL_NO_PROMPT_CACHE | (args.has_no_mmap ? NLM_MODEL_NO_MMAP : 0u),
        .context_length = (uint32_t)context,
        .kv_type = args.kv_type,
        .overrides = args.overrides.items};
    const nlm_status status = nlm_model_load(engine, args.model, &model_options, out, err);
    if (status != NLM_OK) failure_code = nlm_open_exit_code(err, NULL);
    return status;
}

static nlm_status eval_tokens(nlm_engine *engine, nlm_error *err) {
    nlm_str text = {0};
    nlm_ids ids = {0};
    nlm_model *model = NULL;
    evaluator e = {0};
    nlm_status status = nlm_read_input(args.tokens, &text, err);
    if (status == NLM_OK) status = nlm_parse_ids(args.tokens, &text, &ids, err);
    if (status == NLM_OK && ids.count == 0) status = nlm_fail(err, NLM_INVALID_ARGUMENT, args.tokens, "no token ids");
    if (status == NLM_OK) status = load(engine, ids.count, &model, err);
    if (status == NLM_OK) status = evaluator_open(&e, model, err);
    if (status == NLM_OK) status = evaluate_logits(&e, ids.data, ids.count, args.logits, err);
    if (status == NLM_OK) status = print_logits(engine, ids.count, e.n_vocab, err);
    evaluator_close(&e);
    nlm_model_unload(model);
    nlm_ids_release(&ids);
    nlm_str_release(&text);
    return status;
}

static nlm_status choose_windows(const nlm_model *model, perplexity_options *out, nlm_error *err) {
    nlm_model_info info = {.struct_size = sizeof info};
    NLM_TRY(nlm_model_describe(model, &info, err));
    out->window = (size_t)args.window;
    out->stride = (size_t)args.stride;
    if (args.is_chunked) {
        if (out->window == 0)
            out->window = info.context_length < CHUNKED_WINDOW ? info.context_length : CHUNKED_WINDOW;
        out->stride = out->window;
    }
    NLM_TRY(evaluator_windows(model, out, err));
    if (args.has_no_bos) out->bos = -1;
    if (args.is_chunked) return NLM_OK;
    const size_t greatest = out->window - (out->bos >= 0 ? 1 : 0);
    if (out->stride <= greatest) return NLM_OK;
    failure_code = NLM_EXIT_USAGE;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, "--stride", "%zu leaves out tokens of windows that hold %zu",
                    out->stride, greatest);
}

static nlm_status eval_model_text(nlm_engine *engine, nlm_model *model, const nlm_str *text, nlm_error *err) {
    perplexity_options o = {0};
    perplexity p;
    nlm_ids ids = {0};
    evaluator e = {0};
    NLM_TRY(choose_windows(model, &o, err));
    nlm_status status =
        evaluator_encode(model, args.text, text, args.is_chunked && o.bos >= 0 ? NLM_TEXT_BOS : 0, &ids, err);
    if (status == NLM_OK) status = evaluator_open(&e, model, err);
    if (status == NLM_OK)
        status = (args.is_chunked ? evaluate_chunks : evaluate_perplexity)(&e, ids.data, ids.count, &o, &p, err);
    if (status == NLM_OK && p.n_scored == 0) {
        status =
            args.is_chunked
                ? nlm_fail(err, NLM_INVALID_ARGUMENT, args.text,
                           "its %zu tokens fill no window of %zu with a second half", ids.count, o.window)
                : nlm_fail(err, NLM_INVALID_ARGUMENT, args.text, "one token, and nothing before it to predict it");
    }
    if (status == NLM_OK) status = print_perplexity(engine, &p, &o, err);
    evaluator_close(&e);
    nlm_ids_release(&ids);
    return status;
}

static nlm_status eval_text(nlm_engine *engine, nlm_error *err) {
    nlm_str text = {0};
    nlm_model *model = NULL;
    nlm_status status = nlm_read_input(args.text, &text, err);
    if (status == NLM_OK) status = load(engine, (size_t)args.window, &model, err);
    if (status == NLM_OK) status = eval_model_text(engine, model, &text, err);
    nlm_model_unload(model);
    nlm_str_release(&text);
    return status;
}

static nlm_status run(nlm_error *err) {
    const nlm_engine_options engine_options = {.struct_size = sizeof engine_options,
                                               .flags = NLM_ENGINE_BIND_CALLER,
                                               .backend = args.backend,
                                               .device_id = (int32_t)args.device_id,
                                               .threads = (uint32_t)args.threads,
                                               .registry = args.registry};
    nlm_engine *engine = NULL;
    nlm_status status = nlm_engine_create(&engine_options, &engine, err);
    if (status != NLM_OK) failure_code = nlm_open_exit_code(err, args.backend);
    if (status == NLM_OK) status = args.tokens ? eval_tokens(engine, err) : eval_text(engine, err);
    nlm_engine_destroy(engine);
    return status;
}

static int check_arguments(void) {
    if (!args.model) return nlm_tell_usage(&command, "--model is missing");
    if (!args.tokens == !args.text) return nlm_tell_usage(&command, "give --tokens or --text");
    if (!args.tokens != !args.logits) return nlm_tell_usage(&command, "--tokens and --logits go together");
    if (args.is_chunked && (!args.text || args.stride)) {
        return nlm_tell_usage(&command, "--chunked is for --text, and its windows do not overlap: no --stride");
    }
    const char *const inputs[] = {args.model, args.tokens, args.registry};
    return nlm_check_output(&command, "--logits", args.logits, inputs, sizeof inputs / sizeof *inputs);
}

int main(int argc, char **argv) {
    int first = 0;
    int code = nlm_options_parse(&command, argc, argv, &first);
    if (code == NLM_OPTIONS_GO_ON) code = check_arguments();
    if (code != NLM_OPTIONS_GO_ON) return code;
    nlm_set_log(log_line, NULL, LOG_WARNING);
    nlm_error err = NLM_ERROR_INIT;
    if (run(&err) != NLM_OK) {
        nlm_tell(&command, &err);
        return failure_code;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
