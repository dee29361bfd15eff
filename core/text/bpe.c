/* Byte-level pair merging of one word, lowest rank first. */
#include "text/bpe.h"

#include "base/status.h"
#include "text/emit.h"
#include "text/nfc.h"

#include <string.h>

#define MERGES "tokenizer.ggml.merges"

static nlm_status out_of_memory(nlm_error *err) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, "tokenizer", "no memory for the merges");
}

/* The symbol of some bytes, with a new number if no token is them. */
static nlm_status add_symbol(nlm_bpe *bpe, nlm_bytes bytes, int32_t *out, nlm_error *err) {
    *out = nlm_piece_map_find(&bpe->symbols, bytes.data, bytes.length);
    if (*out >= 0) return NLM_OK;
    const char *copy = nlm_arena_strndup(&bpe->arena, bytes.data, bytes.length);
    *out = (int32_t)bpe->symbol_count++;
    if (!copy || !nlm_piece_map_add(&bpe->symbols, (nlm_bytes){copy, bytes.length}, *out)) return out_of_memory(err);
    return NLM_OK;
}

/* "Ġ t": two texts of the vocabulary with one blank between them. */
static bool halve(nlm_gguf_string merge, nlm_bytes *left, nlm_bytes *right) {
    if (merge.length < 3 || merge.length > INT32_MAX) return false;
    const char *blank = memchr(merge.data, ' ', (size_t)merge.length);
    if (!blank) return false;
    *left = (nlm_bytes){merge.data, (uint32_t)(blank - merge.data)};
    *right = (nlm_bytes){blank + 1, (uint32_t)merge.length - left->length - 1};
    return left->length > 0 && right->length > 0 && !memchr(right->data, ' ', right->length);
}

/* `scratch` has room for the merge's text. A merge of characters that stand for no byte can never
 * apply and is passed over. */
static nlm_status add_merge(nlm_bpe *bpe, nlm_bytes left, nlm_bytes right, uint32_t rank, char *scratch,
                            nlm_error *err) {
    uint32_t left_length, right_length;
    if (!nlm_bpe_bytes(left, scratch, &left_length)) return NLM_OK;
    if (!nlm_bpe_bytes(right, scratch + left_length, &right_length)) return NLM_OK;
    int32_t from, with, to;
    NLM_TRY(add_symbol(bpe, (nlm_bytes){scratch, left_length}, &from, err));
    NLM_TRY(add_symbol(bpe, (nlm_bytes){scratch + left_length, right_length}, &with, err));
    NLM_TRY(add_symbol(bpe, (nlm_bytes){scratch, left_length + right_length}, &to, err));
    const nlm_pair pair = {(uint32_t)from, (uint32_t)with, rank, to};
    return nlm_pair_table_add(&bpe->merges, pair) ? NLM_OK : out_of_memory(err);
}

static nlm_status add_merges(nlm_bpe *bpe, const nlm_gguf *gguf, nlm_error *err) {
    const nlm_gguf_entry *merges;
    NLM_TRY(nlm_vocab_array(gguf, MERGES, true, &merges, err));
    if (!merges)
        return nlm_fail(err, NLM_NOT_FOUND, nlm_gguf_path(gguf), "%s", "the file has no merges (" MERGES ")");
    if (merges->count > INT32_MAX / 4) {
        return nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf), MERGES " has %llu entries; expected at most %d",
                        (unsigned long long)merges->count, INT32_MAX / 4);
    }
    if (!nlm_pair_table_reserve(&bpe->merges, (size_t)merges->count)) return out_of_memory(err);
    nlm_str scratch = {0};
    nlm_status status = NLM_OK;
    for (size_t i = 0; i < merges->count && status == NLM_OK; i++) {
        const nlm_gguf_string merge = merges->strings[i];
        nlm_bytes left, right;
        if (!halve(merge, &left, &right)) {
            status = nlm_fail(err, NLM_BAD_FORMAT, nlm_gguf_path(gguf),
                              MERGES "[%zu] is '%.*s'; expected two texts with one blank between them", i,
                              (int)(merge.length < 64 ? merge.length : 64), merge.data);
            break;
        }
        scratch.length = 0;
        nlm_str_append(&scratch, merge.data, (size_t)merge.length);
        status =
            scratch.has_failed ? out_of_memory(err) : add_merge(bpe, left, right, (uint32_t)i, scratch.data, err);
    }
    nlm_str_release(&scratch);
    return status;
}

