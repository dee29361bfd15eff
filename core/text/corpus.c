/* Reading files and folders of text, and JSON lines. */
#include "text/corpus.h"

#include "base/status.h"

#include <cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES  ((size_t)1 << 18)   /* a text that is longer is cut */
#define BATCH_BYTES  ((size_t)4 << 20)   /* of texts handed out together */
#define PART_MAX     ((size_t)256 << 20) /* a line, or a text without a place to cut it: a device may have no end */
#define SNIFF_BYTES  4096
#define FOLDER_DEPTH 64

typedef struct part {
    size_t offset, length; /* in reader.batch */
    bool is_start;
} part;

typedef struct reader {
    const nlm_corpus_options *options;
    nlm_corpus_fn take;
    void *user;
    nlm_str batch; /* texts to be handed out */
    part *parts;
    nlm_train_text *texts;
    size_t part_count, part_capacity;
} reader;

static nlm_status out_of_memory(nlm_error *err, const char *path) {
    return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to read it");
}

static nlm_status flush(reader *r, nlm_error *err) {
    for (size_t i = 0; i < r->part_count; i++) {
        r->texts[i] = (nlm_train_text){r->batch.data + r->parts[i].offset, r->parts[i].length, r->parts[i].is_start};
    }
    const nlm_status status = r->part_count ? r->take(r->user, r->texts, r->part_count, err) : NLM_OK;
    r->part_count = r->batch.length = 0;
    return status;
}

/* Notes that the last `length` bytes of the batch are a text, or a part of one. */
static nlm_status add_part(reader *r, const char *path, size_t offset, size_t length, bool is_start, nlm_error *err) {
    if (length == 0) return NLM_OK;
    if (r->part_count == r->part_capacity) {
        const size_t capacity = r->part_capacity ? 2 * r->part_capacity : 1024;
        part *parts = reallocarray(r->parts, capacity, sizeof *parts);
        if (parts) r->parts = parts;
        nlm_train_text *texts = reallocarray(r->texts, capacity, sizeof *texts);
        if (texts) r->texts = texts;
        if (!parts || !texts) return out_of_memory(err, path);
        r->part_capacity = capacity;
    }
    r->parts[r->part_count++] = (part){offset, length, is_start};
    return NLM_OK;
}

/* A file as it is read: what was not handed on yet waits in `pending`. */
typedef struct source {
    reader *reader;
    const char *path;
    nlm_str pending;
    uint64_t lines;   /* handed on */
    bool has_started; /* some of the text was handed on */
    size_t n_uncut;   /* the bytes of `pending` known to have no place to cut, or no end of a line */
} source;

static nlm_status put_text(source *s, const char *text, size_t length, bool is_start, nlm_error *err) {
    reader *r = s->reader;
    const size_t offset = r->batch.length;
    nlm_str_append(&r->batch, text, length);
    if (r->batch.has_failed) return out_of_memory(err, s->path);
    NLM_TRY(add_part(r, s->path, offset, length, is_start, err));
    return r->batch.length >= BATCH_BYTES ? flush(r, err) : NLM_OK;
}

/* One text, in parts. Returns in *out_done how much was handed on: all of it at the end of the file. */
static nlm_status put_whole(source *s, const char *text, size_t length, bool is_end, size_t *out_done,
                            nlm_error *err) {
    const bool is_spm = s->reader->options->is_spm;
    size_t done = 0;
    while (length - done > CHUNK_BYTES) {
        const size_t cut = nlm_bpe_train_cut(is_spm, text + done, s->n_uncut, length - done);
        s->n_uncut = cut ? 0 : length - done;
        if (cut == 0) break;
        NLM_TRY(put_text(s, text + done, cut, !s->has_started, err));
        s->has_started = true;
        done += cut;
    }
    if (is_end && done < length) {
        NLM_TRY(put_text(s, text + done, length - done, !s->has_started, err));
        done = length;
    }
    *out_done = done;
    return NLM_OK;
}

static nlm_status put_json(source *s, const char *line, size_t length, nlm_error *err) {
    size_t at = 0;
    while (at < length && strchr(" \t\r\n", line[at])) at++;
    if (at == length) return NLM_OK;
    const char *field = s->reader->options->field;
    cJSON *object = cJSON_ParseWithLength(line, length);
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, field);
    nlm_status status;
    if (cJSON_IsString(value)) {
        status = put_text(s, value->valuestring, strlen(value->valuestring), true, err);
    } else {
        status =
            nlm_fail(err, NLM_BAD_FORMAT, s->path, "line %llu is %s; expected a JSON object whose '%s' is a text",
                     (unsigned long long)s->lines + 1, object ? "an object without such a text" : "no JSON", field);
    }
    cJSON_Delete(object);
    return status;
}

