/* nlm-tokenize: text to token ids and back; and vocabularies learned from text. */
#include "base/printable.h"
#include "base/status.h"
#include "common/input.h"
#include "common/options.h"
#include "common/terminal.h"
#include "convert.h"
#include "text/tokenizer_json.h"
#include "train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct arguments {
    const char *model;
    bool adds_bos, decodes, has_special, has_pieces, has_no_mmap;
} arguments;

/* A token a line, with its text; control tokens have theirs too. */
static nlm_status print_pieces(const nlm_tokenizer *tokenizer, const nlm_ids *ids, nlm_error *err) {
    nlm_str piece = {0}, shown = {0};
    nlm_status status = NLM_OK;
    for (size_t i = 0; status == NLM_OK && i < ids->count; i++) {
        piece.length = shown.length = 0;
        status = nlm_tokenizer_decode(tokenizer, ids->data[i], true, &piece, err);
        nlm_str_printable(&shown, piece.data ? piece.data : "", piece.length);
        if (status == NLM_OK) printf("%7d  '%s'\n", ids->data[i], shown.length ? shown.data : "");
    }
    if (piece.has_failed || shown.has_failed)
        status = nlm_fail(err, NLM_OUT_OF_MEMORY, "pieces", "no memory for one");
    nlm_str_release(&piece);
    nlm_str_release(&shown);
    return status;
}

static void print_ids(const nlm_ids *ids) {
    for (size_t i = 0; i < ids->count; i++) printf("%s%d", i ? " " : "", ids->data[i]);
    putchar('\n');
}

static nlm_status encode(const nlm_tokenizer *tokenizer, const arguments *a, const nlm_str *text, nlm_error *err) {
    const uint32_t flags = (a->adds_bos ? NLM_ENCODE_BOS : 0u) | (a->has_special ? NLM_ENCODE_SPECIAL : 0u);
    nlm_ids ids = {0};
    nlm_status status =
        nlm_tokenizer_encode(tokenizer, text->length ? text->data : "", text->length, flags, &ids, err);
    if (status == NLM_OK && a->has_pieces)
        status = print_pieces(tokenizer, &ids, err);
    else if (status == NLM_OK)
        print_ids(&ids);
    nlm_ids_release(&ids);
    return status;
}

static nlm_status decode(const nlm_tokenizer *tokenizer, const arguments *a, const nlm_str *text, nlm_error *err) {
    nlm_ids ids = {0};
    nlm_str bytes = {0};
    nlm_status status = nlm_parse_ids("stdin", text, &ids, err);
    if (status == NLM_OK) {
        status = nlm_tokenizer_decode_all(tokenizer, ids.data, ids.count, a->has_special, &bytes, err);
    }
    if (status == NLM_OK && bytes.length > 0) {
        if (isatty(STDOUT_FILENO))
            nlm_write_shown(stdout, bytes.data, bytes.length);
        else
            fwrite(bytes.data, 1, bytes.length, stdout);
    }
    nlm_str_release(&bytes);
    nlm_ids_release(&ids);
    return status;
}

static nlm_status run(const arguments *a, nlm_error *err) {
    nlm_tokenizer *tokenizer;
    NLM_TRY(nlm_tokenizer_open(a->model, a->has_no_mmap, &tokenizer, err));
    nlm_str input = {0};
    nlm_status status = nlm_read_input("-", &input, err);
    if (status == NLM_OK) status = (a->decodes ? decode : encode)(tokenizer, a, &input, err);
    nlm_str_release(&input);
    nlm_tokenizer_destroy(tokenizer);
    return status;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "train") == 0) return train_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "convert") == 0) return convert_main(argc - 1, argv + 1);
    arguments a = {0};
    const nlm_option options[] = {
        {"model", 'm', NLM_OPTION_TEXT, "FILE", "the GGUF file or tokenizer.json whose tokenizer to use", &a.model, 0,
         0},
        {"bos", 0, NLM_OPTION_FLAG, NULL, "put the tokens around the text that the model wants there", &a.adds_bos, 0,
         0},
        {"special", 0, NLM_OPTION_FLAG, NULL,
         "text that spells a control token becomes that token;\nwith --decode: write control tokens too",
         &a.has_special, 0, 0},
        {"pieces", 0, NLM_OPTION_FLAG, NULL, "a token a line, with the text it stands for", &a.has_pieces, 0, 0},
        {"decode", 'd', NLM_OPTION_FLAG, NULL,
         "read ids, write the bytes they stand for (on a terminal\nwith control characters escaped)", &a.decodes, 0,
         0},
        {"no-mmap", 0, NLM_OPTION_FLAG, NULL, "read the file into memory rather than map it", &a.has_no_mmap, 0, 0},
    };
    const nlm_command command = {
        .name = "nlm-tokenize",
        .usage =
            "--model FILE [options] < TEXT\n       nlm-tokenize train --vocab-size N --out FILE [options] INPUT...\n "
            "      nlm-tokenize convert FILE OUT",
        .summary = "Turns the text on stdin into token ids on one line, or ids back into text.",
        .details =
            "train learns a vocabulary from texts, convert writes a file's tokenizer to another file; each has its\n"
            "own --help.\n",
        .examples =
            "  echo -n 'Once upon a time' | nlm-tokenize --model model.gguf\n"
            "  nlm-tokenize -m model.gguf --bos < book.txt > book.ids\n"
            "  nlm-tokenize -m model.gguf --decode < book.ids > book.txt\n",
        .options = options,
        .n_options = sizeof options / sizeof *options,
        .max_operands = 0,
    };
    int first_operand;
    const int parsed = nlm_options_parse(&command, argc, argv, &first_operand);
    if (parsed != NLM_OPTIONS_GO_ON) return parsed;
    if (!a.model) return nlm_tell_usage(&command, "--model is missing");
    if (a.decodes && a.adds_bos) return nlm_tell_usage(&command, "--bos does not go with --decode");
    if (a.decodes && a.has_pieces) return nlm_tell_usage(&command, "--pieces does not go with --decode");

    nlm_error err = NLM_ERROR_INIT;
    if (run(&a, &err) != NLM_OK) {
        nlm_tell(&command, &err);
        return NLM_EXIT_FAILED;
    }
    return nlm_stdout_finish(&command) ? NLM_EXIT_OK : NLM_EXIT_FAILED;
}
