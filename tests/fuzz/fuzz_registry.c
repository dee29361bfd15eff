/* Any bytes as a plugins.toml. Its libraries are not looked for. */
#include "base/cpu.h"
#include "plugin/isa.h"
#include "plugin/registry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink;

static void walk_entry(const nlm_registry_entry *entry) {
    sink += strlen(entry->name) + strlen(entry->library) + strlen(entry->where) + strlen(entry->arch);
    for (size_t i = 0; entry->options && entry->options[i]; i++) sink += strlen(entry->options[i]);
    if (entry->verdict.state != NLM_ENTRY_READY) {
        if (!entry->verdict.reason[0]) abort();
        return;
    }
    /* What a well-formed entry promises. */
    if (!nlm_plugin_name_is_valid(entry->name) || entry->library[0] != '/') abort();
    if (entry->sha256 && strlen(entry->sha256) != 64) abort();
    nlm_verdict verdict = {0};
    const bool is_good =
        nlm_isa_check(entry->arch, entry->isa.items, entry->isa.count, nlm_cpu_arch(), nlm_cpu_features(), &verdict);
    if (is_good == (verdict.reason[0] != '\0')) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_arena arena = {0};
    nlm_registry registry;
    nlm_error err = NLM_ERROR_INIT;
    const nlm_status status =
        nlm_registry_parse((const char *)data, size, "plugins.toml", "/usr/lib/nlm", &arena, &registry, &err);
    if (status != NLM_OK && !err.msg[0]) abort();
    for (size_t i = 0; status == NLM_OK && i < registry.count; i++) walk_entry(&registry.entries[i]);
    nlm_arena_release(&arena);
    return 0;
}
