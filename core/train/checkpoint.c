/* Checkpoints: one safetensors file a time. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/status.h"
#include "format/safetensors.h"

#define WHERE   "checkpoint"
#define FORMAT  "1"
#define CARRIED "2" /* with the states of lanes */
#define NAME    "step-%08" PRIu64 ".safetensors"

static const char *const kinds[NLM_TRAINER_KINDS] = {"value", "adamw_m", "adamw_v"};

/* "value.blk.0.attn_q.weight" */
static void tensor_name(const nlm_trainer *t, uint32_t index, int kind, char *out, size_t capacity) {
    const nlm_trained *trained = nlm_parameters_at(nlm_trainer_parameters(t), index);
    snprintf(out, capacity, "%s.%s", kinds[kind], trained->name);
}

/* What a model is beside its tensors, for people too. */
static void describe_model(const nlm_trainer *t, char *out, size_t capacity) {
    const nlm_model *model = nlm_trainer_model(t);
    const nlm_hparams *h = nlm_model_hparams(model);
    const int used = snprintf(out, capacity, "%s, %d layers of %d, eps %g", nlm_model_family_name(model), h->n_layer,
                              h->n_embd, (double)h->rms_norm_eps);
    if (h->n_head.most == 0) return;
    snprintf(out + used, capacity - (size_t)used, ", %d heads of %d, %d of keys, window %d, RoPE of %d by %g and %g",
             h->n_head.most, h->head_dim, h->n_head_kv.most, h->sliding_window.most, h->n_rot,
             (double)h->rope_freq_base, (double)h->rope_freq_scale);
}

/* ---- the values one after the other ---------------------------------------------------------------- */

static uint64_t most_elements(const nlm_trainer *t) {
    nlm_parameters *parameters = nlm_trainer_parameters(t);
    uint64_t most = 1;
    for (uint32_t i = 0; i < nlm_parameters_count(parameters); i++) {
        const uint64_t count = nlm_trained_elements(nlm_parameters_at(parameters, i));
        if (count > most) most = count;
    }
    for (uint32_t i = 0; i < nlm_trainer_carried_count(t); i++) {
        const uint64_t count = nlm_trainer_carried_elements(t, i, NULL);
        if (count > most) most = count;
    }
    return most;
}

static const char *format_of(const nlm_trainer *t) {
    return nlm_trainer_carried_count(t) > 0 ? CARRIED : FORMAT;
}

/* The name and shape of a state that is carried; false: its layer has none. */
static bool describe_carried(const nlm_trainer *t, uint32_t index, char *out_name, int64_t out_shape[2]) {
    const int64_t n_lanes = nlm_trainer_options_of(t)->n_lanes;
    out_shape[0] = n_lanes;
    out_shape[1] = (int64_t)nlm_trainer_carried_elements(t, index, out_name) / n_lanes;
    return out_shape[1] > 0;
}

/* Of a tensor with its name and shape. A file's checksum is the sum of these, in whatever order, and of its head. */
static uint64_t sum_tensor(const char *name, int rank, const int64_t *shape, const void *data, uint64_t bytes) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, name, strlen(name) + 1);
    nlm_checksum_update(&sum, shape, (size_t)rank * sizeof *shape);
    nlm_checksum_update(&sum, data, bytes);
    return nlm_checksum_value(&sum);
}

/* model: NULL in files of before there was one. */
static uint64_t sum_head(const char *format, const char *run, const char *steps, const char *model) {
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    if (strcmp(format, FORMAT) != 0) nlm_checksum_update(&sum, format, strlen(format) + 1);
    nlm_checksum_update(&sum, run, strlen(run) + 1);
    nlm_checksum_update(&sum, steps, strlen(steps));
    if (model) nlm_checksum_update(&sum, model, strlen(model) + 1);
    return nlm_checksum_value(&sum);
}

static nlm_status sum_values(const nlm_trainer *t, float *room, uint64_t *out, nlm_error *err) {
    nlm_parameters *parameters = nlm_trainer_parameters(t);
    for (uint32_t i = 0; i < nlm_parameters_count(parameters); i++) {
        const nlm_trained *trained = nlm_parameters_at(parameters, i);
        const nlm_tensor *shape = &trained->parameter.value.tensor;
        for (int kind = 0; kind < NLM_TRAINER_KINDS; kind++) {
            char name[160];
            tensor_name(t, i, kind, name, sizeof name);
            NLM_TRY(nlm_trainer_read(t, i, kind, room, err));
            *out += sum_tensor(name, shape->rank, shape->shape, room, nlm_trained_elements(trained) * sizeof *room);
        }
    }
    for (uint32_t i = 0; i < nlm_trainer_carried_count(t); i++) {
        char name[64];
        int64_t shape[2];
        if (!describe_carried(t, i, name, shape)) continue;
        NLM_TRY(nlm_trainer_read_carried(t, i, room, err));
        *out += sum_tensor(name, 2, shape, room, (uint64_t)(shape[0] * shape[1]) * sizeof *room);
    }
    return NLM_OK;
}

