/* nlm-tokenize train: counts the words of texts, learns a vocabulary and writes it. */
#include "train.h"

#include "base/file.h"
#include "base/status.h"
#include "common/interrupt.h"
#include "common/options.h"
#include "common/output.h"
#include "common/terminal.h"
#include "convert.h"
#include "text/corpus.h"
#include "text/vocab_write.h"

#include <string.h>

typedef struct settings {
    const char *out, *kind, *field;
    int64_t vocab_size, min_frequency, alphabet_size, threads;
    nlm_option_texts specials;
    bool has_lines;
} settings;

static bool show_tokens(void *user, size_t tokens) {
    const settings *s = user;
    nlm_show_step("learning: %zu of %lld tokens", tokens, (long long)s->vocab_size);
    return !nlm_interrupt_came();
}

/* What texts go through on their way to the trainer. */
typedef struct intake {
    nlm_bpe_trainer *trainer;
    uint64_t bytes;
} intake;

static nlm_status take_texts(void *user, const nlm_train_text *texts, size_t count, nlm_error *err) {
    intake *in = user;
    for (size_t i = 0; i < count; i++) in->bytes += texts[i].length;
    nlm_show_step("reading: %.1f MB", (double)in->bytes / 1e6);
    if (nlm_interrupt_came()) return nlm_fail(err, NLM_CANCELLED, "training", "cancelled while reading");
    return nlm_bpe_trainer_feed(in->trainer, texts, count, err);
}

static nlm_status write_vocab(const nlm_bpe_vocab *vocab, const char *path, nlm_error *err) {
    nlm_gguf_writer *writer;
    NLM_TRY(nlm_gguf_writer_create(&writer, err));
    nlm_status status = nlm_vocab_write(vocab, writer, err);
    nlm_gguf *gguf = NULL;
    if (status == NLM_OK) status = nlm_gguf_writer_map(writer, path, &gguf, err);
    nlm_gguf_writer_destroy(writer);
    if (status == NLM_OK) status = save_vocab(gguf, path, err);
    if (gguf) nlm_gguf_close(gguf);
    return status;
}

static nlm_status learn(const settings *s, nlm_bpe_trainer *trainer, char *const *inputs, nlm_bpe_vocab *vocab,
                        nlm_error *err) {
    const nlm_corpus_options corpus = {
        .is_spm = strcmp(s->kind, "sentencepiece") == 0, .has_lines = s->has_lines, .field = s->field};
    intake in = {.trainer = trainer};
    for (; *inputs; inputs++) NLM_TRY(nlm_corpus_read(*inputs, &corpus, take_texts, &in, err));
    NLM_TRY(nlm_bpe_trainer_finish(trainer, vocab, err));
    return nlm_interrupt_came() ? nlm_fail(err, NLM_CANCELLED, "training", "cancelled") : NLM_OK;
}

static nlm_status run(settings *s, char *const *inputs, nlm_error *err) {
    static const char *const end_of_text[] = {"<|endoftext|>"};
    const bool is_spm = strcmp(s->kind, "sentencepiece") == 0;
    const bool has_default = !is_spm && s->specials.count == 0;
    const nlm_bpe_train_options options = {
        .is_spm = is_spm,
        .vocab_size = (size_t)s->vocab_size,
        .min_frequency = (uint64_t)s->min_frequency,
        .alphabet_size = (size_t)s->alphabet_size,
        .specials = has_default ? end_of_text : s->specials.items,
        .special_count = has_default ? 1 : s->specials.count,
        .threads = (uint32_t)s->threads,
        .on_progress = show_tokens,
        .user = s,
    };
    nlm_bpe_trainer *trainer;
    nlm_bpe_vocab vocab = {0};
    NLM_TRY(nlm_check_place(s->out, err));
    NLM_TRY(nlm_bpe_trainer_create(&options, &trainer, err));
    nlm_status status = learn(s, trainer, inputs, &vocab, err);
    nlm_bpe_trainer_destroy(trainer);
    if (status == NLM_OK) status = write_vocab(&vocab, s->out, err);
    nlm_end_steps();
    if (status == NLM_OK) {
        printf("%s: %zu tokens, %zu merges\n", s->out, vocab.count, vocab.merge_count);
    }
    nlm_bpe_vocab_release(&vocab);
    return status;
}

