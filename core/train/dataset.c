/* The token file of a dataset: found, or built from its text; and its documents, split. */
#include "train/dataset.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "base/str.h"
#include "train/dataset_impl.h"
#include "train/documents.h"
#include "train/shuffle.h"

#include <nlm/plugin.h>

#define WHERE  "dataset"
#define ENDING ".tokens"

/* ---- what it is made of ------------------------------------------------------------------------------- */

static void add_text(nlm_checksum *sum, const char *text) {
    const char is_given = text != NULL;
    nlm_checksum_update(sum, &is_given, 1);
    if (text) nlm_checksum_update(sum, text, strlen(text) + 1);
}

static void begin_sum(nlm_checksum *sum, const nlm_dataset_options *options) {
    nlm_checksum_init(sum);
    add_text(sum, options->separator);
    add_text(sum, options->json_field);
    const bool has_name = options->chat && !options->own_chat;
    add_text(sum, has_name ? nlm_chat_template_name(options->chat) : NULL);
    if (options->own_chat) add_text(sum, nlm_chat_own_text(options->own_chat));
}

static nlm_status read_through(nlm_input *input, nlm_error *err) {
    while (!input->is_at_end) {
        NLM_TRY(nlm_input_fill(input, NLM_DOCUMENT_WINDOW, err));
        nlm_input_skip(input, input->length);
    }
    return NLM_OK;
}

typedef nlm_status (*input_fn)(nlm_document_sink *sink, nlm_input *input, nlm_error *err);

static nlm_status count_only(nlm_document_sink *sink, nlm_input *input, nlm_error *err) {
    (void)sink;
    return read_through(input, err);
}

static nlm_status add_documents(nlm_document_sink *sink, nlm_input *input, nlm_error *err) {
    static const char mark[] = "\xEF\xBB\xBF"; /* that some programs begin UTF-8 with */
    NLM_TRY(nlm_input_fill(input, 3, err));
    if (input->length >= 3 && memcmp(input->data, mark, 3) == 0) nlm_input_skip(input, 3);
    NLM_TRY(nlm_input_is_json(input->path) ? nlm_json_documents_add(sink, input, err)
                                           : nlm_text_documents_add(sink, input, err));
    return read_through(input, err);
}

/* Reads all the text; *out_content is the checksum of it and of the options. */
static nlm_status for_each(const nlm_input_list *list, const nlm_dataset_options *options, input_fn fn,
                           nlm_document_sink *sink, uint64_t *out_content, nlm_error *err) {
    nlm_checksum sum;
    begin_sum(&sum, options);
    for (size_t i = 0; i < list->count; i++) {
        nlm_input input;
        NLM_TRY(nlm_input_open(&input, list->paths[i], &sum, err));
        const nlm_status status = fn(sink, &input, err);
        nlm_input_close(&input);
        NLM_TRY(status);
    }
    *out_content = nlm_checksum_value(&sum);
    return NLM_OK;
}

/* ---- building ------------------------------------------------------------------------------------------- */

static nlm_status fill_file(nlm_document_sink *sink, const nlm_input_list *list, const nlm_token_key *key,
                            nlm_error *err) {
    uint64_t content;
    NLM_TRY(for_each(list, sink->options, add_documents, sink, &content, err));
    if (content != key->content) {
        return nlm_fail(err, NLM_IO, WHERE, "the text was changed while it was read; begin again");
    }
    if (nlm_token_writer_documents(sink->writer) == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                        "there is no text in '%s'%s; expected files of text, or folders with some",
                        sink->options->paths[0], sink->options->n_paths > 1 ? " and the others" : "");
    }
    nlm_log(NLM_LOG_INFO, "dataset: %" PRIu64 " tokens of %" PRIu64 " documents, of %zu files",
            nlm_token_writer_tokens(sink->writer), nlm_token_writer_documents(sink->writer), list->count);
    return nlm_token_writer_commit(sink->writer, err);
}

static nlm_status build_file(const char *path, const nlm_token_key *key, const nlm_tokenizer *tokenizer,
                             const nlm_dataset_options *options, const nlm_input_list *list, nlm_error *err) {
    nlm_document_sink sink = {.tokenizer = tokenizer, .options = options, .window = NLM_DOCUMENT_WINDOW};
    if (options->own_chat) sink.form = nlm_chat_own_form(options->own_chat);
    if (nlm_tokenizer_eos(tokenizer) < 0) {
        nlm_log(NLM_LOG_WARN, "dataset: the tokenizer has no token that ends a text: a model does not learn to end");
    }
    NLM_TRY(nlm_token_writer_create(path, key, &sink.writer, err));
    const nlm_status status = fill_file(&sink, list, key, err);
    nlm_token_writer_destroy(sink.writer);
    nlm_ids_release(&sink.ids);
    return status;
}

/* What is wrong with a file that is there is said, and it is built anew. */
static nlm_status open_or_build(const char *path, const nlm_token_key *key, const nlm_tokenizer *tokenizer,
                                const nlm_dataset_options *options, const nlm_input_list *list, nlm_token_file *out,
                                nlm_error *err) {
    nlm_error why = NLM_ERROR_INIT;
    const nlm_status status = nlm_token_file_open(path, key, out, &why);
    if (status == NLM_OK) return NLM_OK;
    if (status != NLM_NOT_FOUND) nlm_log(NLM_LOG_WARN, "%s is built anew: %s", path, why.msg);
    NLM_TRY(build_file(path, key, tokenizer, options, list, err));
    return nlm_token_file_open(path, key, out, err);
}

