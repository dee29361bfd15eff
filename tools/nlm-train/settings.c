/* Settings from a file and the command line. */
#include "nlm-train/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "tensor/dtype.h"

static const char *const architectures[] = {"llama", "mamba", NULL};
static const char *const schedules[] = {"cosine", "linear", "constant", "wsd", NULL};
static const char *const dtypes[] = {"f32", "bf16", "f16", NULL};
static const char *const recomputations[] = {"none", "up", "layer", NULL};
static const char *const resumes[] = {"auto", "yes", "no", NULL};

#define AT(field) offsetof(settings, field)
#define COUNT     (1 << 28)

static const nlm_config_key keys[] = {
    {"model.path", NLM_CONFIG_STRING, AT(model), 0, 0, NULL},
    {"model.preset", NLM_CONFIG_STRING, AT(preset), 0, 0, NULL},
    {"model.architecture", NLM_CONFIG_STRING, AT(architecture), 0, 0, architectures},
    {"model.tokenizer", NLM_CONFIG_STRING, AT(tokenizer), 0, 0, NULL},
    {"model.n_embd", NLM_CONFIG_INT, AT(n_embd), 1, COUNT, NULL},
    {"model.n_layer", NLM_CONFIG_INT, AT(n_layer), 1, 4096, NULL},
    {"model.n_head", NLM_CONFIG_INT, AT(n_head), 1, COUNT, NULL},
    {"model.n_head_kv", NLM_CONFIG_INT, AT(n_head_kv), 1, COUNT, NULL},
    {"model.n_ff", NLM_CONFIG_INT, AT(n_ff), 1, COUNT, NULL},
    {"model.d_state", NLM_CONFIG_INT, AT(d_state), 1, 256, NULL},
    {"model.d_conv", NLM_CONFIG_INT, AT(d_conv), 2, 8, NULL},
    {"model.dt_rank", NLM_CONFIG_INT, AT(dt_rank), 1, COUNT, NULL},
    {"model.context", NLM_CONFIG_INT, AT(context), 1, COUNT, NULL},
    {"model.tied", NLM_CONFIG_BOOL, AT(is_tied), 0, 0, NULL},
    {"data.paths", NLM_CONFIG_STRINGS, AT(data), 0, 0, NULL},
    {"data.separator", NLM_CONFIG_STRING, AT(separator), 0, 0, NULL},
    {"data.json_field", NLM_CONFIG_STRING, AT(json_field), 0, 0, NULL},
    {"data.chat", NLM_CONFIG_STRING, AT(chat), 0, 0, NULL},
    {"data.cache", NLM_CONFIG_STRING, AT(cache), 0, 0, NULL},
    {"data.validation", NLM_CONFIG_FLOAT, AT(validation), 0, 0.5, NULL},
    {"batch.rows", NLM_CONFIG_INT, AT(rows), 1, 65536, NULL},
    {"batch.length", NLM_CONFIG_INT, AT(length), 1, 1 << 24, NULL},
    {"batch.accumulate", NLM_CONFIG_INT, AT(accumulate), 1, 65536, NULL},
    {"batch.sequences", NLM_CONFIG_INT, AT(sequences), 0, COUNT, NULL},
    {"batch.carry", NLM_CONFIG_BOOL, AT(carries), 0, 0, NULL},
    {"batch.burn_in", NLM_CONFIG_INT, AT(burn_in), 0, 1 << 24, NULL},
    {"optimizer.rate", NLM_CONFIG_FLOAT, AT(rate), 0, 1000, NULL},
    {"optimizer.schedule", NLM_CONFIG_STRING, AT(schedule), 0, 0, schedules},
    {"optimizer.floor", NLM_CONFIG_FLOAT, AT(floor), 0, 1, NULL},
    {"optimizer.warmup", NLM_CONFIG_INT, AT(warmup), 0, COUNT, NULL},
    {"optimizer.decay", NLM_CONFIG_INT, AT(decay), 0, COUNT, NULL},
    {"optimizer.beta1", NLM_CONFIG_FLOAT, AT(beta1), 0, 1, NULL},
    {"optimizer.beta2", NLM_CONFIG_FLOAT, AT(beta2), 0, 1, NULL},
    {"optimizer.eps", NLM_CONFIG_FLOAT, AT(eps), 0, 1, NULL},
    {"optimizer.weight_decay", NLM_CONFIG_FLOAT, AT(weight_decay), 0, 1000, NULL},
    {"optimizer.clip_norm", NLM_CONFIG_FLOAT, AT(clip_norm), 0, 1e9, NULL},
    {"lora.rank", NLM_CONFIG_INT, AT(lora_rank), 0, 65536, NULL},
    {"lora.alpha", NLM_CONFIG_FLOAT, AT(lora_alpha), 0, 1e6, NULL},
    {"lora.targets", NLM_CONFIG_STRINGS, AT(lora_targets), 0, 0, NULL},
    {"lora.merge", NLM_CONFIG_BOOL, AT(merges_lora), 0, 0, NULL},
    {"loss.smoothing", NLM_CONFIG_FLOAT, AT(smoothing), 0, 1, NULL},
    {"loss.z_loss", NLM_CONFIG_FLOAT, AT(z_loss), 0, 1, NULL},
    {"train.steps", NLM_CONFIG_INT, AT(steps), 1, COUNT, NULL},
    {"train.seed", NLM_CONFIG_INT, AT(seed), 0, 0, NULL},
    {"train.output", NLM_CONFIG_STRING, AT(output), 0, 0, NULL},
    {"train.dtype", NLM_CONFIG_STRING, AT(dtype), 0, 0, dtypes},
    {"train.checkpoint", NLM_CONFIG_STRING, AT(checkpoint), 0, 0, recomputations},
    {"train.resume", NLM_CONFIG_STRING, AT(resume), 0, 0, resumes},
    {"train.log_every", NLM_CONFIG_INT, AT(log_every), 1, COUNT, NULL},
    {"train.validate_every", NLM_CONFIG_INT, AT(validate_every), 0, COUNT, NULL},
    {"train.validation_batches", NLM_CONFIG_INT, AT(validation_batches), 1, COUNT, NULL},
    {"train.checkpoint_every", NLM_CONFIG_INT, AT(checkpoint_every), 0, COUNT, NULL},
    {"train.keep", NLM_CONFIG_INT, AT(keep), 1, COUNT, NULL},
    {"train.sample", NLM_CONFIG_STRING, AT(sample), 0, 0, NULL},
    {"train.sample_every", NLM_CONFIG_INT, AT(sample_every), 0, COUNT, NULL},
    {"train.sample_tokens", NLM_CONFIG_INT, AT(sample_tokens), 1, COUNT, NULL},
    {"train.export_type", NLM_CONFIG_STRING, AT(export_type), 0, 0, NULL},
    {"backend.name", NLM_CONFIG_STRING, AT(backend), 0, 0, NULL},
    {"backend.device_id", NLM_CONFIG_INT, AT(device_id), 0, 1023, NULL},
    {"backend.threads", NLM_CONFIG_INT, AT(threads), 0, 1024, NULL},
    {"backend.fallback", NLM_CONFIG_BOOL, AT(has_fallback), 0, 0, NULL},
    {"backend.registry", NLM_CONFIG_STRING, AT(registry), 0, 0, NULL},
    {"backend.options", NLM_CONFIG_OPTIONS, AT(backend_options), 0, 0, NULL},
};