/* ---- saving ------------------------------------------------------------------------------------------ */

/* One tensor while it is written: read when its first element is asked for. */
typedef struct source {
    const nlm_trainer *trainer;
    float *room;
    uint32_t index;
    int kind; /* NLM_TRAINER_KINDS: a state that is carried */
} source;

static nlm_status read_whole(const source *s, nlm_error *err) {
    return s->kind == NLM_TRAINER_KINDS ? nlm_trainer_read_carried(s->trainer, s->index, s->room, err)
                                        : nlm_trainer_read(s->trainer, s->index, s->kind, s->room, err);
}

static nlm_status read_source(void *user, int64_t first, int64_t count, void *out, nlm_error *err) {
    const source *s = user;
    if (first == 0) NLM_TRY(read_whole(s, err));
    memcpy(out, s->room + first, (size_t)count * sizeof *s->room);
    return NLM_OK;
}

static void add_tensors(const nlm_trainer *t, source *sources, float *room, nlm_safetensors_writer *w) {
    nlm_parameters *parameters = nlm_trainer_parameters(t);
    for (uint32_t i = 0; i < nlm_parameters_count(parameters); i++) {
        const nlm_tensor *shape = &nlm_parameters_at(parameters, i)->parameter.value.tensor;
        for (int kind = 0; kind < NLM_TRAINER_KINDS; kind++) {
            char name[160];
            source *s = &sources[i * NLM_TRAINER_KINDS + (uint32_t)kind];
            *s = (source){t, room, i, kind};
            tensor_name(t, i, kind, name, sizeof name);
            nlm_safetensors_writer_source(w, name, NLM_F32, shape->rank, shape->shape,
                                          (nlm_tensor_source){read_source, s});
        }
    }
    sources += nlm_parameters_count(parameters) * NLM_TRAINER_KINDS;
    for (uint32_t i = 0; i < nlm_trainer_carried_count(t); i++) {
        char name[64];
        int64_t carried[2];
        sources[i] = (source){t, room, i, NLM_TRAINER_KINDS};
        if (describe_carried(t, i, name, carried))
            nlm_safetensors_writer_source(w, name, NLM_F32, 2, carried,
                                          (nlm_tensor_source){read_source, &sources[i]});
    }
}

static nlm_status write_file(const nlm_trainer *t, const char *path, const char *run, float *room, source *sources,
                             nlm_error *err) {
    char steps[32], text[32], model[256];
    snprintf(steps, sizeof steps, "%" PRIu64, nlm_trainer_steps(t));
    describe_model(t, model, sizeof model);
    uint64_t sum = sum_head(format_of(t), run, steps, model);
    NLM_TRY(sum_values(t, room, &sum, err));
    snprintf(text, sizeof text, "%016" PRIx64, sum);
    nlm_safetensors_writer *w = NULL;
    NLM_TRY(nlm_safetensors_writer_create(&w, err));
    nlm_safetensors_writer_metadata(w, "nlm.checkpoint", format_of(t));
    nlm_safetensors_writer_metadata(w, "nlm.run", run);
    nlm_safetensors_writer_metadata(w, "nlm.steps", steps);
    nlm_safetensors_writer_metadata(w, "nlm.model", model);
    nlm_safetensors_writer_metadata(w, "nlm.checksum", text);
    add_tensors(t, sources, room, w);
    const nlm_status status = nlm_safetensors_writer_finish(w, path, err);
    nlm_safetensors_writer_destroy(w);
    return status;
}

/* ---- the folder ---------------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* The steps of the checkpoints there, the last first; *out from malloc. A folder that is not there has none. */
static nlm_status list_steps(const char *folder, uint64_t **out, size_t *out_count, nlm_error *err) {
    *out = NULL;
    *out_count = 0;
    DIR *stream = opendir(folder);
    if (!stream && errno == ENOENT) return NLM_OK;
    if (!stream) return nlm_fail(err, NLM_IO, folder, "cannot be read: %s", strerror(errno));
    size_t capacity = 0;
    for (const struct dirent *entry; (entry = readdir(stream));) {
        uint64_t step;
        char name[64];
        if (sscanf(entry->d_name, "step-%" SCNu64, &step) != 1) continue;
        snprintf(name, sizeof name, NAME, step);
        if (strcmp(name, entry->d_name) != 0) continue;
        if (*out_count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            uint64_t *more = realloc(*out, capacity * sizeof *more);
            if (!more) {
                closedir(stream);
                return nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "no memory for its names");
            }
            *out = more;
        }
        (*out)[(*out_count)++] = step;
    }
    closedir(stream);
    if (*out_count) qsort(*out, *out_count, sizeof **out, descending);
    return NLM_OK;
}

