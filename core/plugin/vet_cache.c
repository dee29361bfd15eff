/* What earlier vettings found, by file and time of its last change. */
#include "plugin/vet_cache.h"

#include "base/checksum.h"
#include "base/file.h"
#include "base/str.h"
#include "plugin/trust.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME   "plugin-verdicts"
#define MAGIC       "nlm plugin verdicts 1 "
#define MAX_RECORDS 128
#define MAX_BYTES   (64u * 1024)

typedef struct table {
    nlm_vet_record records[MAX_RECORDS]; /* the latest last */
    size_t count;
} table;

bool nlm_vet_identify(const char *path, nlm_vet_identity *out) {
    struct stat info;
    if (stat(path, &info) != 0) return false;
    *out = (nlm_vet_identity){.device = info.st_dev,
                              .inode = info.st_ino,
                              .size = (uint64_t)info.st_size,
                              .changed_s = info.st_ctim.tv_sec, /* st_mtim can be put back */
                              .changed_ns = info.st_ctim.tv_nsec};
    return true;
}

static bool is_same(const nlm_vet_identity *a, const nlm_vet_identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->changed_s == b->changed_s &&
           a->changed_ns == b->changed_ns;
}

/* ---- where -------------------------------------------------------------------------------- */

/* The user's folder of caches; false where there is none. secure_getenv: none in a set-uid program. */
static bool find_base(char out[PATH_MAX]) {
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    int length = 0;
    if (cache && *cache == '/')
        length = snprintf(out, PATH_MAX, "%s", cache);
    else if (home && *home == '/')
        length = snprintf(out, PATH_MAX, "%s/.cache", home);
    return length > 0 && length < PATH_MAX - 64;
}

bool nlm_vet_cache_path(char out[PATH_MAX]) {
    char base[PATH_MAX];
    return find_base(base) && snprintf(out, PATH_MAX, "%s/nlm/" FILE_NAME, base) < PATH_MAX;
}

/* A folder of ours, made if it is missing. One of somebody else's (root with the HOME of a user) is left
 * alone. */
static bool own_folder(const char *path) {
    struct stat info;
    (void)mkdir(path, 0700);
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid();
}

static bool make_folder(void) {
    char base[PATH_MAX], folder[PATH_MAX];
    if (!find_base(base) || !own_folder(base)) return false;
    if (snprintf(folder, sizeof folder, "%s/nlm", base) >= PATH_MAX) return false;
    return own_folder(folder);
}

/* ---- text --------------------------------------------------------------------------------- */

/* DEVICE INODE SIZE SECONDS NANOSECONDS REASON, the reason up to the end of the line. */
static bool parse_line(const char *line, nlm_vet_record *out) {
    nlm_vet_identity *id = &out->identity;
    int used = 0;
    const int n_read = sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64 " %n", &id->device,
                              &id->inode, &id->size, &id->changed_s, &id->changed_ns, &used);
    if (n_read != 5 || used == 0 || strlen(line + used) >= sizeof out->reason) return false;
    snprintf(out->reason, sizeof out->reason, "%s", line + used);
    return true;
}

static bool parse_lines(char *text, table *out) {
    while (*text) {
        char *end = strchr(text, '\n');
        if (!end || out->count == MAX_RECORDS) return false;
        *end = '\0';
        if (!parse_line(text, &out->records[out->count++])) return false;
        text = end + 1;
    }
    return true;
}

/* The first line holds the checksum of the others. */
static bool parse(char *text, table *out) {
    const size_t magic = strlen(MAGIC);
    char *body = strchr(text, '\n');
    if (!body || strncmp(text, MAGIC, magic) != 0) return false;
    *body++ = '\0';
    char expected[17];
    snprintf(expected, sizeof expected, "%016" PRIx64, nlm_checksum_of(body, strlen(body)));
    return strcmp(text + magic, expected) == 0 && parse_lines(body, out);
}

static void print(const table *all, nlm_str *out) {
    nlm_str body = {0};
    for (size_t i = 0; i < all->count; i++) {
        const nlm_vet_identity *id = &all->records[i].identity;
        nlm_str_printf(&body, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %s\n", id->device,
                       id->inode, id->size, id->changed_s, id->changed_ns, all->records[i].reason);
    }
    out->has_failed = body.has_failed || !body.data;
    if (!out->has_failed) {
        nlm_str_printf(out, MAGIC "%016" PRIx64 "\n%s", nlm_checksum_of(body.data, body.length), body.data);
    }
    nlm_str_release(&body);
}

/* ---- file --------------------------------------------------------------------------------- */

static bool read_text(char **out) {
    char path[PATH_MAX], resolved[PATH_MAX];
    nlm_verdict verdict = {0};
    nlm_file_map map;
    *out = NULL;
    if (!nlm_vet_cache_path(path) || !nlm_trust_check(path, resolved, &verdict)) return false;
    if (nlm_file_map_open(resolved, &map, NULL) != NLM_OK) return false;
    char *text = map.size > 0 && map.size <= MAX_BYTES ? malloc(map.size + 1) : NULL;
    if (text) {
        memcpy(text, map.data, map.size);
        text[map.size] = '\0';
    }
    nlm_file_map_close(&map);
    *out = text;
    return text != NULL;
}

static void read_table(table *out) {
    char *text;
    out->count = 0;
    if (!read_text(&text)) return;
    if (!parse(text, out)) out->count = 0;
    free(text);
}

static void write_table(const table *all) {
    char path[PATH_MAX];
    nlm_str text = {0};
    nlm_file_writer *writer = NULL;
    print(all, &text);
    if (!text.has_failed && make_folder() && nlm_vet_cache_path(path) &&
        nlm_file_writer_create_private(path, &writer, NULL) == NLM_OK &&
        nlm_file_writer_write(writer, text.data, text.length, NULL) == NLM_OK) {
        (void)nlm_file_writer_commit(writer, NULL);
    }
    nlm_file_writer_destroy(writer);
    nlm_str_release(&text);
}

static nlm_vet_record *find(table *all, const nlm_vet_identity *identity) {
    for (size_t i = 0; i < all->count; i++) {
        if (is_same(&all->records[i].identity, identity)) return &all->records[i];
    }
    return NULL;
}

bool nlm_vet_cache_find(const nlm_vet_identity *identity, nlm_vet_record *out) {
    table *all = malloc(sizeof *all);
    if (!all) return false;
    read_table(all);
    const nlm_vet_record *found = find(all, identity);
    if (found) *out = *found;
    free(all);
    return found != NULL;
}

void nlm_vet_cache_store(const nlm_vet_record *record) {
    table *all = malloc(sizeof *all);
    if (!all) return;
    read_table(all);
    nlm_vet_record *at = find(all, &record->identity);
    if (!at && all->count == MAX_RECORDS) {
        memmove(all->records, all->records + 1, (MAX_RECORDS - 1) * sizeof *all->records); /* the oldest goes */
        all->count--;
    }
    if (!at) at = &all->records[all->count++];
    *at = *record;
    for (char *c = at->reason; *c; c++) {
        if ((unsigned char)*c < ' ') *c = ' ';
    }
    write_table(all);
    free(all);
}
