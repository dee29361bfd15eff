/* Feeds a fuzz target the files given and those of the folders given, once each: what libFuzzer's own
 * main does with a corpus, where there is no libFuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed_file(const char *path, size_t size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1); /* of exactly this size, so that reads past it are seen */
    const int is_read = file && data && fread(data, 1, size, file) == size;
    if (file) fclose(file);
    if (is_read) {
        LLVMFuzzerTestOneInput(data, size);
    } else {
        fprintf(stderr, "%s: cannot be read\n", path);
    }
    free(data);
    return is_read;
}

/* How many inputs a path gave; -1 if one could not be read. */
static int feed(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        fprintf(stderr, "%s: not found\n", path);
        return -1;
    }
    if (!S_ISDIR(info.st_mode)) return feed_file(path, (size_t)info.st_size) ? 1 : -1;
    DIR *folder = opendir(path);
    int count = 0;
    for (struct dirent *entry; folder && count >= 0 && (entry = readdir(folder));) {
        char inner[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        const int fed = feed(inner);
        count = fed < 0 ? -1 : count + fed;
    }
    if (folder) closedir(folder);
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    for (int i = 1; i < argc; i++) {
        const int fed = feed(argv[i]);
        if (fed < 0) return 1;
        count += fed;
    }
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
