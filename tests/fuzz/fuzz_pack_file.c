/* Any bytes as a file of packed weights: checked, and everything its entries point at is read. A second time with
 * its size, key and checksum put right, so that the table behind them is reached. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "exec/pack_file.h"
#include "unit/pack_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps the reads from being optimised away. */
static volatile uint64_t sink;

static void parse(const uint8_t *data, size_t size) {
    nlm_pack_view view;
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_pack_file_parse("fuzz", data, size, PACK_KEY, &view, &err) != NLM_OK) {
        sink += strlen(err.msg);
        return;
    }
    uint64_t sum = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < view.n_entries; i++) {
        nlm_packed entry;
        nlm_pack_view_next(&view, &at, &entry);
        for (size_t b = 0; b < entry.name_bytes; b++) sum += (unsigned char)entry.name[b];
        sum += ((const unsigned char *)entry.data)[0] + ((const unsigned char *)entry.data)[entry.bytes - 1];
    }
    sink += sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    parse(data, size);
    const size_t key_bytes = strlen(PACK_KEY);
    if (size < PACK_KEY_AT + key_bytes) return 0;
    uint8_t *copy = malloc(size);
    if (!copy) return 0;
    memcpy(copy, data, size);
    uint32_t table;
    memcpy(&table, copy + 28, sizeof table);
    if (table > size - PACK_KEY_AT) {
        table = (uint32_t)(size - PACK_KEY_AT);
        pack_put(copy + 28, table, 4);
    }
    memcpy(copy, "nlmpack\n", 8);
    pack_put(copy + 8, 2, 4);
    pack_put(copy + 16, size, 8);
    pack_put(copy + 24, key_bytes, 4);
    memcpy(copy + PACK_KEY_AT, PACK_KEY, key_bytes);
    pack_seal(copy, PACK_KEY_AT + table);
    parse(copy, size);
    free(copy);
    return 0;
}
