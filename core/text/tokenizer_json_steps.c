/* What a tokenizer.json does to a text before and after merging. */
#include <cJSON.h>
#include <string.h>

#include "base/status.h"
#include "text/pre_json.h"
#include "text/tokenizer_json_internal.h"

const cJSON *nlm_json_given(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return item && !cJSON_IsNull(item) ? item : NULL;
}

const char *nlm_json_text_of(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

/* Of an optional member that is true or false. */
static bool is_set(const cJSON *object, const char *key, bool otherwise) {
    const cJSON *item = nlm_json_given(object, key);
    return item ? cJSON_IsTrue(item) : otherwise;
}

static bool is_text(const cJSON *object, const char *key, const char *expected) {
    const char *text = nlm_json_text_of(object, key);
    return text && strcmp(text, expected) == 0;
}

static nlm_status refuse(const char *name, const char *part, const cJSON *item, nlm_error *err) {
    const char *type = nlm_json_text_of(item, "type");
    return nlm_fail(err, NLM_UNSUPPORTED, name, "its %s '%.64s' with these settings is not supported", part,
                    type ? type : "without a type");
}

typedef nlm_status (*step_fn)(const char *name, const cJSON *item, nlm_arena *arena, nlm_json_steps *out,
                              nlm_error *err);

/* Each part of a Sequence, whose list is under `key`, or the one that there is. They are not nested in any file. */
static nlm_status each(const char *name, const cJSON *item, const char *key, step_fn read, nlm_arena *arena,
                       nlm_json_steps *out, nlm_error *err) {
    if (!item) return NLM_OK;
    if (!is_text(item, "type", "Sequence")) return read(name, item, arena, out, err);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(item, key);
    if (!cJSON_IsArray(list)) return nlm_fail(err, NLM_BAD_FORMAT, name, "a Sequence has no list '%s'", key);
    for (const cJSON *part = list->child; part; part = part->next) NLM_TRY(read(name, part, arena, out, err));
    return NLM_OK;
}

/* NFC, and what Llama's has in place of a pre-tokenizer. */
static nlm_status read_normalizer(const char *name, const cJSON *item, nlm_arena *arena, nlm_json_steps *out,
                                  nlm_error *err) {
    (void)arena;
    if (is_text(item, "type", "NFC") && !out->prepends && !out->replaces) {
        out->has_nfc = true;
        return NLM_OK;
    }
    if (is_text(item, "type", "Prepend") && is_text(item, "prepend", NLM_SPACE_MARK) && !out->replaces) {
        out->prepends = true;
        return NLM_OK;
    }
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(item, "pattern");
    if (is_text(item, "type", "Replace") && is_text(pattern, "String", " ") &&
        is_text(item, "content", NLM_SPACE_MARK)) {
        out->replaces = true;
        return NLM_OK;
    }
    return refuse(name, "normalizer", item, err);
}

static nlm_status read_metaspace(const char *name, const cJSON *item, nlm_json_steps *out, nlm_error *err) {
    const char *scheme = nlm_json_text_of(item, "prepend_scheme");
    if (!scheme) scheme = is_set(item, "add_prefix_space", true) ? "always" : "never";
    const bool is_known =
        strcmp(scheme, "always") == 0 || strcmp(scheme, "first") == 0 || strcmp(scheme, "never") == 0;
    if (!is_known || out->has_metaspace || !is_text(item, "replacement", NLM_SPACE_MARK)) {
        return refuse(name, "pre_tokenizer", item, err);
    }
    out->has_metaspace = true;
    out->scheme = scheme;
    out->splits = is_set(item, "split", true);
    return NLM_OK;
}

/* The regular expression of a Split that keeps matches apart, or joins each to what follows; NULL for others. */
static const char *read_split(const cJSON *item, nlm_arena *arena) {
    const char *regex = nlm_json_text_of(cJSON_GetObjectItemCaseSensitive(item, "pattern"), "Regex");
    const bool is_inverted = is_set(item, "invert", false);
    if (!regex) return NULL;
    if (is_text(item, "behavior", "Isolated") && !is_inverted) return regex;
    /* "Remove what is no match" leaves the matches, and these expressions match all of a text. */
    if (is_text(item, "behavior", "Removed") && is_inverted && strstr(regex, "|\\s+(?!\\S)|\\s+")) return regex;
    if (is_text(item, "behavior", "MergedWithNext") && !is_inverted) {
        return nlm_arena_printf(arena, NLM_STEP_NEXT "%s", regex);
    }
    return NULL;
}

static const char *read_step(const cJSON *item, nlm_arena *arena) {
    if (is_text(item, "type", "Split")) return read_split(item, arena);
    if (is_text(item, "type", "Digits")) {
        return is_set(item, "individual_digits", false) ? NLM_STEP_DIGITS : NLM_STEP_NUMBERS;
    }
    if (is_text(item, "type", "ByteLevel") && !is_set(item, "add_prefix_space", true)) {
        return is_set(item, "use_regex", true) ? NLM_STEP_GPT2 : NLM_STEP_BYTES;
    }
    if (is_text(item, "type", "Punctuation")) {
        if (is_text(item, "behavior", "Contiguous")) return NLM_STEP_MARKS;
        if (is_text(item, "behavior", "Isolated")) return NLM_STEP_PUNCTUATION;
    }
    return NULL;
}

static nlm_status read_pre_tokenizer(const char *name, const cJSON *item, nlm_arena *arena, nlm_json_steps *out,
                                     nlm_error *err) {
    if (is_text(item, "type", "Metaspace")) return read_metaspace(name, item, out, err);
    const char *step = read_step(item, arena);
    if (!step || out->pre_count == sizeof out->pre / sizeof *out->pre) {
        return refuse(name, "pre_tokenizer", item, err);
    }
    out->pre[out->pre_count++] = step;
    return NLM_OK;
}

nlm_status nlm_json_read_steps(const char *name, const cJSON *root, nlm_arena *arena, nlm_json_steps *out,
                               nlm_error *err) {
    *out = (nlm_json_steps){.scheme = "never"};
    NLM_TRY(each(name, nlm_json_given(root, "normalizer"), "normalizers", read_normalizer, arena, out, err));
    NLM_TRY(each(name, nlm_json_given(root, "pre_tokenizer"), "pretokenizers", read_pre_tokenizer, arena, out, err));
    out->is_spm = out->has_metaspace || out->replaces;
    if (!out->is_spm && out->pre_count == 0) {
        return nlm_fail(err, NLM_UNSUPPORTED, name,
                        "it has neither a ByteLevel nor a Metaspace pre_tokenizer, nor Llama's normalizer");
    }
    const bool is_mixed = out->is_spm ? out->pre_count > 0 || out->has_nfc : out->prepends;
    const bool prepends_twice = out->prepends && strcmp(out->scheme, "never") != 0;
    if (is_mixed || prepends_twice || (out->prepends && !out->replaces && !out->has_metaspace)) {
        return nlm_fail(err, NLM_UNSUPPORTED, name, "its normalizer and pre_tokenizer together are not supported");
    }
    return NLM_OK;
}

/* "single": [special token] the text [special token] */
static nlm_status read_template(const char *name, const cJSON *item, nlm_json_ends *out, nlm_error *err) {
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(item, "single");
    bool has_text = false;
    for (const cJSON *part = cJSON_IsArray(single) ? single->child : NULL; part; part = part->next) {
        const cJSON *special = cJSON_GetObjectItemCaseSensitive(part, "SpecialToken");
        const char *token = nlm_json_text_of(special, "id");
        const char **end = has_text ? &out->last : &out->first;
        if (cJSON_GetObjectItemCaseSensitive(part, "Sequence") && !has_text) {
            has_text = true;
        } else if (token && !*end) {
            *end = token;
        } else {
            return refuse(name, "post_processor", item, err);
        }
    }
    return has_text ? NLM_OK : refuse(name, "post_processor", item, err);
}

static nlm_status read_processor(const char *name, const cJSON *item, nlm_json_ends *out, nlm_error *err) {
    if (is_text(item, "type", "ByteLevel")) return NLM_OK; /* of offsets alone */
    if (is_text(item, "type", "TemplateProcessing")) return read_template(name, item, out, err);
    return refuse(name, "post_processor", item, err);
}

nlm_status nlm_json_read_ends(const char *name, const cJSON *root, nlm_json_ends *out, nlm_error *err) {
    *out = (nlm_json_ends){0};
    const cJSON *item = nlm_json_given(root, "post_processor");
    if (!item) return NLM_OK;
    if (!is_text(item, "type", "Sequence")) return read_processor(name, item, out, err);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(item, "processors");
    for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part; part = part->next) {
        NLM_TRY(read_processor(name, part, out, err));
    }
    return NLM_OK;
}
