/* The tokenizer of a GGUF as tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "format/json.h"
#include "text/pre_json.h"
#include "text/spm.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"
#include "text/vocab.h"

#define KEY "tokenizer.ggml."

typedef struct writing {
    const nlm_gguf *gguf;
    nlm_vocab vocab;
    const nlm_pre_rule *rule; /* byte-level */
    const char *const *steps; /* of it */
    nlm_arena arena;
    nlm_gguf_string *merges; /* "left right" */
    size_t merge_count;
    nlm_piece_map ids;
    nlm_str *out;
} writing;

static nlm_status out_of_memory(const writing *w, nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, nlm_gguf_path(w->gguf), "no memory to write its tokenizer");
}

static nlm_status unsupported(const writing *w, const char *what, nlm_error *err) {
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(w->gguf), "a tokenizer.json cannot have %s", what);
}

/* ---- what is to be written ---- */

static nlm_status read_vocab(writing *w, nlm_error *err) {
    nlm_gguf_string model, pre = {"default", strlen("default")};
    NLM_TRY(nlm_gguf_get_string(w->gguf, KEY "model", &model, err));
    const bool is_spm = model.length == strlen("llama"); /* "gpt2" is the other */
    if (!is_spm) {
        const nlm_status status = nlm_gguf_get_string(w->gguf, KEY "pre", &pre, err);
        if (status != NLM_OK && status != NLM_NOT_FOUND) return status;
        w->rule = nlm_pre_rule_find(pre.data, (size_t)pre.length);
        w->steps = nlm_pre_json_steps(pre.data, (size_t)pre.length);
        if (!w->rule || !w->steps) return unsupported(w, "its pre-tokenizer (" KEY "pre)", err);
    }
    const nlm_vocab_options options = {.is_spm = is_spm, .adds_bos = is_spm || w->rule->adds_bos};
    NLM_TRY(nlm_vocab_read(&w->vocab, w->gguf, &options, err));
    if (w->vocab.removes_extra_whitespaces) return unsupported(w, KEY "remove_extra_whitespaces", err);
    return NLM_OK;
}

/* One sentence about a token. */
static nlm_status refuse_token(const writing *w, const char *what, nlm_bytes text, nlm_error *err) {
    return nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(w->gguf), "a tokenizer.json cannot have %s '%.*s'", what,
                    (int)(text.length < 64 ? text.length : 64), text.data);
}

static nlm_status index_tokens(writing *w, nlm_error *err) {
    const nlm_vocab *vocab = &w->vocab;
    if (!nlm_piece_map_reserve(&w->ids, vocab->count)) return out_of_memory(w, err);
    for (size_t i = 0; i < vocab->count; i++) {
        const nlm_bytes text = vocab->texts[i];
        if (nlm_piece_map_find(&w->ids, text.data, text.length) >= 0) {
            return refuse_token(w, "two tokens", text, err);
        }
        if (nlm_utf8_valid_prefix(text.data, text.length) < text.length) {
            return refuse_token(w, "the token, which is not UTF-8,", text, err);
        }
        /* The package looks for it before spaces are U+2581, and begins anew behind it, with a space in front. */
        const bool has_mark = memmem(text.data, text.length, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH) != NULL;
        if (vocab->is_spm && vocab->types[i] == NLM_TOKEN_USER_DEFINED && (has_mark || vocab->adds_space_prefix)) {
            return refuse_token(
                w,
                has_mark ? "U+2581 in the user-defined token" : "beside a space before texts the user-defined token",
                text, err);
        }
        if (!nlm_piece_map_add(&w->ids, text, (int32_t)i)) return out_of_memory(w, err);
    }
    return NLM_OK;
}

/* A merge of tokens into a token. */
static bool is_of_tokens(const writing *w, nlm_gguf_string merge, nlm_str *scratch) {
    const char *blank = merge.length > 0 ? memchr(merge.data, ' ', (size_t)merge.length) : NULL;
    if (!blank) return false;
    const size_t left = (size_t)(blank - merge.data), right = (size_t)merge.length - left - 1;
    scratch->length = 0;
    nlm_str_append(scratch, merge.data, left);
    nlm_str_append(scratch, blank + 1, right);
    return !scratch->has_failed && nlm_piece_map_find(&w->ids, merge.data, left) >= 0 &&
           nlm_piece_map_find(&w->ids, blank + 1, right) >= 0 &&
           nlm_piece_map_find(&w->ids, scratch->data, scratch->length) >= 0;
}