static nlm_status put_lines(source *s, bool is_json, const char *text, size_t length, bool is_end, size_t *out_done,
                            nlm_error *err) {
    size_t done = 0;
    while (done < length) {
        const size_t from = done + s->n_uncut;
        const char *newline = memchr(text + from, '\n', length - from);
        s->n_uncut = newline ? 0 : length - done;
        if (!newline && !is_end) break;
        const size_t line = newline ? (size_t)(newline - text) + 1 - done : length - done;
        NLM_TRY((is_json ? put_json(s, text + done, line, err) : put_text(s, text + done, line, true, err)));
        s->lines++;
        done += line;
    }
    *out_done = done;
    return NLM_OK;
}

static bool ends_with(const char *path, const char *ending) {
    const size_t length = strlen(path), tail = strlen(ending);
    return length >= tail && strcmp(path + length - tail, ending) == 0;
}

/* Reads on; *out_is_end at the end of the file. */
static nlm_status fill(source *s, int fd, bool *out_is_end, nlm_error *err) {
    char bytes[1 << 16];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) < 0 && errno == EINTR) {
        NLM_TRY(s->reader->take(s->reader->user, NULL, 0, err));
    }
    if (got < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), s->path, "cannot be read");
    nlm_str_append(&s->pending, bytes, (size_t)got);
    if (s->pending.has_failed) return out_of_memory(err, s->path);
    *out_is_end = got == 0;
    return NLM_OK;
}

static nlm_status read_all(source *s, int fd, bool skips_binary, nlm_error *err) {
    const bool is_json = ends_with(s->path, ".jsonl") || ends_with(s->path, ".ndjson");
    const bool has_lines = is_json || s->reader->options->has_lines;
    bool is_first = true;
    for (bool is_end = false; !is_end; is_first = false) {
        NLM_TRY(fill(s, fd, &is_end, err));
        const size_t length = s->pending.length;
        const char *text = s->pending.data;
        if (is_first && skips_binary && memchr(text, '\0', length < SNIFF_BYTES ? length : SNIFF_BYTES))
            return NLM_OK;
        size_t done;
        NLM_TRY(has_lines ? put_lines(s, is_json, text, length, is_end, &done, err)
                          : put_whole(s, text, length, is_end, &done, err));
        s->pending.length -= done;
        if (s->pending.length > PART_MAX) {
            return nlm_fail(err, NLM_LIMIT, s->path, "more than %zu bytes are one %s; is it text?", PART_MAX,
                            has_lines ? "line" : "word");
        }
        if (done > 0) memmove(s->pending.data, text + done, s->pending.length);
    }
    return NLM_OK;
}

static nlm_status read_file(reader *r, const char *path, int fd, bool skips_binary, nlm_error *err) {
    source s = {.reader = r, .path = path};
    const nlm_status status = read_all(&s, fd, skips_binary, err);
    nlm_str_release(&s.pending);
    return status;
}

static nlm_status read_path(reader *r, const char *path, unsigned depth, nlm_error *err);

static int is_shown(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static nlm_status read_entry(reader *r, const char *folder, const char *name, unsigned depth, nlm_error *err) {
    nlm_str path = {0};
    nlm_str_printf(&path, "%s%s%s", folder, ends_with(folder, "/") ? "" : "/", name);
    if (path.has_failed) return out_of_memory(err, folder);
    struct stat link;
    const bool is_there = lstat(path.data, &link) == 0;
    const bool is_link = is_there && S_ISLNK(link.st_mode);
    struct stat target;
    const bool is_text = is_there && stat(path.data, &target) == 0 &&
                         (S_ISREG(target.st_mode) || (S_ISDIR(target.st_mode) && !is_link));
    const nlm_status status = is_text ? read_path(r, path.data, depth + 1, err) : NLM_OK;
    nlm_str_release(&path);
    return status;
}

static nlm_status read_folder(reader *r, const char *path, unsigned depth, nlm_error *err) {
    if (depth > FOLDER_DEPTH) return nlm_fail(err, NLM_LIMIT, path, "folders within folders, %u deep", FOLDER_DEPTH);
    struct dirent **entries;
    const int count = scandir(path, &entries, is_shown, compare_names);
    if (count < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot be listed");
    nlm_status status = NLM_OK;
    for (int i = 0; i < count; i++) {
        if (status == NLM_OK) status = read_entry(r, path, entries[i]->d_name, depth, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* depth 0 is what the user named: it is read whatever it holds. */
static nlm_status read_path(reader *r, const char *path, unsigned depth, nlm_error *err) {
    const bool is_stdin = depth == 0 && strcmp(path, "-") == 0;
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot be opened");
    struct stat about;
    nlm_status status;
    if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) {
        status = read_folder(r, path, depth, err);
    } else {
        status = read_file(r, is_stdin ? "stdin" : path, fd, depth > 0, err);
    }
    if (!is_stdin) close(fd);
    return status;
}

nlm_status nlm_corpus_read(const char *path, const nlm_corpus_options *options, nlm_corpus_fn take, void *user,
                           nlm_error *err) {
    reader r = {.options = options, .take = take, .user = user};
    nlm_status status = read_path(&r, path, 0, err);
    if (status == NLM_OK) status = flush(&r, err);
    nlm_str_release(&r.batch);
    free(r.parts);
    free(r.texts);
    return status;
}