nlm_status nlm_bpe_create(const nlm_vocab *vocab, const nlm_pre_rule *rule, const nlm_gguf *gguf, nlm_bpe *out,
                          nlm_error *err) {
    *out = (nlm_bpe){.vocab = vocab, .rule = rule, .symbol_count = vocab->count};
    if (!nlm_piece_map_reserve(&out->symbols, vocab->count)) return out_of_memory(err);
    for (size_t i = 0; i < vocab->count; i++) {
        if (!nlm_vocab_is_mergeable(vocab, i)) continue;
        if (!nlm_piece_map_add(&out->symbols, vocab->spelled[i], (int32_t)i)) return out_of_memory(err);
    }
    NLM_TRY(add_merges(out, gguf, err));
    for (size_t i = 0; i < 256; i++) {
        const char byte = (char)i;
        out->byte_symbols[i] = nlm_piece_map_find(&out->symbols, &byte, 1);
    }
    return nlm_pre_tokenizer_create(rule, &out->pre, err);
}

void nlm_bpe_release(nlm_bpe *bpe) {
    nlm_pre_tokenizer_destroy(bpe->pre);
    nlm_piece_map_release(&bpe->symbols);
    nlm_pair_table_release(&bpe->merges);
    nlm_arena_release(&bpe->arena);
    *bpe = (nlm_bpe){0};
}

/* One text being encoded. */
typedef struct encoding {
    const nlm_bpe *bpe;
    nlm_merger *merger;
    nlm_ids *out;
} encoding;

/* What merging made of a word, from symbol i on. A symbol that is no token is spelled byte by byte. */
static nlm_status emit_symbol(const encoding *e, const char *word, size_t i, nlm_error *err) {
    const nlm_vocab *vocab = e->bpe->vocab;
    const nlm_merge_symbol *symbols = e->merger->symbols;
    if (symbols[i].id >= 0 && (size_t)symbols[i].id < vocab->count) return nlm_emit_id(symbols[i].id, e->out, err);
    for (size_t j = i; j < i + symbols[i].count; j++) {
        NLM_TRY(nlm_emit_bytes(vocab, word + symbols[j].offset, 1, e->out, err));
    }
    return NLM_OK;
}

static nlm_status encode_word(void *user, const char *word, size_t length, nlm_error *err) {
    const encoding *e = user;
    const nlm_bpe *bpe = e->bpe;
    if (bpe->rule->ignores_merges) {
        const int32_t id = nlm_piece_map_find(&bpe->symbols, word, length);
        if (id >= 0 && (size_t)id < bpe->vocab->count) return nlm_emit_id(id, e->out, err);
    }
    nlm_merger *merger = e->merger;
    merger->count = 0;
    for (size_t i = 0; i < length; i++) {
        if (nlm_vocab_drops(bpe->vocab, (unsigned char)word[i])) continue; /* its neighbours may merge */
        if (!nlm_merger_push(merger, bpe->byte_symbols[(unsigned char)word[i]], (uint32_t)i)) {
            return out_of_memory(err);
        }
    }
    if (!nlm_merger_run(merger, &bpe->merges)) return out_of_memory(err);
    for (size_t i = 0; i < merger->count; i += merger->symbols[i].count) NLM_TRY(emit_symbol(e, word, i, err));
    return NLM_OK;
}

nlm_status nlm_bpe_encode(const nlm_bpe *bpe, nlm_merger *merger, const char *text, size_t length, nlm_ids *out,
                          nlm_error *err) {
    encoding e = {bpe, merger, out};
    if (!bpe->rule->has_nfc || nlm_nfc_is_trivial(text, length)) {
        return nlm_pre_tokenizer_split(bpe->pre, text, length, encode_word, &e, err);
    }
    nlm_str normal = {0};
    nlm_status status = nlm_nfc_append(text, length, &normal, err);
    if (status == NLM_OK) {
        status = nlm_pre_tokenizer_split(bpe->pre, normal.data, normal.length, encode_word, &e, err);
    }
    nlm_str_release(&normal);
    return status;
}