int train_main(int argc, char **argv) {
    settings s = {.kind = "byte-bpe", .field = "text", .min_frequency = 2};
    const nlm_option options[] = {
        {"vocab-size", 'n', NLM_OPTION_INT, "N", "how many tokens to learn, all included", &s.vocab_size, 1, 1 << 24},
        {"out", 'o', NLM_OPTION_TEXT, "FILE",
         "the vocabulary to write: tokenizer.json if it ends in .json, or\na GGUF file without tensors, *.gguf",
         &s.out, 0, 0},
        {"kind", 'k', NLM_OPTION_TEXT, "KIND", "byte-bpe (the default), as GPT-2's, or sentencepiece, as Llama 2's",
         &s.kind, 0, 0},
        {"special", 0, NLM_OPTION_TEXTS, "TEXT",
         "a control token, more than once if need be; byte-bpe has\n<|endoftext|> if none is given, sentencepiece "
         "<unk>, <s>\nand </s> always",
         &s.specials, 0, 0},
        {"min-frequency", 0, NLM_OPTION_INT, "N", "leave out pairs that come less often (2)", &s.min_frequency, 0,
         1e15},
        {"alphabet", 0, NLM_OPTION_INT, "N", "sentencepiece: the N most frequent characters are tokens,\nnot all",
         &s.alphabet_size, 1, 0x110000},
        {"lines", 0, NLM_OPTION_FLAG, NULL, "each line is a text of its own, not each file", &s.has_lines, 0, 0},
        {"field", 0, NLM_OPTION_TEXT, "KEY", "what holds the text in JSON lines (text)", &s.field, 0, 0},
        {"threads", 't', NLM_OPTION_INT, "N", "threads that count words; one per core if not given", &s.threads, 1,
         1024},
    };
    const nlm_command command = {
        .name = "nlm-tokenize train",
        .usage = "--vocab-size N --out FILE [options] INPUT...",
        .summary = "Learns a vocabulary from texts by byte-pair encoding.",
        .details =
            "An INPUT is a text file, JSON lines (*.jsonl, *.ndjson), a folder of such files, or - for stdin.\n",
        .examples =
            "  nlm-tokenize train --vocab-size 4000 --out tokenizer.json stories.txt\n"
            "  nlm-tokenize train -n 32000 -k sentencepiece -o vocab.gguf --field content pages.jsonl\n",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .max_operands = SIZE_MAX,
    };
    int first;
    const int parsed = nlm_options_parse(&command, argc, argv, &first);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (!s.vocab_size) return nlm_tell_usage(&command, "--vocab-size is missing");
    if (!s.out) return nlm_tell_usage(&command, "--out is missing");
    if (!names_vocab_file(s.out)) return nlm_tell_usage(&command, "'%s' ends neither in .json nor in .gguf", s.out);
    if (first == argc) return nlm_tell_usage(&command, "give a text file or a folder of them");
    if (strcmp(s.kind, "byte-bpe") != 0 && strcmp(s.kind, "sentencepiece") != 0) {
        return nlm_tell_usage(&command, "'%s' is no kind of vocabulary; expected byte-bpe or sentencepiece", s.kind);
    }
    if (s.alphabet_size && strcmp(s.kind, "sentencepiece") != 0) {
        return nlm_tell_usage(&command, "--alphabet goes with --kind sentencepiece");
    }
    const int code =
        nlm_check_output(&command, "--out", s.out, (const char *const *)(argv + first), (size_t)(argc - first));
    if (code != NLM_OPTIONS_GO_ON) return code;
    nlm_interrupt_catch_reading();
    nlm_error err = NLM_ERROR_INIT;
    if (run(&s, argv + first, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
