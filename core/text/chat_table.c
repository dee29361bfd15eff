/* How the known families of models write a conversation. */
#include "text/chat_table.h"

#define CHATML_TURNS                                                                                              \
    .system_open = "<|im_start|>system\n", .system_close = "<|im_end|>\n", .user_open = "<|im_start|>user\n",     \
    .user_close = "<|im_end|>\n", .assistant_open = "<|im_start|>assistant\n", .assistant_close = "<|im_end|>\n", \
    .tokens = {"<|im_start|>", "<|im_end|>"}, .n_needed = 2
#define CHATML_PROMPT .prompt = "<|im_start|>assistant\n"
#define CHATML_TOOLS \
    .tools_open = "", .tool_open = "<|im_start|>tool\n", .tool_close = "<|im_end|>\n", .tools_close = ""
#define QWEN_TOOLS                                                                                            \
    .tools_open = "<|im_start|>user", .tool_open = "\n<tool_response>\n", .tool_close = "\n</tool_response>", \
    .tools_close = "<|im_end|>\n"

#define ZEPHYR_TURNS(eos)                                                                                       \
    .system_open = "<|system|>\n", .system_close = eos "\n", .user_open = "<|user|>\n", .user_close = eos "\n", \
    .assistant_open = "<|assistant|>\n", .assistant_close = eos "\n", .prompt = "<|assistant|>\n",              \
    .tokens = {eos, "<|system|>", "<|user|>", "<|assistant|>"}, .n_needed = 1

#define SMOLLM2_SYSTEM    "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define QWEN2_SYSTEM      "You are a helpful assistant."
#define QWEN25_SYSTEM     "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define LLAMA3_TURN(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA31_DATES     "Cutting Knowledge Date: December 2023\nToday Date: "

#define LLAMA31_TOOLS                                                                                     \
    .tools_open = "", .tool_open = LLAMA3_TURN("ipython"), .tool_close = "<|eot_id|>", .tools_close = "", \
    .quotes_tools = true

#define LLAMA3_TURNS                                                                                                 \
    .system_close = "<|eot_id|>", .user_open = LLAMA3_TURN("user"), .user_close = "<|eot_id|>",                      \
    .assistant_open = LLAMA3_TURN("assistant"), .assistant_close = "<|eot_id|>", .prompt = LLAMA3_TURN("assistant"), \
    .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, .n_needed = 3, .trims = NLM_CHAT_TRIMS_ALL

#define VIGOGNE_SYSTEM                                                                                            \
    "Vous \xC3\xAAtes Vigogne, un assistant IA cr\xC3\xA9\xC3\xA9 par Zaion Lab. Vous suivez extr\xC3\xAAmement " \
    "bien les "                                                                                                   \
    "instructions. Aidez autant que vous le pouvez."
#define LLAMA2_TURNS                                                                             \
    .system_open = "[INST] <<SYS>>\n", .system_close = "\n<</SYS>>\n\n", .user_open = "[INST] ", \
    .user_close = " [/INST]", .assistant_open = " ", .assistant_close = " </s>", .prompt = "",   \
    .tokens = {"<s>", "</s>", "[INST]", "[/INST]"}, .n_needed = 2, .system_joins_user = true,    \
    .trims = NLM_CHAT_TRIMS_LLAMA_2

/* `open` begins a user's turn, `end` closes it, `answer` opens an assistant's, `close` closes that. */
#define MISTRAL_TURNS(open, end, answer, close)                                                                  \
    .system_open = open, .system_close = "\n\n", .user_open = open, .user_close = end, .assistant_open = answer, \
    .assistant_close = close, .prompt = "", .tokens = {"</s>", "[INST]", "[/INST]"}, .n_needed = 1,              \
    .system_joins_user = true