static char *path_of(const char *folder, uint64_t step, nlm_arena *arena) {
    return nlm_arena_printf(arena, "%s/" NAME, folder, step);
}

static void remove_old(const char *folder, int32_t keep, nlm_arena *arena) {
    uint64_t *steps = NULL;
    size_t count = 0;
    if (keep > 0 && list_steps(folder, &steps, &count, NULL) == NLM_OK) {
        for (size_t i = (size_t)keep; i < count; i++) {
            const char *path = path_of(folder, steps[i], arena);
            if (path && unlink(path) != 0) nlm_log(NLM_LOG_WARN, "%s stays: %s", path, strerror(errno));
        }
    }
    free(steps);
}

nlm_status nlm_checkpoint_save(const nlm_trainer *t, const char *folder, const char *run, int32_t keep,
                               nlm_error *err) {
    nlm_arena arena = {0};
    const char *path = path_of(folder, nlm_trainer_steps(t), &arena);
    float *room = malloc(most_elements(t) * sizeof *room);
    const size_t n_values = (size_t)nlm_parameters_count(nlm_trainer_parameters(t)) * NLM_TRAINER_KINDS;
    source *sources = calloc(n_values + nlm_trainer_carried_count(t), sizeof *sources);
    nlm_status status = path && room && sources
                            ? write_file(t, path, run, room, sources, err)
                            : nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a checkpoint");
    free(room);
    free(sources);
    if (status == NLM_OK) remove_old(folder, keep, &arena);
    nlm_arena_release(&arena);
    return status;
}

/* ---- restoring -------------------------------------------------------------------------------------------- */

/* Is the file what was written, all of it? */
static nlm_status check_whole(const nlm_safetensors *st, uint64_t step, nlm_error *err) {
    const char *format = nlm_safetensors_metadata(st, "nlm.checkpoint"),
               *run = nlm_safetensors_metadata(st, "nlm.run"), *steps = nlm_safetensors_metadata(st, "nlm.steps"),
               *stated = nlm_safetensors_metadata(st, "nlm.checksum");
    const bool is_known = format && (strcmp(format, FORMAT) == 0 || strcmp(format, CARRIED) == 0);
    if (!is_known || !run || !steps || !stated) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_safetensors_path(st), "is no checkpoint of this version");
    }
    char text[32];
    uint64_t sum = sum_head(format, run, steps, nlm_safetensors_metadata(st, "nlm.model"));
    for (size_t i = 0; i < nlm_safetensors_count(st); i++) {
        const nlm_safetensors_tensor *tensor = nlm_safetensors_at(st, i);
        sum += sum_tensor(tensor->name, tensor->rank, tensor->shape, tensor->data, tensor->bytes);
    }
    snprintf(text, sizeof text, "%016" PRIx64, sum);
    if (strcmp(stated, text) != 0) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_safetensors_path(st),
                        "has the checksum %s and states %s: it is damaged", text, stated);
    }
    snprintf(text, sizeof text, "%" PRIu64, step);
    if (strcmp(steps, text) == 0) return NLM_OK;
    return nlm_fail(err, NLM_BAD_FORMAT, nlm_safetensors_path(st), "is of step %s, which its name denies", steps);
}

static nlm_status check_run(const nlm_trainer *t, const nlm_safetensors *st, const char *run, nlm_error *err) {
    char model[256];
    describe_model(t, model, sizeof model);
    const char *theirs = nlm_safetensors_metadata(st, "nlm.run"), *of = nlm_safetensors_metadata(st, "nlm.model");
    if (strcmp(theirs, run) != 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                        "is of another run (%s; this one is %s): train into another folder, or do not resume", theirs,
                        run);
    }
    if (!of || strcmp(of, model) == 0) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                    "is of another model (%s; this one is %s): train into another folder, or do not resume", of,
                    model);
}

