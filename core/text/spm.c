/* SentencePiece's merging: the best score first. */
#include "text/spm.h"

#include "base/status.h"
#include "text/emit.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for the SentencePiece vocabulary");
}

/* What merging may give: never a control, unknown or byte token, whatever the text spells. */
static bool is_mergeable(const nlm_vocab *vocab, size_t id) {
    const uint8_t type = vocab->types[id];
    return vocab->texts[id].length > 0 &&
           (type == NLM_TOKEN_NORMAL || type == NLM_TOKEN_USER_DEFINED || type == NLM_TOKEN_UNUSED);
}

typedef struct scored_id {
    float score;
    uint32_t id;
} scored_id;

static int compare_scores(const void *a, const void *b) {
    const scored_id *left = a, *right = b;
    if (left->score != right->score) return left->score > right->score ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* ranks[id] for every token: 0 for the best score; equal scores have equal ranks. */
static nlm_status read_ranks(const nlm_vocab *vocab, const nlm_gguf *gguf, uint32_t *ranks, scored_id *order,
                             nlm_error *err) {
    const nlm_gguf_entry *scores;
    NLM_TRY(nlm_vocab_array(gguf, "tokenizer.ggml.scores", false, &scores, err));
    if (!scores || scores->count != vocab->count) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf),
                        "tokenizer.ggml.scores has %llu entries; expected one for each of %zu tokens",
                        scores ? (unsigned long long)scores->count : 0, vocab->count);
    }
    for (size_t i = 0; i < vocab->count; i++) {
        order[i] = (scored_id){(float)nlm_gguf_array_f64(scores, i), (uint32_t)i};
        if (order[i].score != order[i].score) {
            return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), "tokenizer.ggml.scores[%zu] is not a number",
                            i);
        }
    }
    qsort(order, vocab->count, sizeof *order, compare_scores);
    uint32_t rank = 0;
    for (size_t i = 0; i < vocab->count; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank++;
        ranks[order[i].id] = rank;
    }
    return NLM_OK;
}

/* A space and U+2581 are one. */
static uint32_t code_of(uint32_t code) {
    return code == ' ' ? NLM_SPACE_MARK_CODE : code;
}
/* Where a code point stands in ascii_joints, or -1. Sharing 0 costs a cut now and then, no more. */
static int joint_row(uint32_t code) {
    if (code == NLM_SPACE_MARK_CODE) return 0;
    return code < 128 ? (int)code : -1;
}

static bool add_joint(nlm_spm *spm, uint32_t left, uint32_t right) {
    const int row = joint_row(left), column = joint_row(right);
    if (row >= 0 && column >= 0) {
        spm->ascii_joints[row][column / 8] |= (uint8_t)(1u << (column % 8));
        return true;
    }
    return nlm_pair_table_add(&spm->joints, (nlm_pair){left, right, 0, 0});
}

/* Where no piece has these two side by side, no merge crosses, so the text can be cut in between. */
static bool may_join(const nlm_spm *spm, uint32_t left, uint32_t right) {
    const int row = joint_row(left), column = joint_row(right);
    if (row >= 0 && column >= 0) return spm->ascii_joints[row][column / 8] >> (column % 8) & 1;
    return nlm_pair_table_find(&spm->joints, left, right) != NULL;
}

/* The symbol that a character is, with a new number if it is no token. */
static bool add_symbol(nlm_spm *spm, nlm_bytes text, int32_t *out) {
    *out = nlm_piece_map_find(&spm->symbols, text.data, text.length);
    if (*out >= 0) return true;
    if (spm->extra_count == spm->extra_capacity) {
        const size_t capacity = spm->extra_capacity ? spm->extra_capacity * 2 : 64;
        nlm_bytes *extras = realloc(spm->extras, capacity * sizeof *extras);
        if (!extras) return false;
        spm->extras = extras;
        spm->extra_capacity = capacity;
    }
    *out = (int32_t)(spm->vocab->count + spm->extra_count);
    spm->extras[spm->extra_count++] = text;
    return nlm_piece_map_add(&spm->symbols, text, *out);
}

/* The characters of a piece, each a symbol even if it is no token, and which of them stand together. */
static bool add_characters(nlm_spm *spm, nlm_bytes piece) {
    uint32_t before = 0;
    size_t bytes;
    for (size_t at = 0; at < piece.length; at += bytes) {
        const uint32_t code = code_of(nlm_utf8_next(piece.data + at, piece.length - at, &bytes));
        int32_t symbol;
        if (!add_symbol(spm, (nlm_bytes){piece.data + at, (uint32_t)bytes}, &symbol)) return false;
        if (at > 0 && !add_joint(spm, before, code)) return false;
        before = code;
    }
    return true;
}

