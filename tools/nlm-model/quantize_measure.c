/* The perplexity of a text by a model file, in the windows that nlm-eval has unless told otherwise. */
#include "base/status.h"
#include "common/input.h"
#include "nlm-eval/eval.h"
#include "quantize.h"

static nlm_status evaluate(nlm_model *model, const char *path, double *out_value, double *out_error,
                           size_t *out_tokens, nlm_error *err) {
    nlm_str text = {0};
    nlm_ids ids = {0};
    evaluator e = {0};
    perplexity p;
    perplexity_options o = {0};
    NLM_TRY(evaluator_windows(model, &o, err));
    nlm_status status = nlm_read_input(path, &text, err);
    if (status == NLM_OK) status = evaluator_encode(model, path, &text, 0, &ids, err);
    if (status == NLM_OK) status = evaluator_open(&e, model, err);
    if (status == NLM_OK) status = evaluate_perplexity(&e, ids.data, ids.count, &o, &p, err);
    if (status == NLM_OK && p.n_scored == 0) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, path, "one token, and nothing before it to predict it");
    }
    if (status == NLM_OK) {
        *out_value = perplexity_value(&p);
        *out_error = perplexity_error(&p);
        *out_tokens = p.n_scored;
    }
    evaluator_close(&e);
    nlm_ids_release(&ids);
    nlm_str_release(&text);
    return status;
}

nlm_status quantize_measure(const char *path, const quantize_options *options, double *out_value, double *out_error,
                            size_t *out_tokens, nlm_error *err) {
    const nlm_engine_options engine_options = {
        .struct_size = sizeof engine_options, .backend = options->backend, .threads = (uint32_t)options->threads};
    const nlm_model_options model_options = {.struct_size = sizeof model_options, .flags = NLM_MODEL_NO_PROMPT_CACHE};
    nlm_engine *engine = NULL;
    nlm_model *model = NULL;
    nlm_status status = nlm_engine_create(&engine_options, &engine, err);
    if (status == NLM_OK) status = nlm_model_load(engine, path, &model_options, &model, err);
    if (status == NLM_OK) status = evaluate(model, options->text, out_value, out_error, out_tokens, err);
    nlm_model_unload(model);
    nlm_engine_destroy(engine);
    return status;
}
