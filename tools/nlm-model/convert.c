/* A GGUF file as a folder of Hugging Face's transformers, and such a folder as a GGUF file. */
#include "base/printable.h"
#include "base/status.h"
#include "commands.h"
#include "common/interrupt.h"
#include "convert_tokenizer.h"
#include "format/safetensors.h"
#include "model/hf.h"
#include "show.h"
#include "tensor/dtype.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static void tell_written(nlm_str *told, const char *path, size_t tensors, uint64_t bytes) {
    nlm_str_printable(told, path, strlen(path));
    nlm_str_printf(told, ": %zu tensors, ", tensors);
    show_bytes(told, bytes);
    nlm_str_puts(told, "\n");
}

/* ---- a folder to a file ------------------------------------------------------------------- */

static nlm_status import_into(nlm_gguf_writer *w, const char *folder, const char *file, nlm_dtype dtype,
                              nlm_str *told, nlm_error *err) {
    nlm_hf_import *import = NULL;
    NLM_TRY(nlm_hf_import_open(folder, dtype, w, &import, err));
    nlm_status status = import_tokenizer(folder, nlm_hf_import_vocab(import), w, told, err);
    if (status == NLM_OK) status = nlm_hf_import_check(import, err);
    if (status == NLM_OK) {
        nlm_interrupt_begin_files();
        status = nlm_interrupt_end_files(nlm_gguf_writer_finish(w, file, err));
    }
    nlm_hf_import_close(import);
    return status;
}

static nlm_status to_file(const char *folder, const char *file, nlm_dtype dtype, nlm_str *told, nlm_error *err) {
    nlm_gguf_writer *w = NULL;
    nlm_gguf *written = NULL;
    NLM_TRY(nlm_gguf_writer_create(&w, err));
    const nlm_status status = import_into(w, folder, file, dtype, told, err);
    nlm_gguf_writer_destroy(w);
    NLM_TRY(status);
    NLM_TRY(nlm_gguf_open(file, &written, err));
    tell_written(told, file, nlm_gguf_tensor_count(written), nlm_gguf_file_bytes(written));
    nlm_gguf_close(written);
    return NLM_OK;
}

/* ---- a file to a folder ------------------------------------------------------------------- */

/* New, or empty: what an earlier model left there would be taken for a part of this one. */
static nlm_status make_empty(const char *folder, bool *is_new, nlm_error *err) {
    *is_new = mkdir(folder, 0777) == 0;
    if (*is_new) return NLM_OK;
    if (errno != EEXIST || !is_folder(folder)) {
        return nlm_fail_errno(err, nlm_status_from_errno(errno), folder, "cannot make the folder '%s'", folder);
    }
    DIR *dir = opendir(folder);
    if (!dir) return nlm_fail_errno(err, nlm_status_from_errno(errno), folder, "cannot read the folder '%s'", folder);
    bool is_empty = true;
    for (struct dirent *entry; (entry = readdir(dir));) {
        is_empty = is_empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
    closedir(dir);
    return is_empty ? NLM_OK
                    : nlm_fail(err, NLM_IO, folder, "the folder is not empty; name one that is, or a new one");
}

/* Takes away the files of a model that is not whole: the same command would not go on over them. */
static void remove_written(const char *folder) {
    static const char *const endings[] = {".safetensors", ".json", ".jinja"};
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++) {
            if (strcmp(dot, endings[i]) == 0) (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    closedir(dir);
}

static nlm_status export_into(const nlm_model *model, const char *folder, const convert_options *options,
                              nlm_dtype dtype, nlm_str *told, nlm_error *err) {
    nlm_safetensors *written = NULL;
    uint64_t bytes = 0;
    NLM_TRY(nlm_hf_export(model, folder, dtype, (uint64_t)(options->shard_gb * 1e9), err));
    NLM_TRY(export_tokenizer(nlm_model_gguf(model), folder, told, err));
    NLM_TRY(nlm_safetensors_open(folder, &written, err));
    const size_t count = nlm_safetensors_count(written);
    for (size_t i = 0; i < count; i++) bytes += nlm_safetensors_at(written, i)->bytes;
    tell_written(told, folder, count, bytes);
    nlm_safetensors_close(written);
    return NLM_OK;
}

static nlm_status to_folder(const char *file, const char *folder, const convert_options *options, nlm_dtype dtype,
                            nlm_str *told, nlm_error *err) {
    nlm_model *model = NULL;
    bool is_new = false;
    NLM_TRY(nlm_model_open(file, &model, err));
    nlm_interrupt_begin_files();
    const nlm_status made = make_empty(folder, &is_new, err);
    const nlm_status status = made == NLM_OK ? export_into(model, folder, options, dtype, told, err) : made;
    if (made == NLM_OK && status != NLM_OK) remove_written(folder);
    if (status != NLM_OK && is_new) (void)rmdir(folder);
    nlm_model_close(model);
    return nlm_interrupt_end_files(status);
}

int convert_model(const nlm_command *command, const char *in, const char *out, const convert_options *options) {
    nlm_dtype dtype = NLM_HF_KEEP;
    if (options->dtype) {
        const nlm_dtype_info *info = nlm_dtype_from_name(options->dtype);
        if (!info || info->block_elements > 1 || info->dtype == NLM_I32) {
            return nlm_tell_usage(command, "--dtype is '%s'; expected f32, f16 or bf16", options->dtype);
        }
        dtype = info->dtype;
    }
    nlm_error err = NLM_ERROR_INIT;
    nlm_str told = {0};
    nlm_status status =
        is_folder(in) ? to_file(in, out, dtype, &told, &err) : to_folder(in, out, options, dtype, &told, &err);
    if (status == NLM_OK && told.has_failed) status = nlm_fail(&err, NLM_OUT_OF_MEMORY, out, "out of memory");
    if (status != NLM_OK)
        nlm_tell(command, &err);
    else
        fwrite(told.data, 1, told.length, stdout);
    nlm_str_release(&told);
    return nlm_stdout_finish(command) && status == NLM_OK ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