/* Every way to put a piece together from two symbols. One pass gives the hashes of both halves for all
 * cuts: that of the front by adding terms, that of the back by taking them from the whole and dividing
 * by the power of what was cut off. */
static bool add_merges(nlm_spm *spm, nlm_bytes piece, int32_t id, uint32_t rank) {
    const uint64_t whole = nlm_piece_hash(piece.data, piece.length);
    uint64_t front = 0, power = 1, inverse = 1;
    size_t bytes;
    for (size_t cut = 0; cut < piece.length;) {
        nlm_utf8_next(piece.data + cut, piece.length - cut, &bytes);
        for (size_t i = 0; i < bytes; i++, cut++) {
            front += nlm_hash_term(piece.data[cut], power);
            power *= NLM_HASH_BASE;
            inverse *= NLM_HASH_BASE_INVERSE;
        }
        if (cut == piece.length) break;
        const int32_t left = nlm_piece_map_find_hashed(&spm->symbols, front, piece.data, cut);
        if (left < 0) continue;
        const uint64_t back = (whole - front) * inverse;
        const int32_t right = nlm_piece_map_find_hashed(&spm->symbols, back, piece.data + cut, piece.length - cut);
        if (right < 0) continue;
        if (!nlm_pair_table_add(&spm->merges, (nlm_pair){(uint32_t)left, (uint32_t)right, rank, id})) return false;
    }
    return true;
}

/* "left right", a merge that the file lists. One that names no tokens never applies and is passed over. */
static bool add_listed(nlm_spm *spm, nlm_gguf_string merge, uint32_t rank, nlm_str *scratch) {
    const char *blank = merge.length > 0 ? memchr(merge.data, ' ', (size_t)merge.length) : NULL;
    if (!blank) return true;
    const size_t left_length = (size_t)(blank - merge.data), right_length = (size_t)merge.length - left_length - 1;
    scratch->length = 0;
    nlm_str_append(scratch, merge.data, left_length);
    nlm_str_append(scratch, blank + 1, right_length);
    if (scratch->has_failed) return false;
    const int32_t left = nlm_piece_map_find(&spm->symbols, merge.data, left_length);
    const int32_t right = nlm_piece_map_find(&spm->symbols, blank + 1, right_length);
    const int32_t id = nlm_piece_map_find(&spm->symbols, scratch->data, scratch->length);
    const int32_t count = (int32_t)spm->vocab->count;
    if (left < 0 || left >= count || right < 0 || right >= count || id < 0 || id >= count) return true;
    return nlm_pair_table_add(&spm->merges, (nlm_pair){(uint32_t)left, (uint32_t)right, rank, id});
}

static bool add_all_listed(nlm_spm *spm, const nlm_gguf_entry *list) {
    nlm_str scratch = {0};
    nlm_str_puts(&scratch, "");
    bool is_done = true;
    for (size_t i = 0; is_done && i < list->count && i < UINT32_MAX; i++) {
        is_done = add_listed(spm, list->strings[i], (uint32_t)i, &scratch);
    }
    nlm_str_release(&scratch);
    return is_done;
}

/* `listed`: the file's merges, or NULL where its scores tell all. */
static bool build(nlm_spm *spm, const uint32_t *ranks, const nlm_gguf_entry *listed) {
    const nlm_vocab *vocab = spm->vocab;
    for (size_t i = 0; i < vocab->count; i++) {
        if (!is_mergeable(vocab, i)) continue;
        if (!nlm_piece_map_add(&spm->symbols, vocab->texts[i], (int32_t)i)) return false;
        if (vocab->types[i] == NLM_TOKEN_UNUSED) spm->has_unused = true;
    }
    for (size_t i = 0; i < vocab->count; i++) {
        if (is_mergeable(vocab, i) && !add_characters(spm, vocab->texts[i])) return false;
    }
    if (!add_symbol(spm, (nlm_bytes){NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH}, &spm->space_symbol)) return false;
    if (listed && !add_all_listed(spm, listed)) return false;
    for (size_t i = 0; !listed && i < vocab->count; i++) {
        const nlm_bytes piece = vocab->texts[i];
        if (nlm_piece_map_find(&spm->symbols, piece.data, piece.length) != (int32_t)i) continue;
        if (!add_merges(spm, piece, (int32_t)i, ranks[i])) return false;
    }
    for (size_t i = 0; i < 128; i++) {
        const char character = (char)i;
        spm->ascii_symbols[i] = nlm_piece_map_find(&spm->symbols, &character, 1);
    }
    return true;
}

