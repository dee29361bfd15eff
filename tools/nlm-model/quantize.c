/* nlm-model quantize: a GGUF with matrices of a smaller type, and what that costs. */
#include "quantize.h"

#include "base/file_cut.h"
#include "base/status.h"
#include "common/output.h"
#include "common/terminal.h"
#include "importance.h"

#include <stdio.h>

static void warn_of_loss(const nlm_command *command, const quantize_plan *plan) {
    if (plan->n_lossy == 0) return;
    fprintf(stderr,
            "%s: warning: %zu tensors are quantised already: what they lost stays lost, and more comes to it; start "
            "from f32, f16 or bf16 if you can\n",
            command->name, plan->n_lossy);
}

static nlm_status print(const quantize_plan *plan, const char *path, const quantize_options *options,
                        const quantize_perplexity *text, nlm_error *err) {
    nlm_status status = NLM_OK;
    if (options->json) {
        nlm_json json = {0};
        quantize_report_json(&json, plan, path, text);
        status = nlm_json_print(&json, stdout, err);
        nlm_json_release(&json);
        return status;
    }
    nlm_str out = {0};
    quantize_report(&out, plan, path, text);
    if (out.has_failed)
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, path, "out of memory");
    else
        fwrite(out.data, 1, out.length, stdout);
    nlm_str_release(&out);
    return status;
}

static nlm_status measure(const char *path, const quantize_options *options, double *value, double *error,
                          quantize_perplexity *text, nlm_error *err) {
    if (!options->text) return NLM_OK;
    nlm_show_step("perplexity of %s", path);
    const nlm_status status = quantize_measure(path, options, value, error, &text->tokens, err);
    nlm_end_steps();
    return status;
}

static nlm_status calibrate(quantize_plan *plan, const quantize_options *options, importance *found, nlm_error *err) {
    if (!options->calibrate) return NLM_OK;
    nlm_show_step("calibrating by %s", options->calibrate);
    nlm_status status = importance_collect(nlm_gguf_path(plan->gguf), options, found, err);
    nlm_end_steps();
    if (status == NLM_OK) status = nlm_file_cut_check(err); /* the model was closed again */
    if (status == NLM_OK) importance_apply(found, plan);
    if (status == NLM_OK && options->importance)
        status = importance_save(found, options->calibrate, options->importance, err);
    return status;
}

static nlm_status quantize(const nlm_command *command, const nlm_gguf *gguf, const char *out,
                           const quantize_options *options, nlm_error *err) {
    const quantize_types types = quantize_choose(gguf, options->type, options->embedding_type, options->head_type);
    quantize_perplexity text = {0};
    quantize_plan plan = {0};
    importance found = {0};
    nlm_status status = quantize_plan_make(gguf, &types, &plan, err);
    if (status == NLM_OK) {
        warn_of_loss(command, &plan);
        status = measure(nlm_gguf_path(gguf), options, &text.before, &text.before_error, &text, err);
    }
    if (status == NLM_OK) status = calibrate(&plan, options, &found, err);
    if (status == NLM_OK) status = quantize_write(&plan, out, (uint32_t)options->threads, err);
    if (status == NLM_OK) status = measure(out, options, &text.after, &text.after_error, &text, err);
    if (status == NLM_OK) status = print(&plan, out, options, &text, err);
    quantize_plan_release(&plan);
    importance_release(&found);
    return status;
}

static int check_types(const nlm_command *command, const quantize_options *options) {
    const struct {
        const char *option, *value;
    } given[] = {
        {"type", options->type}, {"head-type", options->head_type}, {"embedding-type", options->embedding_type}};
    nlm_str list = {0};
    int code = NLM_OPTIONS_GO_ON;
    quantize_type_list(&list);
    if (!options->type)
        code = nlm_tell_usage(command, "--type is missing; expected %s", list.data ? list.data : "a type");
    for (size_t i = 0; i < sizeof given / sizeof *given && code == NLM_OPTIONS_GO_ON; i++) {
        if (!given[i].value || quantize_type(given[i].value)) continue;
        code = nlm_tell_usage(command, "--%s is '%s'; expected %s", given[i].option, given[i].value,
                              list.data ? list.data : "a type");
    }
    nlm_str_release(&list);
    return code;
}

static int check_files(const nlm_command *command, const char *in, const char *out, const quantize_options *options) {
    const char *const inputs[] = {in, options->text, options->calibrate};
    const size_t n_inputs = sizeof inputs / sizeof *inputs;
    int code = nlm_check_output(command, "OUT", out, inputs, n_inputs);
    if (code == NLM_OPTIONS_GO_ON)
        code = nlm_check_output(command, "--save-importance", options->importance, inputs, n_inputs);
    if (code == NLM_OPTIONS_GO_ON && nlm_is_same_file(options->importance, out))
        code = nlm_tell_usage(command, "--save-importance is the file OUT; name another");
    return code;
}

int quantize_model(const nlm_command *command, const char *in, const char *out, const quantize_options *options) {
    int code = check_types(command, options);
    if (code != NLM_OPTIONS_GO_ON) return code;
    if (options->importance && !options->calibrate)
        return nlm_tell_usage(command, "--save-importance writes what --calibrate finds: give that too");
    code = check_files(command, in, out, options);
    if (code != NLM_OPTIONS_GO_ON) return code;
    nlm_error err = NLM_ERROR_INIT;
    nlm_gguf *gguf = NULL;
    nlm_status status = nlm_gguf_open(in, &gguf, &err);
    if (status == NLM_OK) {
        status = quantize(command, gguf, out, options, &err);
        nlm_gguf_close(gguf);
    }
    if (status != NLM_OK) nlm_tell(command, &err);
    return nlm_stdout_finish(command) && status == NLM_OK ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