/* Where the command line is parsed to, over whatever `values` holds. */
static struct {
    settings values;
    nlm_option_texts sets;
} given;

#define TO(field) &given.values.field

static const nlm_option options[] = {
    {"output", 'o', NLM_OPTION_TEXT, "DIR", "where checkpoints, the log and the model go", TO(output), 0, 0},
    {"steps", 'n', NLM_OPTION_INT, "N", "steps in all", TO(steps), 1, COUNT},
    {"seed", 's', NLM_OPTION_INT, "N", "of the initial values and of the order of the data (1)", TO(seed), 0, 0},
    {"resume", 0, NLM_OPTION_TEXT, "HOW",
     "'yes': go on from the last checkpoint of the output; 'no': begin\nanew; 'auto': go on if there is one (auto)",
     TO(resume), 0, 0},
    {"plan", 0, NLM_OPTION_FLAG, NULL, "say what it would train and the memory that takes, and end", TO(is_plan), 0,
     0},
    {"backend", 'b', NLM_OPTION_TEXT, "NAME", "the backend to run on (the best one here; see nlm-plugins)",
     TO(backend), 0, 0},
    {"device-id", 0, NLM_OPTION_INT, "N", "which device of the backend (0)", TO(device_id), 0, 1023},
    {"threads", 'j', NLM_OPTION_INT, "N", "threads (0: one per physical core)", TO(threads), 0, 1024},
    {"registry", 0, NLM_OPTION_TEXT, "FILE", "the plugins.toml to find backends in", TO(registry), 0, 0},
    {"set", 0, NLM_OPTION_TEXTS, "KEY=VALUE", "set any key of the configuration; may be repeated", &given.sets, 0, 0},
    {"quiet", 'q', NLM_OPTION_FLAG, NULL, "no progress", TO(is_quiet), 0, 0},
    {"verbose", 'v', NLM_OPTION_FLAG, NULL, "say what is chosen and why", TO(is_verbose), 0, 0},
};