nlm_status nlm_spm_create(const nlm_vocab *vocab, const nlm_gguf *gguf, nlm_spm *out, nlm_error *err) {
    *out = (nlm_spm){.vocab = vocab};
    const nlm_gguf_entry *merges;
    NLM_TRY(nlm_vocab_array(gguf, "tokenizer.ggml.merges", true, &merges, err));
    if (merges && merges->count == 0) merges = NULL;
    uint32_t *ranks = calloc(vocab->count, sizeof *ranks);
    scored_id *order = calloc(vocab->count, sizeof *order);
    nlm_status status = ranks && order ? read_ranks(vocab, gguf, ranks, order, err) : out_of_memory(err);
    free(order);
    if (status == NLM_OK && !build(out, ranks, merges)) status = out_of_memory(err);
    free(ranks);
    return status;
}

void nlm_spm_release(nlm_spm *spm) {
    nlm_piece_map_release(&spm->symbols);
    nlm_pair_table_release(&spm->merges);
    nlm_pair_table_release(&spm->joints);
    free(spm->extras);
    *spm = (nlm_spm){0};
}

/* One text being encoded. */
typedef struct encoding {
    const nlm_spm *spm;
    nlm_merger *merger; /* the stretch since the last cut */
    const char *text;   /* as normalise leaves it: a space stands for U+2581 */
    size_t length;
    nlm_ids *out;
    nlm_error *err;
} encoding;

/* A symbol as it came out of merging; `offset` is that of its first character. */
static nlm_status emit_symbol(const encoding *e, int32_t id, size_t offset) {
    const nlm_vocab *vocab = e->spm->vocab;
    if (id >= 0 && (size_t)id < vocab->count) return nlm_emit_id(id, e->out, e->err);
    if (id == e->spm->space_symbol) return nlm_emit_bytes(vocab, " ", 1, e->out, e->err);
    if (id >= 0) {
        const nlm_bytes text = e->spm->extras[(size_t)id - vocab->count];
        return nlm_emit_bytes(vocab, text.data, text.length, e->out, e->err);
    }
    size_t bytes;
    nlm_utf8_next(e->text + offset, e->length - offset, &bytes);
    return nlm_emit_bytes(vocab, e->text + offset, bytes, e->out, e->err);
}

/* An unused piece gives way to the two symbols it was merged from, and they to theirs. */
static nlm_status emit_parts(const encoding *e, int32_t id) {
    nlm_ids pending = {0};
    nlm_status status = nlm_emit_id(id, &pending, e->err);
    while (status == NLM_OK && pending.count > 0) {
        id = pending.data[--pending.count];
        const bool is_unused = (size_t)id < e->spm->vocab->count && e->spm->vocab->types[id] == NLM_TOKEN_UNUSED;
        const nlm_merge_parts parts = e->merger->parts[id];
        if (!is_unused || parts.left < 0) {
            status = emit_symbol(e, id, 0);
            continue;
        }
        status = nlm_emit_id(parts.right, &pending, e->err);
        if (status == NLM_OK) status = nlm_emit_id(parts.left, &pending, e->err);
    }
    nlm_ids_release(&pending);
    return status;
}

static nlm_status flush(encoding *e) {
    nlm_merger *merger = e->merger;
    if (!nlm_merger_run(merger, &e->spm->merges)) return out_of_memory(e->err);
    const nlm_vocab *vocab = e->spm->vocab;
    for (size_t i = 0; i < merger->count; i += merger->symbols[i].count) {
        const nlm_merge_symbol *symbol = &merger->symbols[i];
        const bool is_unused =
            symbol->id >= 0 && (size_t)symbol->id < vocab->count && vocab->types[symbol->id] == NLM_TOKEN_UNUSED;
        NLM_TRY(is_unused ? emit_parts(e, symbol->id) : emit_symbol(e, symbol->id, symbol->offset));
    }
    merger->count = 0;
    return NLM_OK;
}

/* Text without special tokens. */
static nlm_status encode_plain(encoding *e, size_t from, size_t to) {
    const nlm_spm *spm = e->spm;
    uint32_t before = 0;
    size_t bytes;
    for (size_t at = from; at < to; at += bytes) {
        const uint32_t code = code_of(nlm_utf8_next(e->text + at, to - at, &bytes));
        const int32_t symbol = code == NLM_SPACE_MARK_CODE ? spm->space_symbol
                               : code < 128                ? spm->ascii_symbols[code]
                                                           : nlm_piece_map_find(&spm->symbols, e->text + at, bytes);
        if (e->merger->count > 0 && !may_join(spm, before, code)) NLM_TRY(flush(e));
        if (!nlm_merger_push(e->merger, symbol, (uint32_t)at)) return out_of_memory(e->err);
        before = code;
    }
    return flush(e);
}

