/* Any bytes as a shared object, examined as before it would be loaded. */
#include "plugin/elf.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nlm_verdict verdict = {0};
    const uint8_t none = 0;
    const nlm_elf_image image = {.data = data ? data : &none, .size = size};
    const bool is_good = nlm_elf_check(&image, &verdict);
    if (is_good == (verdict.reason[0] != '\0')) abort();
    return 0;
}