static const char details[] =
    "Configuration (TOML); the command line wins over it. A relative path in it starts at its folder.\n"
    "  [model]      path: a GGUF file to go on from; or tokenizer, a GGUF file or a tokenizer.json with the "
    "vocabulary\n"
    "               of a new model, and preset, or architecture (llama, mamba), n_embd, n_layer, n_head, n_head_kv, "
    "n_ff; d_state, "
    "d_conv,\n"
    "               dt_rank; context, tied\n"
    "  [data]       paths (text files, folders, .jsonl files), separator (between the documents of a file), "
    "json_field,\n"
    "               validation (share of documents), chat (a template to use in place of the model's), cache (a "
    "folder)\n"
    "  [batch]      rows, length (tokens), accumulate (parts a step), sequences (documents a part, 0: enough); of "
    "Mamba:\n"
    "               carry (states from one window of a document to the next), burn_in (tokens that warm them, "
    "without\n"
    "               gradient, where a window begins within a document)\n"
    "  [optimizer]  rate, schedule (cosine, linear, constant, wsd), warmup, decay (steps), floor (share of rate), "
    "beta1,\n"
    "               beta2, eps, weight_decay, clip_norm\n"
    "  [lora]       rank (0: train all weights), alpha, targets (parts of names: attn_q, ffn_down), merge (into "
    "model.gguf)\n"
    "  [loss]       smoothing, z_loss\n"
    "  [train]      steps, seed, output, dtype (f32, bf16, f16), checkpoint (none, up, layer: what is computed "
    "again), "
    "resume,\n"
    "               log_every, validate_every, validation_batches, checkpoint_every, keep, sample (a prompt),\n"
    "               sample_every, sample_tokens, export_type\n"
    "  [backend]    name, device_id, threads, fallback, registry, options\n"
    "\n"
    "In the output folder: step-N.safetensors (the last `keep`), log.jsonl (a line a step), loss.svg, loss.png, "
    "model.gguf.\n"
    "Ctrl-C writes a checkpoint and ends; the same command goes on. The same seed gives the same weights, bit for "
    "bit,\n"
    "for any number of threads and however often the run was stopped.\n";

const nlm_command nlm_train_command = {
    .name = "nlm-train",
    .usage = "CONFIG.toml [options]",
    .summary = "Trains a Llama or Mamba language model.",
    .details = details,
    .examples =
        "  nlm-train story.toml\n"
        "  nlm-train story.toml --plan\n"
        "  nlm-train story.toml --set optimizer.rate=1e-3 --output runs/b --steps 2000\n",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .max_operands = 1,
};

static settings defaults(void) {
    return (settings){.n_embd = -1,
                      .n_layer = -1,
                      .n_head = -1,
                      .n_head_kv = -1,
                      .n_ff = -1,
                      .d_state = 16,
                      .d_conv = 4,
                      .dt_rank = -1,
                      .context = -1,
                      .is_tied = true,
                      .validation = 0.01,
                      .rows = 8,
                      .length = 256,
                      .accumulate = 1,
                      .rate = 1e-3,
                      .schedule = schedules[0],
                      .floor = 0.1,
                      .warmup = -1,
                      .decay = -1,
                      .beta1 = 0.9,
                      .beta2 = 0.95,
                      .eps = 1e-8,
                      .weight_decay = 0.1,
                      .clip_norm = 1,
                      .lora_alpha = -1,
                      .steps = 1000,
                      .seed = 1,
                      .dtype = dtypes[0],
                      .checkpoint = recomputations[0],
                      .resume = resumes[0],
                      .log_every = 10,
                      .validate_every = 0,
                      .validation_batches = 16,
                      .checkpoint_every = 500,
                      .keep = 3,
                      .sample_tokens = 64,
                      .export_type = NULL,
                      .has_fallback = true};
}

