/* Which pack cache belongs to a model on a device. */
#include "model/packed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/status.h"
#include "base/str.h"
#include "model/family.h"

#define SUFFIX     ".nlmpack"
#define STEM_BYTES 100 /* of the model's name; a file name has at most 255 */

static void print_key(const nlm_gguf_identity *id, const nlm_device *device, nlm_str *out) {
    nlm_str_printf(
        out, "model of %" PRIu64 " bytes, changed %" PRId64 ".%09" PRId64 ", checksum %016" PRIx64 "; %s %s, %s",
        id->bytes, id->modified_s, id->modified_ns, id->checksum, device->backend, nlm_device_backend_version(device),
        device->info.arch);
}

/* FOLDER/STEM.BACKEND-HASH.nlmpack: another file for each path of a model and each instruction set, the same one
 * after the model or the backend has changed. */
static void print_path(const char *folder, const char *model, const nlm_device *device, nlm_str *out) {
    char *resolved = realpath(model, NULL);
    const char *path = resolved ? resolved : model, *slash = strrchr(path, '/');
    const char *stem = slash ? slash + 1 : path;
    size_t length = strlen(stem);
    if (length > 5 && strcmp(stem + length - 5, ".gguf") == 0) length -= 5;
    if (length > STEM_BYTES) length = nlm_utf8_complete(stem, STEM_BYTES);
    nlm_checksum sum;
    nlm_checksum_init(&sum);
    nlm_checksum_update(&sum, path, strlen(path) + 1);
    nlm_checksum_update(&sum, device->info.arch, strlen(device->info.arch));
    nlm_str_printf(out, "%s/%.*s.%s-%016" PRIx64 SUFFIX, folder, (int)length, stem, device->backend,
                   nlm_checksum_value(&sum));
    free(resolved);
}

nlm_status nlm_model_use_packed(nlm_model *model, const char *folder, const nlm_device *device, nlm_error *err) {
    const nlm_gguf *gguf = nlm_model_gguf(model);
    nlm_gguf_identity identity;
    if (!nlm_gguf_identify(gguf, &identity)) return NLM_OK;
    nlm_str key = {0}, path = {0};
    nlm_pack_cache *cache = NULL;
    print_key(&identity, device, &key);
    print_path(folder, nlm_gguf_path(gguf), device, &path);
    const nlm_status status =
        key.has_failed || path.has_failed
            ? nlm_fail(err, NLM_OUT_OF_MEMORY, folder, "no memory for a pack cache")
            : nlm_pack_cache_open(path.data, key.data, device, nlm_gguf_is_copy(gguf), &cache, err);
    nlm_str_release(&key);
    nlm_str_release(&path);
    if (status == NLM_OK) nlm_weights_take_cache(nlm_model_weights(model), cache);
    return status;
}

void nlm_model_check_packed(nlm_model *model) {
    nlm_pack_cache_check(nlm_weights_cache(nlm_model_weights(model)));
}

void nlm_model_save_packed(nlm_model *model) {
    nlm_pack_cache_save(nlm_weights_cache(nlm_model_weights(model)));
}