static nlm_status take_listed(writing *w, const nlm_gguf_entry *list, nlm_error *err) {
    w->merges = nlm_arena_array(&w->arena, (size_t)list->count, sizeof *w->merges);
    if (!w->merges) return out_of_memory(w, err);
    nlm_str scratch = {0};
    nlm_status status = NLM_OK;
    for (size_t i = 0; status == NLM_OK && i < list->count; i++) {
        const nlm_gguf_string merge = list->strings[i];
        if (is_of_tokens(w, merge, &scratch)) {
            w->merges[w->merge_count++] = merge;
        } else if (!w->vocab.is_spm) {
            status = nlm_fail(err, NLM_UNSUPPORTED, nlm_gguf_path(w->gguf),
                              "a tokenizer.json cannot have its merge %zu, '%.*s', of what is no token", i,
                              (int)(merge.length < 64 ? merge.length : 64), merge.data);
        }
    }
    nlm_str_release(&scratch);
    return status;
}

static int compare_pairs(const void *a, const void *b) {
    const nlm_pair *left = a, *right = b;
    if (left->rank != right->rank) return left->rank < right->rank ? -1 : 1;
    if (left->result != right->result) return left->result < right->result ? -1 : 1;
    return left->left < right->left ? -1 : left->left > right->left;
}

/* All ways to put tokens together, the best score first. Where two of equal score meet, Hugging Face's takes that
 * which stands first here, SentencePiece that which stands first in the text. */
static nlm_status take_scored(writing *w, const nlm_spm *spm, nlm_error *err) {
    const nlm_pair_table *table = &spm->merges;
    const int32_t count = (int32_t)w->vocab.count;
    nlm_pair *pairs = nlm_arena_array(&w->arena, table->count, sizeof *pairs);
    w->merges = nlm_arena_array(&w->arena, table->count, sizeof *w->merges);
    if (!pairs || !w->merges) return out_of_memory(w, err);
    size_t n_pairs = 0;
    for (size_t i = 0; i < table->capacity; i++) {
        const nlm_pair pair = table->slots[i];
        if (pair.result >= 0 && (int32_t)pair.left < count && (int32_t)pair.right < count) pairs[n_pairs++] = pair;
    }
    if (n_pairs > 1) qsort(pairs, n_pairs, sizeof *pairs, compare_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        const nlm_bytes left = w->vocab.texts[pairs[i].left], right = w->vocab.texts[pairs[i].right];
        char *text = nlm_arena_alloc(&w->arena, (size_t)left.length + 1 + right.length);
        if (!text) return out_of_memory(w, err);
        memcpy(text, left.data, left.length);
        text[left.length] = ' ';
        memcpy(text + left.length + 1, right.data, right.length);
        w->merges[w->merge_count++] = (nlm_gguf_string){text, (uint64_t)left.length + 1 + right.length};
    }
    return NLM_OK;
}

static nlm_status read_merges(writing *w, nlm_error *err) {
    const nlm_gguf_entry *list;
    NLM_TRY(nlm_vocab_array(w->gguf, KEY "merges", true, &list, err));
    if (list && (list->count > 0 || !w->vocab.is_spm)) return take_listed(w, list, err);
    nlm_spm spm;
    nlm_status status = nlm_spm_create(&w->vocab, w->gguf, &spm, err);
    if (status == NLM_OK) status = take_scored(w, &spm, err);
    nlm_spm_release(&spm);
    return status;
}

/* ---- its JSON ---- */

static void put(writing *w, const char *text) {
    nlm_str_puts(w->out, text);
}

static void put_quoted(writing *w, const char *text) {
    nlm_json_quote(w->out, text, strlen(text));
}

static void put_token(writing *w, int32_t id) {
    nlm_json_quote(w->out, w->vocab.texts[id].data, w->vocab.texts[id].length);
}

static void put_added_tokens(writing *w) {
    const char *comma = "";
    put(w, "  \"added_tokens\": [");
    for (size_t i = 0; i < w->vocab.count; i++) {
        const uint8_t type = w->vocab.types[i];
        const bool is_special = type == NLM_TOKEN_CONTROL || type == NLM_TOKEN_UNKNOWN;
        if (!is_special && type != NLM_TOKEN_USER_DEFINED) continue;
        nlm_str_printf(w->out, "%s\n    {\"id\": %zu, \"content\": ", comma, i);
        put_token(w, (int32_t)i);
        put(w,
            ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": ");
        put(w, is_special ? "true}" : "false}");
        comma = ",";
    }
    put(w, "\n  ],\n");
}