static nlm_status read_config(const nlm_config *config, const char *path, nlm_error *err) {
    settings *values = config->values;
    NLM_TRY(nlm_config_read_file(config, path, err));
    const char **paths[] = {&values->model, &values->tokenizer, &values->cache, &values->output, &values->registry};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        NLM_TRY(nlm_config_path_from(path, config->arena, paths[i], err));
    const char **list = nlm_arena_array(config->arena, values->data.count + 1, sizeof *list);
    if (!list) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory");
    for (size_t i = 0; i < values->data.count; i++) {
        list[i] = values->data.items[i];
        NLM_TRY(nlm_config_path_from(path, config->arena, &list[i], err));
    }
    values->data.items = list;
    return NLM_OK;
}

static nlm_status apply_sets(const nlm_config *config, nlm_error *err) {
    for (size_t i = 0; i < given.sets.count; i++) NLM_TRY(nlm_config_set(config, given.sets.items[i], err));
    return NLM_OK;
}

static bool is_choice(const char *const *choices, const char *text) {
    while (*choices && strcmp(*choices, text) != 0) choices++;
    return *choices != NULL;
}

static int check(const settings *s) {
    const bool is_new = s->preset || s->architecture;
    if (!is_choice(resumes, s->resume))
        return nlm_tell_usage(&nlm_train_command, "--resume: '%s' is none of auto, yes and no", s->resume);
    if (s->model ? is_new : !is_new)
        return nlm_tell_usage(&nlm_train_command,
                              "model.path (a model to go on from), model.preset and model.architecture: give one");
    if (s->preset && s->architecture)
        return nlm_tell_usage(&nlm_train_command, "model.preset and model.architecture: give one of them");
    if (is_new && !s->tokenizer)
        return nlm_tell_usage(&nlm_train_command,
                              "model.tokenizer is missing: a GGUF file or a tokenizer.json with the vocabulary of "
                              "the new model (nlm-tokenize train makes one)");
    if (s->architecture && (s->n_embd < 1 || s->n_layer < 1))
        return nlm_tell_usage(&nlm_train_command, "model.architecture '%s' needs model.n_embd and model.n_layer",
                              s->architecture);
    const nlm_dtype_info *type = s->export_type ? nlm_dtype_from_name(s->export_type) : NULL;
    if (s->export_type && (!type || type->dtype == NLM_I32))
        return nlm_tell_usage(&nlm_train_command, "train.export_type: '%s' is no type of weights", s->export_type);
    if (s->data.count == 0) return nlm_tell_usage(&nlm_train_command, "data.paths is missing: what to train on");
    if (s->lora_rank > 0 && !s->model)
        return nlm_tell_usage(&nlm_train_command, "lora.rank is for a model to go on from: give model.path");
    if (!s->output) return nlm_tell_usage(&nlm_train_command, "no output: give train.output or --output DIR");
    return NLM_OPTIONS_GO_ON;
}

int settings_read(int argc, char **argv, nlm_arena *arena, settings *out) {
    given.values = defaults();
    int first = argc;
    int result = nlm_options_parse(&nlm_train_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    if (first == argc) return nlm_tell_usage(&nlm_train_command, "no configuration: give CONFIG.toml");
    /* Once more, over what the configuration says. */
    given.values = defaults();
    nlm_error err = NLM_ERROR_INIT;
    const nlm_config config = {keys, sizeof keys / sizeof *keys, &given.values, arena};
    nlm_status status = read_config(&config, argv[first], &err);
    if (status == NLM_OK) status = apply_sets(&config, &err);
    if (status != NLM_OK) {
        nlm_tell(&nlm_train_command, &err);
        return NLM_EXIT_USAGE;
    }
    result = nlm_options_parse(&nlm_train_command, argc, argv, &first);
    if (result != NLM_OPTIONS_GO_ON) return result;
    *out = given.values;
    return check(out);
}