static nlm_status encode_parts(encoding *e, nlm_special_scan *scan) {
    nlm_special_match match;
    size_t done = 0;
    for (; nlm_specials_next(scan, done, &match); done = match.to) {
        NLM_TRY(encode_plain(e, done, match.from));
        NLM_TRY(nlm_emit_id(match.id, e->out, e->err));
    }
    return encode_plain(e, done, e->length);
}

static nlm_status encode_all(encoding *e, const nlm_specials *specials) {
    nlm_special_scan scan = {
        .specials = specials, .text = e->text, .length = e->length, .kinds = NLM_SPECIAL_USER_DEFINED};
    nlm_status status = nlm_specials_begin(&scan, e->err);
    if (status == NLM_OK) status = encode_parts(e, &scan);
    nlm_specials_end(&scan);
    return status;
}

/* Runs of spaces become one; those at the ends go, and U+2581 too at the far end, as in the sentencepiece library
 * without a character map. */
static void append_collapsed(const char *text, size_t length, nlm_str *out) {
    const size_t start = out->length;
    for (size_t at = 0; at < length;) {
        const char *space = memchr(text + at, ' ', length - at);
        const size_t end = space ? (size_t)(space - text) : length;
        if (end > at && out->length > start) nlm_str_append(out, " ", 1);
        nlm_str_append(out, text + at, end - at);
        at = end + 1;
    }
    for (size_t n = 1; n > 0 && out->length > start; out->length -= n) {
        const size_t left = out->length - start;
        const char *end = out->data + out->length;
        const bool is_mark = left >= NLM_SPACE_MARK_LENGTH &&
                             memcmp(end - NLM_SPACE_MARK_LENGTH, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH) == 0;
        n = is_mark ? NLM_SPACE_MARK_LENGTH : end[-1] == ' ';
    }
}

static bool begins_with_space(const char *text, size_t length) {
    if (length > 0 && text[0] == ' ') return true;
    return length >= NLM_SPACE_MARK_LENGTH && memcmp(text, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH) == 0;
}

/* The text as it is merged: the space of the space-prefix rule in front, and U+2581 a space, since the
 * vocabulary cannot tell the two apart. */
static void normalise(const nlm_vocab *vocab, const char *text, size_t length, bool has_prefix, nlm_str *out) {
    nlm_str collapsed = {0};
    if (vocab->removes_extra_whitespaces) {
        append_collapsed(text, length, &collapsed);
        text = collapsed.length ? collapsed.data : "";
        length = collapsed.length;
    }
    const bool shares = vocab->shares_space_prefix && begins_with_space(text, length);
    if (has_prefix && !shares && length > 0) nlm_str_append(out, " ", 1);
    while (length > 0) {
        const char *mark = memmem(text, length, NLM_SPACE_MARK, NLM_SPACE_MARK_LENGTH);
        const size_t plain = mark ? (size_t)(mark - text) : length;
        nlm_str_append(out, text, plain);
        if (!mark) break;
        nlm_str_append(out, " ", 1);
        text += plain + NLM_SPACE_MARK_LENGTH;
        length -= plain + NLM_SPACE_MARK_LENGTH;
    }
    if (collapsed.has_failed) out->has_failed = true;
    nlm_str_release(&collapsed);
}

nlm_status nlm_spm_encode(const nlm_spm *spm, const nlm_specials *specials, nlm_merger *merger, const char *text,
                          size_t length, bool is_start, nlm_ids *out, nlm_error *err) {
    nlm_merge_parts *parts = NULL;
    if (spm->has_unused) {
        const size_t bytes = (spm->vocab->count + spm->extra_count) * sizeof *parts;
        parts = malloc(bytes);
        if (!parts) return out_of_memory(err);
        memset(parts, 0xFF, bytes); /* all -1: merged from nothing */
    }
    nlm_str normal = {0};
    const nlm_vocab *vocab = spm->vocab;
    normalise(vocab, text, length, vocab->adds_space_prefix && (is_start || !vocab->prefixes_start_only), &normal);
    merger->parts = parts;
    merger->count = 0;
    encoding e = {.spm = spm, .merger = merger, .text = normal.data, .length = normal.length, .out = out, .err = err};
    const nlm_status status = normal.has_failed ? out_of_memory(err) : encode_all(&e, specials);
    merger->parts = NULL;
    nlm_str_release(&normal);
    free(parts);
    return status;
}