static const nlm_safetensors_tensor *find_tensor(const nlm_safetensors *st, const nlm_trainer *t, uint32_t index,
                                                 int kind, nlm_error *err) {
    char name[160];
    tensor_name(t, index, kind, name, sizeof name);
    const nlm_tensor *shape = &nlm_parameters_at(nlm_trainer_parameters(t), index)->parameter.value.tensor;
    const nlm_safetensors_tensor *tensor = nlm_safetensors_find(st, name);
    const bool fits = tensor && tensor->is_supported && tensor->tensor.dtype == NLM_F32 &&
                      tensor->rank == shape->rank &&
                      memcmp(tensor->shape, shape->shape, (size_t)shape->rank * sizeof *shape->shape) == 0;
    if (!fits) {
        nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                 "'%s' is missing or has another shape: the checkpoint is of another model", name);
    }
    return fits ? tensor : NULL;
}

static nlm_status take_carried(nlm_trainer *t, const nlm_safetensors *st, bool only_looks, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_trainer_carried_count(t); i++) {
        char name[64];
        int64_t shape[2];
        if (!describe_carried(t, i, name, shape)) continue;
        const nlm_safetensors_tensor *tensor = nlm_safetensors_find(st, name);
        if (!tensor || !tensor->is_supported || tensor->tensor.dtype != NLM_F32 || tensor->rank != 2 ||
            memcmp(tensor->shape, shape, sizeof shape) != 0) {
            return nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                            "'%s' is missing or has another shape: the checkpoint carries no states of this run",
                            name);
        }
        if (!only_looks) NLM_TRY(nlm_trainer_write_carried(t, i, tensor->data, err));
    }
    return NLM_OK;
}

/* Only looks whether all of them are there, or takes them too. */
static nlm_status take_values(nlm_trainer *t, const nlm_safetensors *st, bool only_looks, nlm_error *err) {
    for (uint32_t i = 0; i < nlm_parameters_count(nlm_trainer_parameters(t)); i++) {
        for (int kind = 0; kind < NLM_TRAINER_KINDS; kind++) {
            const nlm_safetensors_tensor *tensor = find_tensor(st, t, i, kind, err);
            if (!tensor) return NLM_INVALID_ARGUMENT;
            if (!only_looks) NLM_TRY(nlm_trainer_write(t, i, kind, tensor->data, err));
        }
    }
    return take_carried(t, st, only_looks, err);
}

/* Nothing is left over: a larger model has all tensors of a smaller one. */
static nlm_status check_count(const nlm_trainer *t, const nlm_safetensors *st, nlm_error *err) {
    size_t expected = (size_t)nlm_parameters_count(nlm_trainer_parameters(t)) * NLM_TRAINER_KINDS;
    for (uint32_t i = 0; i < nlm_trainer_carried_count(t); i++) {
        char name[64];
        int64_t shape[2];
        expected += describe_carried(t, i, name, shape) ? 1 : 0;
    }
    if (nlm_safetensors_count(st) == expected) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, nlm_safetensors_path(st),
                    "has %zu tensors, of which this model has %zu: the checkpoint is of another model",
                    nlm_safetensors_count(st), expected);
}

static nlm_status restore_file(nlm_trainer *t, const char *path, uint64_t step, const char *run, nlm_error *err) {
    nlm_safetensors *st = NULL;
    NLM_TRY(nlm_safetensors_open(path, &st, err));
    nlm_status status = check_whole(st, step, err);
    if (status == NLM_OK) status = check_run(t, st, run, err);
    if (status == NLM_OK) status = take_values(t, st, true, err);
    if (status == NLM_OK) status = check_count(t, st, err);
    if (status == NLM_OK) status = take_values(t, st, false, err);
    if (status == NLM_OK) nlm_trainer_set_steps(t, step);
    nlm_safetensors_close(st);
    return status;
}

nlm_status nlm_checkpoint_restore(nlm_trainer *t, const char *folder, const char *run, bool *out_found,
                                  nlm_error *err) {
    uint64_t *steps = NULL;
    size_t count = 0;
    nlm_arena arena = {0};
    *out_found = false;
    nlm_status status = list_steps(folder, &steps, &count, err);
    for (size_t i = 0; i < count && status == NLM_OK && !*out_found; i++) {
        nlm_error why = NLM_ERROR_INIT;
        const char *path = path_of(folder, steps[i], &arena);
        const nlm_status read = path ? restore_file(t, path, steps[i], run, &why) : NLM_OUT_OF_MEMORY;
        *out_found = read == NLM_OK;
        if (read == NLM_BAD_FORMAT) {
            nlm_log(NLM_LOG_WARN, "%s: %s; the one before it is taken", why.where, why.msg);
        } else if (read != NLM_OK) {
            nlm_error_give(err, &why);
            status = read;
        }
    }
    free(steps);
    nlm_arena_release(&arena);
    return status;
}