/* Whether no word has U+2581 behind its first character: then Metaspace can split, which makes long texts fast. */
static bool has_whole_words(const writing *w) {
    for (size_t i = 0; i < w->vocab.count; i++) {
        const nlm_bytes text = w->vocab.texts[i];
        if (text.length <= 1) continue;
        if (memmem(text.data + 1, text.length - 1, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH)) return false;
    }
    return true;
}

static void put_spm_steps(writing *w) {
    const nlm_vocab *vocab = &w->vocab;
    const char *scheme = !vocab->shares_space_prefix ? "never" : vocab->prefixes_start_only ? "first" : "always";
    put(w, "  \"normalizer\": ");
    if (vocab->shares_space_prefix) {
        put(w, "null,\n");
    } else {
        put(w, "{\"type\": \"Sequence\", \"normalizers\": [");
        if (vocab->adds_space_prefix) put(w, "{\"type\": \"Prepend\", \"prepend\": \"" NLM_SPACE_MARK "\"}, ");
        put(w, "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" NLM_SPACE_MARK "\"}]},\n");
    }
    put(w, "  \"pre_tokenizer\": ");
    nlm_str_printf(w->out,
                   "{\"type\": \"Metaspace\", \"replacement\": \"" NLM_SPACE_MARK
                   "\", \"prepend_scheme\": \"%s\", \"split\": %s},\n",
                   scheme, has_whole_words(w) ? "true" : "false");
}

