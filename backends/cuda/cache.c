/* Compiled kernels in files of the user's cache folder. What a file holds is run by the GPU, so one that others could
 * have written is not read; and as a compiler's work can be done again, nothing that goes wrong here is an error. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels.h"

#define MAGIC "nlm cuda image 1\n"

/* Of a file; the key and the image follow. */
typedef struct header {
    char magic[sizeof MAGIC - 1];
    char reserved[7];
    uint64_t key_bytes, image_bytes;
    uint64_t checksum; /* of both */
} header;

static uint64_t checksum(uint64_t hash, const char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t checksum_of(const char *key, const char *image, size_t bytes) {
    return checksum(checksum(UINT64_C(14695981039346656037), key, strlen(key)), image, bytes);
}

/* The folder: option "cache", or nlm/cuda in the user's cache folder. false: there is none, or none is wanted. */
static bool folder(nlm_cuda_device *d, char *out, size_t bytes) {
    const char *named = d->host->option(d->host->self, "cache");
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    int used;
    if (named && strcmp(named, "none") == 0) return false;
    if (named)
        used = snprintf(out, bytes, "%s", named);
    else if (cache && cache[0] == '/')
        used = snprintf(out, bytes, "%s/nlm/cuda", cache);
    else if (home && home[0] == '/')
        used = snprintf(out, bytes, "%s/.cache/nlm/cuda", home);
    else
        return false;
    return used > 0 && (size_t)used < bytes;
}

static bool path_of(nlm_cuda_device *d, const char *key, char *out, size_t bytes) {
    char in[3072];
    if (!folder(d, in, sizeof in)) return false;
    const uint64_t hash = checksum(UINT64_C(14695981039346656037), key, strlen(key));
    const int used =
        snprintf(out, bytes, "%s/%.*s-%016llx.image", in, (int)strcspn(key, "."), key, (unsigned long long)hash);
    return used > 0 && (size_t)used < bytes;
}

static bool read_all(int file, void *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = read(file, (char *)to + done, bytes - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *from, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        const ssize_t put = write(file, (const char *)from + done, bytes - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        done += (size_t)put;
    }
    return true;
}

/* Regular, of this user or of root, and writable by no one else. */
static bool is_ours(int file, size_t *out_bytes) {
    struct stat s;
    if (fstat(file, &s) != 0 || !S_ISREG(s.st_mode) || (s.st_mode & (S_IWGRP | S_IWOTH))) return false;
    *out_bytes = (size_t)s.st_size;
    return s.st_uid == geteuid() || s.st_uid == 0;
}

static bool read_image(nlm_cuda_device *d, int file, const char *key, char **out_image, size_t *out_bytes) {
    header h;
    size_t size = 0;
    char found[1024];
    if (!is_ours(file, &size) || !read_all(file, &h, sizeof h) || memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
        return false;
    if (h.key_bytes != strlen(key) || h.key_bytes >= sizeof found || h.image_bytes > size ||
        sizeof h + h.key_bytes + h.image_bytes != size || !read_all(file, found, h.key_bytes) ||
        memcmp(found, key, h.key_bytes) != 0)
        return false;
    char *image = d->host->alloc(d->host->self, h.image_bytes + 1, 16);
    if (!image) return false;
    if (!read_all(file, image, h.image_bytes) || checksum_of(key, image, h.image_bytes) != h.checksum) {
        d->host->release(d->host->self, image);
        return false;
    }
    image[h.image_bytes] = '\0';
    *out_image = image;
    *out_bytes = h.image_bytes;
    return true;
}

bool nlm_cuda_cache_load(nlm_cuda_device *d, const char *key, char **out_image, size_t *out_bytes) {
    char path[4096];
    if (!path_of(d, key, path, sizeof path)) return false;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return false;
    const bool is_read = read_image(d, file, key, out_image, out_bytes);
    close(file);
    return is_read;
}

static void make_folders(char *path) {
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
}

/* Written beside and renamed, so that processes at once each find a whole file. */
void nlm_cuda_cache_store(nlm_cuda_device *d, const char *key, const char *image, size_t bytes) {
    char path[4096], beside[4120];
    if (!path_of(d, key, path, sizeof path)) return;
    header h = {.key_bytes = strlen(key), .image_bytes = bytes, .checksum = checksum_of(key, image, bytes)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    make_folders(path);
    const int file = mkostemp(beside, O_CLOEXEC);
    if (file < 0) return;
    const bool is_written =
        write_all(file, &h, sizeof h) && write_all(file, key, h.key_bytes) && write_all(file, image, bytes);
    if (close(file) != 0 || !is_written || rename(beside, path) != 0) unlink(beside);
}