static nlm_status open_tokens(const nlm_tokenizer *tokenizer, const nlm_dataset_options *options,
                              const nlm_input_list *list, nlm_dataset *out, nlm_error *err) {
    nlm_token_key key = {.tokenizer = nlm_tokenizer_fingerprint(tokenizer),
                         .n_vocab = (uint32_t)nlm_tokenizer_count(tokenizer)};
    NLM_TRY(for_each(list, options, count_only, NULL, &key.content, err));
    NLM_TRY(nlm_file_make_folder(options->cache_folder, err));
    nlm_file_remove_abandoned(options->cache_folder, ENDING);
    const uint64_t both[] = {key.content, key.tokenizer};
    nlm_str path = {0};
    out->fingerprint = nlm_checksum_of(both, sizeof both);
    nlm_str_printf(&path, "%s/%016" PRIx64 ENDING, options->cache_folder, out->fingerprint);
    const nlm_status status = path.has_failed
                                  ? nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a path")
                                  : open_or_build(path.data, &key, tokenizer, options, list, &out->file, err);
    nlm_str_release(&path);
    return status;
}

/* ---- splits --------------------------------------------------------------------------------------------- */

static int split_of(const nlm_dataset_options *options, uint64_t document) {
    const bool is_kept = document > 0 && nlm_document_draw(options->seed, document) < options->validation;
    return is_kept ? NLM_SPLIT_VALIDATION : NLM_SPLIT_TRAIN;
}

static nlm_status split_documents(nlm_dataset *dataset, const nlm_dataset_options *options, nlm_error *err) {
    const nlm_token_file *file = &dataset->file;
    uint64_t counts[2] = {0};
    for (uint64_t i = 0; i < file->n_documents; i++) counts[split_of(options, i)]++;
    for (int s = 0; s < 2; s++) {
        dataset->splits[s].first = calloc((size_t)counts[s] + 1, sizeof(uint64_t));
        dataset->splits[s].at = calloc((size_t)counts[s] + 1, sizeof(uint64_t));
        if (!dataset->splits[s].first || !dataset->splits[s].at) {
            return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for %" PRIu64 " documents", file->n_documents);
        }
    }
    for (uint64_t i = 0; i < file->n_documents; i++) {
        nlm_split *split = &dataset->splits[split_of(options, i)];
        const uint64_t start = nlm_token_file_start(file, i), end = nlm_token_file_start(file, i + 1);
        split->first[split->n_documents] = start;
        split->at[split->n_documents + 1] = split->at[split->n_documents] + end - start;
        split->n_documents++;
    }
    if (options->validation > 0 && dataset->splits[NLM_SPLIT_VALIDATION].n_documents == 0) {
        nlm_log(NLM_LOG_WARN, "dataset: none of the %" PRIu64 " documents fell to validation", file->n_documents);
    }
    if (nlm_dataset_tokens(dataset, NLM_SPLIT_TRAIN) > 1) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE,
                    "there is one token to train on; expected at least two, one to follow the other");
}

/* ---- the dataset ---------------------------------------------------------------------------------------- */

static nlm_status check_options(const nlm_dataset_options *options, nlm_error *err) {
    if (options->n_paths == 0) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "no text is named; expected files or folders of it");
    }
    if (!options->cache_folder || !options->cache_folder[0]) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "no folder for the tokens is named");
    }
    if (options->validation >= 0 && options->validation <= 0.5) return NLM_OK;
    return nlm_fail(err, NLM_INVALID_ARGUMENT, WHERE, "%g of the documents for validation; expected 0 to 0.5",
                    options->validation);
}

static nlm_status open_dataset(nlm_dataset *dataset, const nlm_tokenizer *tokenizer,
                               const nlm_dataset_options *options, nlm_error *err) {
    nlm_input_list list = {0};
    nlm_status status = nlm_input_list_find(&list, options->paths, options->n_paths, err);
    if (status == NLM_OK) status = open_tokens(tokenizer, options, &list, dataset, err);
    nlm_input_list_release(&list);
    return status == NLM_OK ? split_documents(dataset, options, err) : status;
}

nlm_status nlm_dataset_open(const nlm_tokenizer *tokenizer, const nlm_dataset_options *options, nlm_dataset **out,
                            nlm_error *err) {
    *out = NULL;
    NLM_TRY(check_options(options, err));
    nlm_dataset *dataset = calloc(1, sizeof *dataset);
    if (!dataset) return nlm_fail(err, NLM_OUT_OF_MEMORY, WHERE, "no memory for a dataset");
    dataset->seed = options->seed;
    const nlm_status status = open_dataset(dataset, tokenizer, options, err);
    if (status != NLM_OK) {
        nlm_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return NLM_OK;
}

void nlm_dataset_close(nlm_dataset *dataset) {
    if (!dataset) return;
    nlm_token_file_close(&dataset->file);
    for (int s = 0; s < 2; s++) {
        free(dataset->splits[s].first);
        free(dataset->splits[s].at);
    }
    free(dataset);
}

uint64_t nlm_dataset_tokens(const nlm_dataset *dataset, int split) {
    return nlm_split_tokens(&dataset->splits[split]);
}

uint64_t nlm_dataset_documents(const nlm_dataset *dataset, int split) {
    return dataset->splits[split].n_documents;
}

uint64_t nlm_dataset_fingerprint(const nlm_dataset *dataset) {
    return dataset->fingerprint;
}