#define GRANITE_TURN(role) "<|start_of_role|>" role "<|end_of_role|>"
#define GRANITE_TURNS                                                                                              \
    .system_open = GRANITE_TURN("system"), .system_close = "<|end_of_text|>\n", .user_open = GRANITE_TURN("user"), \
    .user_close = "<|end_of_text|>\n", .assistant_open = GRANITE_TURN("assistant"),                                \
    .assistant_close = "<|end_of_text|>\n", .prompt = GRANITE_TURN("assistant"),                                   \
    .tokens = {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"}, .n_needed = 3

const struct nlm_chat_template nlm_chat_templates[] = {
    {.name = "smollm2",
     .marks = {"<|im_start|>", SMOLLM2_SYSTEM},
     .default_system = SMOLLM2_SYSTEM,
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "qwq",
     .marks = {"<|im_start|>assistant\\n<think>\\n'"},
     CHATML_TURNS,
     QWEN_TOOLS,
     .prompt = "<|im_start|>assistant\n<think>\n",
     .thoughts = NLM_CHAT_THOUGHTS_ALWAYS_GO},
    {.name = "qwen2.5",
     .marks = {"<|im_start|>", QWEN25_SYSTEM},
     .default_system = QWEN25_SYSTEM,
     CHATML_TURNS,
     QWEN_TOOLS,
     CHATML_PROMPT},
    {.name = "qwen3",
     .marks = {"<|im_start|>", "'\\n<tool_response>\\n'"},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     CHATML_TURNS,
     QWEN_TOOLS,
     .thoughts = NLM_CHAT_THOUGHTS_GO,
     CHATML_PROMPT},
    {.name = "lfm2",
     .marks = {"<|im_start|>", "<|tool_list_start|>"},
     .system_open = "<|im_start|>system\n",
     .system_close = "<|im_end|>\n",
     .user_open = "<|im_start|>user\n",
     .user_close = "<|im_end|>\n",
     .assistant_open = "<|im_start|>assistant\n",
     .assistant_close = "<|im_end|>\n",
     .tools_open = "",
     .tool_open = "<|im_start|>tool\n<|tool_response_start|>",
     .tool_close = "<|tool_response_end|><|im_end|>\n",
     .tools_close = "",
     .tokens = {"<|im_start|>", "<|im_end|>", "<|tool_response_start|>", "<|tool_response_end|>"},
     .n_needed = 2,
     .skips_empty_system = true,
     CHATML_PROMPT},
    {.name = "qwen3-coder",
     .marks = {"<|im_start|>", "<tool_response>", "'\\n</tool_response>\\n'"},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     CHATML_TURNS,
     .tools_open = "<|im_start|>user\n",
     .tool_open = "<tool_response>\n",
     .tool_close = "\n</tool_response>\n",
     .tools_close = "<|im_end|>\n",
     CHATML_PROMPT},
    {.name = "qwen2",
     .marks = {"<|im_start|>", QWEN2_SYSTEM},
     .others = {"<|im_sep|>", "<end_of_utterance>"},
     .default_system = QWEN2_SYSTEM,
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "chatml",
     .marks = {"<|im_start|>"},
     .others = {"<|im_sep|>", "<end_of_utterance>"}, /* Phi-4, SmolVLM */
     CHATML_TURNS,
     CHATML_TOOLS,
     CHATML_PROMPT},
    {.name = "llama-3.2",
     .marks = {"<|start_header_id|>", "Cutting Knowledge Date: December 2023", "strftime_now"},
     .default_system = "",
     .system_open = LLAMA3_TURN("system") LLAMA31_DATES,
     .has_today = true,
     LLAMA31_TOOLS,
     LLAMA3_TURNS},
    {.name = "llama-3.1",
     .marks = {"<|start_header_id|>", "Cutting Knowledge Date: December 2023"},
     .default_system = "",
     .system_open = LLAMA3_TURN("system") LLAMA31_DATES "26 Jul 2024\n\n",
     LLAMA31_TOOLS,
     LLAMA3_TURNS},
    {.name = "llama-3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>"},
     .system_open = LLAMA3_TURN("system"),
     LLAMA3_TURNS},
    {.name = "granite-4",
     .marks = {"<|start_of_role|>", "<tool_response>"},
     GRANITE_TURNS,
     .tools_open = GRANITE_TURN("user"),
     .tool_open = "\n<tool_response>\n",
     .tool_close = "\n</tool_response>",
     .tools_close = "<|end_of_text|>\n",
     .skips_empty_system = true},
    {.name = "granite-3", .marks = {"<|start_of_role|>"}, GRANITE_TURNS},
    {.name = "vigogne", .marks = {"[INST]", "<<SYS>>", "Vigogne"}, .default_system = VIGOGNE_SYSTEM, LLAMA2_TURNS},
    {.name = "llama-2", .marks = {"[INST]", "<<SYS>>"}, .between = "<s>", LLAMA2_TURNS},
    {.name = "mistral-nemo",
     .marks = {"\"[INST]\" +", "[AVAILABLE_TOOLS]"},
     .others = {"[SYSTEM_PROMPT]"}, /* later versions of Mistral's */
     MISTRAL_TURNS("[INST]", "[/INST]", "", "</s>")},
    {.name = "mistral-v3",
     .marks = {"[INST]", "[AVAILABLE_TOOLS]"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", "[/INST]", " ", "</s>")},
    {.name = "mistral-v1",
     .marks = {"' [INST] '"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS(" [INST] ", " [/INST]", " ", "</s>")},
    {.name = "mistral-v0.1",
     .marks = {"[INST]", "eos_token + ' '"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", " [/INST]", "", "</s> ")},
    {.name = "mistral",
     .marks = {"[INST]"},
     .others = {"[SYSTEM_PROMPT]"},
     MISTRAL_TURNS("[INST] ", " [/INST]", "", "</s>")},
    {.name = "zephyr",
     .marks = {"<|user|>", "<|assistant|>", "+ eos_token }}"},
     .others = {"<|end|>"}, /* Phi-3 */
     .eos = "</s>",
     ZEPHYR_TURNS("</s>")},
    {.name = "stablelm-zephyr",
     .marks = {"<|user|>", "<|assistant|>", "+ eos_token }}"},
     .others = {"<|end|>"},
     .eos = "<|endoftext|>",
     ZEPHYR_TURNS("<|endoftext|>")},
};
const size_t nlm_chat_template_count = sizeof nlm_chat_templates / sizeof *nlm_chat_templates;
