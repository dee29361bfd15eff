/* Reads a file of text or JSON lines into documents, in small parts, with vocabularies of both kinds.
 *
 * Input   byte 0: whether it is JSON, and the vocabulary; byte 1: the chat template or the separator; then the file.
 */
#include "train/documents.h"
#include "unit/vocab_bytes.h"

#include <sys/mman.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MARK         "\xE2\x96\x81"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const vocab_token tokens[] = {{MARK, 1, 0},         {"</s>", 3, 0}, {"[INST]", 3, 0}, {"<|im_start|>", 3, 0},
                                     {"<|im_end|>", 3, 0}, {"a\nb", 4, 0}, {MARK "a", 1, 0}, {"ab", 1, 0}};

static nlm_tokenizer *make_tokenizer(bool is_spm) {
    static const char *const merges[] = {"a b"};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", is_spm ? "llama" : "gpt2");
    vocab_string(&v, "tokenizer.ggml.pre", "gpt-2");
    vocab_tokens(&v, is_spm, true, tokens + !is_spm, COUNT(tokens) - !is_spm);
    vocab_strings(&v, "tokenizer.ggml.merges", merges, COUNT(merges));
    vocab_flag(&v, "tokenizer.ggml.add_bos_token", false);
    if (vocab_open(&v, &tokenizer, NULL) != NLM_OK) abort();
    return tokenizer;
}

/* A text that is one document has as many tokens in parts as in one. */
static void check_whole(const nlm_document_sink *sink, const char *text, size_t length) {
    nlm_ids ids = {0};
    if (length == 0) return;
    if (nlm_tokenizer_encode(sink->tokenizer, text, length, 0, &ids, NULL) != NLM_OK) abort();
    const size_t n_ends = nlm_tokenizer_eos(sink->tokenizer) >= 0;
    if (nlm_token_writer_tokens(sink->writer) != ids.count + n_ends) abort();
    nlm_ids_release(&ids);
}

static void read_all(nlm_document_sink *sink, bool is_json, const char *text, size_t length) {
    nlm_checksum sum;
    nlm_input input;
    char path[64];
    const int fd = memfd_create("text", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text, length) != (ssize_t)length) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    nlm_checksum_init(&sum);
    if (nlm_input_open(&input, path, &sum, NULL) != NLM_OK) abort();
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status =
        is_json ? nlm_json_documents_add(sink, &input, &err) : nlm_text_documents_add(sink, &input, &err);
    if (status != NLM_OK && !err.msg[0]) abort();
    if (status == NLM_OK && !is_json && !sink->options->separator) check_whole(sink, text, length);
    nlm_input_close(&input);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static nlm_tokenizer *tokenizers[2];
    static const char *const separators[] = {NULL, "\n\n", "<|end|>", "aa"};
    char path[64];
    if (size < 2) return 0;
    const bool is_json = data[0] & 1, is_spm = data[0] & 2;
    if (!tokenizers[is_spm]) tokenizers[is_spm] = make_tokenizer(is_spm);
    size_t n_templates = 0;
    while (nlm_chat_template_names()[n_templates]) n_templates++;
    const nlm_dataset_options options = {
        .separator = separators[data[1] % COUNT(separators)],
        .chat = nlm_chat_template_from_name(nlm_chat_template_names()[data[1] % n_templates])};
    const nlm_token_key key = {.n_vocab = (uint32_t)nlm_tokenizer_count(tokenizers[is_spm])};
    nlm_document_sink sink = {.tokenizer = tokenizers[is_spm], .options = &options, .window = 600};
    snprintf(path, sizeof path, "/tmp/fuzz_documents-%ld.tokens", (long)getpid());
    if (nlm_token_writer_create(path, &key, &sink.writer, NULL) != NLM_OK) abort();
    read_all(&sink, is_json, (const char *)data + 2, size - 2);
    nlm_token_writer_destroy(sink.writer); /* never written to the end: nothing is left */
    nlm_ids_release(&sink.ids);
    return 0;
}
