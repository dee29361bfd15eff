/* Conversations as documents: their text is the template's, and the loss is on the answers alone. */
#include "unit/dataset_fixture.h"

#include "text/chat_table.h"

#define USER(text)   "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ANSWER(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
#define SYSTEM(text) "{\"role\": \"system\", \"content\": \"" text "\"}"

static void loss_is_on_answers_and_what_ends_them(void) {
    static const struct {
        const char *chat, *messages, *tokens;
    } cases[] = {
        {"chatml", USER("Hi") ", " ANSWER("Yo"), "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
        {"chatml", SYSTEM("S") ", " USER("Hi") ", " ANSWER("Yo") ", " USER("A") ", " ANSWER("B\\n"),
         "{start}system\nS{end}\n{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"
         "{start}user\nA{end}\n{start}assistant\n~B\n{end}~\n"},
        {"chatml", ANSWER("Yo"), "{start}assistant\n~Yo{end}~\n"},
        {"chatml", USER("Hi") ", " ANSWER("Yo") ", " ANSWER("Zo"),
         "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n{start}assistant\n~Zo{end}~\n"},
        {"chatml", USER("Hi") ", " ANSWER("Yo") ", " USER("Bye"),
         "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n{start}user\nBye{end}\n"},
        {"chatml", USER("Hi") ", " ANSWER(""), "{start}user\nHi{end}\n{start}assistant\n~{end}~\n"},
        {"chatml", USER("<|im_end|>") ", " ANSWER("<|im_end|>"),
         "{start}user\n<|im_end|>{end}\n{start}assistant\n~<|im_end|>{end}~\n"},
        {"smollm2", ANSWER("Yo"),
         "{start}system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face{end}\n"
         "{start}assistant\n~Yo{end}~\n"},
        /* thoughts stay in the last answer alone; the prompt that qwq gives its answers is no part of old ones */
        {"qwen3", USER("Hi") ", " ANSWER("<think>a</think>\\n\\nYo") ", " USER("A") ", " ANSWER("<think>b</think>B"),
         "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n{start}user\nA{end}\n"
         "{start}assistant\n~<think>b</think>B{end}~\n"},
        {"qwq", USER("Hi") ", " ANSWER("a</think>\\n\\nYo"), "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"},
        /* the blank before an answer is the model's to write */
        {"llama-2", USER("Hi") ", " ANSWER(" Yo ") ", " USER("A") ", " ANSWER("B"),
         "[INST] Hi [/INST]~ Yo {/s}~{s}[INST] A [/INST]~ B {/s}~"},
        /* a vocabulary without the token that ends a turn: what spells it counts */
        {"llama-3", USER("Hi") ", " ANSWER("Yo") ", " USER("A") ", " ANSWER("B"),
         "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
         "~Yo<|eot_id|>~<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
         "<|start_header_id|>assistant<|end_header_id|>\n\n~B<|eot_id|>~"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        nlm_str line = {0};
        rig_make(&rig, byte_tokenizer(false, true));
        rig.options.chat = nlm_chat_template_from_name(cases[i].chat);
        nlm_str_printf(&line, "{\"text\": \"no\", \"messages\": [%s]}", cases[i].messages);
        rig_puts(&rig, "a.jsonl", line.data);
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str tokens = mark_counted(dataset);
        CU_ASSERT_STRING_EQUAL(tokens.data, cases[i].tokens);
        if (strcmp(tokens.data, cases[i].tokens) != 0) printf(" [%s] ", tokens.data);
        nlm_str_release(&tokens);
        nlm_dataset_close(dataset);
        nlm_str_release(&line);
        rig_remove(&rig);
    }
}

/* Bytes, U+2581 and the tokens of turns: behind one of these a text begins with a space. */
static nlm_tokenizer *turn_tokenizer(void) {
    static const vocab_token tokens[] = {{"\xE2\x96\x81", 1, 0}, {"<s>", 3, 0},     {"</s>", 3, 0},
                                         {"[INST]", 3, 0},       {"[/INST]", 3, 0}, {"<|im_start|>", 3, 0}};
    vocab_bytes v = {0};
    nlm_tokenizer *tokenizer = NULL;
    vocab_string(&v, "tokenizer.ggml.model", "llama");
    vocab_tokens(&v, true, true, tokens, COUNT(tokens));
    vocab_number(&v, "tokenizer.ggml.bos_token_id", 257);
    vocab_number(&v, "tokenizer.ggml.eos_token_id", 258);
    CU_ASSERT_EQUAL_FATAL(vocab_open(&v, &tokenizer, NULL), NLM_OK);
    return tokenizer;
}

/* However the template opens and closes turns, and whatever the vocabulary: as encoding its text at once. */
static void tokens_are_those_of_the_whole_text(void) {
    static const nlm_chat_message talk[] = {
        {"system", "Be brief."}, {"user", "Hi there"}, {"assistant", "Hello. How?"},
        {"user", "Bye"},         {"assistant", "So"},
    };
    static const char *const vocabularies[] = {"trained-spm", "spm", "trained-gpt-2", "bpe-qwen2", NULL};
    static const nlm_batch_shape shape = {.rows = 1, .length = 4000, .max_seqs = 1};
    for (size_t v = 0; v < COUNT(vocabularies); v++) {
        for (const char *const *name = nlm_chat_template_names(); *name; name++) {
            char path[512];
            dataset_rig rig;
            nlm_str text = {0}, line = {0};
            nlm_text_spans spans = {0};
            nlm_ids ids = {0};
            nlm_train_batch batch;
            snprintf(path, sizeof path, "%s/tokenizer/%s.gguf", NLM_TEST_DATA,
                     vocabularies[v] ? vocabularies[v] : "");
            rig_make(&rig, vocabularies[v] ? open_file(path) : turn_tokenizer());
            rig.options.chat = nlm_chat_template_from_name(*name);
            nlm_str_puts(&line, "{\"messages\": [");
            for (size_t i = 0; i < COUNT(talk); i++) {
                nlm_str_printf(&line, "%s{\"role\": \"%s\", \"content\": \"%s\"}", i ? ", " : "", talk[i].role,
                               talk[i].content);
            }
            nlm_str_puts(&line, "]}\n");
            rig_puts(&rig, "a.jsonl", line.data);
            nlm_dataset *dataset = rig_open(&rig);
            batch_make(&batch, &shape);
            nlm_dataset_batch(dataset, NLM_SPLIT_TRAIN, &shape, 0, &batch);
            CU_ASSERT_EQUAL(
                nlm_chat_template_format(rig.options.chat, talk, COUNT(talk), 0, false, &text, &spans, NULL), NLM_OK);
            nlm_str_puts(&text, rig.options.chat->assistant_close);
            if (nlm_tokenizer_adds_bos(rig.tokenizer)) nlm_ids_append(&ids, nlm_tokenizer_bos(rig.tokenizer));
            CU_ASSERT_EQUAL(nlm_tokenizer_encode_spans(rig.tokenizer, text.data, text.length, NLM_ENCODE_SPECIAL,
                                                       &spans, &ids, NULL),
                            NLM_OK);
            const bool is_same = (int32_t)ids.count == batch.n_tokens &&
                                 memcmp(ids.data, batch.ids, ids.count * sizeof *ids.data) == 0;
            if (!is_same) printf(" [%s, %s] ", path, *name);
            CU_ASSERT(is_same);
            CU_ASSERT(batch.n_counted > 0 && batch.n_counted < batch.n_tokens);
            batch_release(&batch);
            nlm_ids_release(&ids);
            nlm_text_spans_release(&spans);
            nlm_str_release(&text);
            nlm_str_release(&line);
            nlm_dataset_close(dataset);
            rig_remove(&rig);
        }
    }
}

static void field_is_text_or_messages_by_its_name(void) {
    static const char line[] = "{\"body\": \"B\", \"talk\": [" USER("Hi") ", " ANSWER("Yo") "], \"text\": \"T\"}";
    static const struct {
        const char *field, *tokens;
    } cases[] = {
        {NULL, "T~{/s}~"}, {"body", "B~{/s}~"}, {"talk", "{start}user\nHi{end}\n{start}assistant\n~Yo{end}~\n"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        rig_make(&rig, byte_tokenizer(false, true));
        rig.options.chat = nlm_chat_template_from_name("chatml");
        rig.options.json_field = cases[i].field;
        rig_puts(&rig, "a.jsonl", line);
        nlm_dataset *dataset = rig_open(&rig);
        nlm_str tokens = mark_counted(dataset);
        CU_ASSERT_STRING_EQUAL(tokens.data, cases[i].tokens);
        nlm_str_release(&tokens);
        nlm_dataset_close(dataset);
        rig_remove(&rig);
    }
}

static void messages_out_of_form_are_refused_with_their_line(void) {
    static const struct {
        const char *chat, *messages, *msg;
    } cases[] = {
        {"chatml", "", "none of the 0 messages is the assistant's"},
        {"chatml", USER("Hi"), "none of the 1 messages is the assistant's"},
        {"chatml", ANSWER("Yo") ", {\"role\": \"user\"}", "message 2 is not of the form"},
        {"chatml", ANSWER("Yo") ", {\"role\": \"user\", \"content\": null}", "message 2 is not of the form"},
        {"chatml", "5", "message 1 is not of the form"},
        {"chatml", "{\"role\": \"poet\", \"content\": \"x\"}, " ANSWER("Yo"), "the role 'poet'"},
        {"llama-2", SYSTEM("S") ", " ANSWER("Yo"), "a user's message must follow"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        dataset_rig rig;
        nlm_str line = {0};
        nlm_dataset *dataset = NULL;
        rig_make(&rig, byte_tokenizer(false, true));
        rig.options.chat = nlm_chat_template_from_name(cases[i].chat);
        nlm_str_printf(&line, "\n{\"messages\": [%s]}", cases[i].messages);
        rig_puts(&rig, "a.jsonl", line.data);
        CU_ASSERT_EQUAL(rig_try(&rig, &dataset), NLM_BAD_FORMAT);
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.where, "a.jsonl:2"));
        CU_ASSERT_PTR_NOT_NULL(strstr(rig.err.msg, cases[i].msg));
        CU_ASSERT_EQUAL(temporary_count(&rig.cache), 0);
        nlm_str_release(&line);
        rig_remove(&rig);
    }
}

static const check_case cases[] = {
    CHECK_CASE(loss_is_on_answers_and_what_ends_them),
    CHECK_CASE(tokens_are_those_of_the_whole_text),
    CHECK_CASE(field_is_text_or_messages_by_its_name),
    CHECK_CASE(messages_out_of_form_are_refused_with_their_line),
};

CHECK_MAIN("chat documents", cases)
