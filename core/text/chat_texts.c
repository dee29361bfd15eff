/* The Jinja texts of models' chat templates that are rendered byte for byte, by their hash. */
#include "text/chat_texts.h"

#include "base/checksum.h"

#include <string.h>

/* Each was rendered by Jinja2 over conversations with and without a system message, of one and of several
 * turns, with empty contents, blanks of every kind around them and several lines, and compared. A line break
 * in a string of the Jinja text may be written as one or as "\n": two texts. */
static const nlm_chat_text texts[] = {
    {0xEBED4C75E31DE940u, NULL, "qwen3"},
    {0xB0EABDD935D5B962u, NULL, "qwen3"}, /* MiniCPM5 */
    {0x2F20480AC2F3DBB8u, NULL, "qwen3-coder"},
    {0xB885985D8B9A5A01u, NULL, "chatml"},
    {0x156082AA0BE3D93Au, NULL, "chatml"},
    {0xD52B67125E8887B3u, NULL, "chatml"},
    {0x408946D744BA89EEu, NULL, "chatml"},
    {0xE2DE7B04BE751A63u, NULL, "chatml"},
    {0x59E29E044B8D81F3u, NULL, "chatml"},
    {0xD1244203FB4553C4u, NULL, "chatml"},
    {0x90BA794B06C805A2u, NULL, "chatml"},
    {0x8D36C626836C548Du, NULL, "chatml"},
    {0x4CC518A7F6AA83B2u, NULL, "chatml"},
    {0x3F951C547F06568Fu, NULL, "chatml"},
    {0x59CC853E4E623B24u, NULL, "granite-3"},
    {0x33F48A6D3B15177Du, NULL, "granite-4"}, /* Granite 4.1 */
    {0xB53F1F7DFE897917u, NULL, "lfm2"},      /* LFM2 */
    {0x4110FBB9E5F195D1u, "</s>", "llama-2"},
    {0x9BC3084EE9B2CF55u, "</s>", "llama-2"},
    {0xEED35E7BC8E33433u, "</s>", "llama-2"},
    {0x39F5C87CC9E6CAEBu, "</s>", "llama-2"},
    {0xDCDC8F0C69CD885Eu, NULL, "llama-3"},
    {0x0A1C337D0CDAED22u, NULL, "llama-3"},
    {0xFAADB0599D3F8825u, NULL, "llama-3"},
    {0x4C2B07973DA5DFEDu, NULL, "llama-3"},
    {0xC0E2A829A7F6E18Au, NULL, "llama-3.1"}, /* Llama 3.1 and 3.3 */
    {0xE980FB39E0834855u, NULL, "llama-3.2"}, /* Llama 3.2 */
    {0x823B6A1D73A60C71u, "</s>", "zephyr"},
    {0x3B7F4D503B069B01u, "</s>", "mistral"},
    {0x4814B86DCCE0320Fu, "</s>", "mistral-v0.1"},
    {0x7EBD70AC7E344818u, "</s>", "mistral-v1"},
    {0x6759AA8AC892912Fu, "</s>", "mistral-v1"},
    {0x301E91D166CF9B9Fu, NULL, "qwen2"},
    {0x7ABB5DF5D7460943u, NULL, "qwen2"},
    {0xAB2957052382CF7Cu, NULL, "qwen2"},
    {0x38C155A02DBD26D4u, NULL, "qwen2"},
    {0x8FAAC50ACD4B8DF5u, NULL, "qwen2.5"}, /* Qwen2.5, rewritten */
    {0x14F39DFCC63BCDCBu, NULL, "qwen2.5"}, /* Qwen2.5 */
    {0x6E660327622B756Du, NULL, "qwq"},     /* QwQ */
    {0x406244E5F006A13Au, NULL, "smollm2"},
    {0xD458413E70E24283u, NULL, "smollm2"},
    {0x823B6A1D73A60C71u, "<|endoftext|>", "stablelm-zephyr"},
    {0xA8266C035D31BBDEu, "</s>", "vigogne"},
    {0xE49DF9F7890FB0AFu, "</s>", "vigogne"},
};

uint64_t nlm_chat_text_hash(const char *text, size_t length) {
    if (length > 0 && text[length - 1] == '\n') length--;
    return nlm_checksum_of(text, length);
}

const nlm_chat_text *nlm_chat_text_find(const char *text, size_t length, const char *eos, size_t eos_length) {
    const uint64_t hash = nlm_chat_text_hash(text, length);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].hash != hash) continue;
        const char *wanted = texts[i].eos;
        if (!wanted || (strlen(wanted) == eos_length && memcmp(wanted, eos, eos_length) == 0)) return &texts[i];
    }
    return NULL;
}