static void put_step(writing *w, const char *step) {
    static const struct {
        const char *step, *json;
    } known[] = {
        {NLM_STEP_GPT2,
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "
         "true}"},
        {NLM_STEP_BYTES,
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
         "\"use_regex\": false}"},
        {NLM_STEP_DIGITS, "{\"type\": \"Digits\", \"individual_digits\": true}"},
        {NLM_STEP_NUMBERS, "{\"type\": \"Digits\", \"individual_digits\": false}"},
        {NLM_STEP_PUNCTUATION, "{\"type\": \"Punctuation\", \"behavior\": \"Isolated\"}"},
        {NLM_STEP_MARKS, "{\"type\": \"Punctuation\", \"behavior\": \"Contiguous\"}"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(step, known[i].step) != 0) continue;
        put(w, known[i].json);
        return;
    }
    const bool joins_next = strncmp(step, NLM_STEP_NEXT, strlen(NLM_STEP_NEXT)) == 0;
    put(w, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    put_quoted(w, joins_next ? step + strlen(NLM_STEP_NEXT) : step);
    nlm_str_printf(w->out, "}, \"behavior\": \"%s\", \"invert\": false}", joins_next ? "MergedWithNext" : "Isolated");
}

static void put_byte_level_steps(writing *w) {
    put(w, w->rule->has_nfc ? "  \"normalizer\": {\"type\": \"NFC\"},\n" : "  \"normalizer\": null,\n");
    put(w, "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [");
    for (size_t i = 0; w->steps[i]; i++) {
        put(w, i ? ",\n    " : "\n    ");
        put_step(w, w->steps[i]);
    }
    put(w, "\n  ]},\n");
}

/* The tokens that a post_processor puts around a text: BOS and EOS, as far as the vocabulary wants them. */
static void put_template(writing *w, const char *kind, int32_t first, int32_t last) {
    const bool is_pair = strcmp(kind, "pair") == 0;
    const char *const types[] = {"0", "1"};
    nlm_str_printf(w->out, "\n    \"%s\": [", kind);
    for (int i = 0; i < (is_pair ? 2 : 1); i++) {
        const char *comma = i ? ", " : "";
        if (first >= 0) {
            nlm_str_printf(w->out, "%s{\"SpecialToken\": {\"id\": ", comma);
            put_token(w, first);
            nlm_str_printf(w->out, ", \"type_id\": %s}}", types[i]);
            comma = ", ";
        }
        nlm_str_printf(w->out, "%s{\"Sequence\": {\"id\": \"%s\", \"type_id\": %s}}", comma, i ? "B" : "A", types[i]);
        if (last < 0) continue;
        put(w, ", {\"SpecialToken\": {\"id\": ");
        put_token(w, last);
        nlm_str_printf(w->out, ", \"type_id\": %s}}", types[i]);
    }
    put(w, "],");
}

static void put_special_id(writing *w, int32_t id) {
    put(w, "\n      ");
    put_token(w, id);
    put(w, ": {\"id\": ");
    put_token(w, id);
    nlm_str_printf(w->out, ", \"ids\": [%d], \"tokens\": [", id);
    put_token(w, id);
    put(w, "]}");
}

static void put_post_processor(writing *w) {
    const int32_t first = w->vocab.adds_bos ? w->vocab.bos : -1, last = w->vocab.adds_eos ? w->vocab.eos : -1;
    if (first < 0 && last < 0) {
        put(w, "  \"post_processor\": null,\n");
        return;
    }
    put(w, "  \"post_processor\": {\"type\": \"TemplateProcessing\",");
    put_template(w, "single", first, last);
    put_template(w, "pair", first, last);
    put(w, "\n    \"special_tokens\": {");
    if (first >= 0) put_special_id(w, first);
    if (last >= 0 && last != first) {
        if (first >= 0) put(w, ",");
        put_special_id(w, last);
    }
    put(w, "\n    }},\n");
}

static void put_decoder(writing *w) {
    if (!w->vocab.is_spm) {
        put(w,
            "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
            "\"use_regex\": true},\n");
        return;
    }
    put(w,
        "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": [\n"
        "    {\"type\": \"Replace\", \"pattern\": {\"String\": \"" NLM_SPACE_MARK
        "\"}, \"content\": \" \"},\n"
        "    {\"type\": \"ByteFallback\"},\n    {\"type\": \"Fuse\"}");
    if (w->vocab.adds_space_prefix) {
        put(w, ",\n    {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
    }
    put(w, "\n  ]},\n");
}

static void put_model(writing *w) {
    const bool is_spm = w->vocab.is_spm, ignores = !is_spm && w->rule->ignores_merges;
    put(w, "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    if (is_spm && w->vocab.unknown >= 0) {
        put_token(w, w->vocab.unknown);
    } else {
        put(w, "null");
    }
    nlm_str_printf(w->out,
                   ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": %s, "
                   "\"byte_fallback\": %s, \"ignore_merges\": %s,\n    \"vocab\": {",
                   is_spm ? "true" : "false", is_spm ? "true" : "false", ignores ? "true" : "false");
    for (size_t i = 0; i < w->vocab.count; i++) {
        put(w, i ? ",\n      " : "\n      ");
        put_token(w, (int32_t)i);
        nlm_str_printf(w->out, ": %zu", i);
    }
    put(w, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < w->merge_count; i++) {
        const nlm_gguf_string merge = w->merges[i];
        const size_t left = (size_t)((const char *)memchr(merge.data, ' ', (size_t)merge.length) - merge.data);
        put(w, i ? ",\n      [" : "\n      [");
        nlm_json_quote(w->out, merge.data, left);
        put(w, ", ");
        nlm_json_quote(w->out, merge.data + left + 1, (size_t)merge.length - left - 1);
        put(w, "]");
    }
    put(w, "\n    ]\n  }\n}\n");
}

static nlm_status print_all(writing *w, nlm_error *err) {
    NLM_TRY(read_vocab(w, err));
    NLM_TRY(index_tokens(w, err));
    NLM_TRY(read_merges(w, err));
    put(w, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added_tokens(w);
    if (w->vocab.is_spm) {
        put_spm_steps(w);
    } else {
        put_byte_level_steps(w);
    }
    put_post_processor(w);
    put_decoder(w);
    put_model(w);
    return w->out->has_failed ? out_of_memory(w, err) : NLM_OK;
}

nlm_status nlm_tokenizer_json_print(const nlm_gguf *gguf, nlm_str *out, nlm_error *err) {
    /* What is wrong with the vocabulary is told as elsewhere. */
    nlm_tokenizer *tokenizer;
    NLM_TRY(nlm_tokenizer_create(gguf, &tokenizer, err));
    nlm_tokenizer_destroy(tokenizer);
    writing w = {.gguf = gguf, .out = out};
    const nlm_status status = print_all(&w, err);
    nlm_piece_map_release(&w.ids);
    nlm_vocab_release(&w.vocab);
    nlm_arena_release(&w.arena);
    return status;
}

nlm_status nlm_tokenizer_json_write(const nlm_gguf *gguf, const char *path, nlm_error *err) {
    nlm_str text = {0};
    nlm_file_writer *file = NULL;
    nlm_status status = nlm_tokenizer_json_print(gguf, &text, err);
    if (status == NLM_OK) status = nlm_file_writer_create(path, &file, err);
    if (status == NLM_OK) status = nlm_file_writer_write(file, text.data, text.length, err);
    if (status == NLM_OK) status = nlm_file_writer_commit(file, err);
    nlm_file_writer_destroy(file);
    nlm_str_release(&text);
    return status;
}
