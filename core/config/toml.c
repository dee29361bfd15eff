/* Walking a parsed document, and finding the line of a key in its text. */
#include "config/toml.h"

#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *nlm_toml_kind_text(nlm_toml_kind kind) {
    static const char *const texts[] = {
#define KIND_TEXT(name, text) text,
        NLM_TOML_KIND_LIST(KIND_TEXT)
#undef KIND_TEXT
    };
    return (size_t)kind < sizeof texts / sizeof *texts ? texts[kind] : "something else";
}

void nlm_toml_where(char out[NLM_TOML_WHERE_BYTES], const char *file, uint32_t line, uint32_t column) {
    char position[32] = "";
    if (line) snprintf(position, sizeof position, ":%u:%u", line, column);
    const size_t room = NLM_TOML_WHERE_BYTES - 1 - strlen(position);
    const size_t length = strlen(file);
    const bool is_long = length > room;
    const char *tail = is_long ? file + length - (room - 3) : file;
    snprintf(out, NLM_TOML_WHERE_BYTES, "%s%.*s%s", is_long ? "..." : "", (int)room, tail, position);
}

const nlm_toml_node *nlm_toml_get(const nlm_toml_node *table, const char *key) {
    if (table->kind != NLM_TOML_TABLE) return NULL;
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->items[i].key, key) == 0) return &table->items[i];
    }
    return NULL;
}

/* ---- what is refused before parsing ------------------------------------------------------- */

typedef struct cursor {
    const char *text;
    size_t length;
    size_t at;
    uint32_t line;
    size_t line_start;
} cursor;

static void advance(cursor *c) {
    if (c->text[c->at] == '\n') {
        c->line++;
        c->line_start = c->at + 1;
    }
    c->at++;
}

static bool starts_with(const cursor *c, const char *word) {
    const size_t length = strlen(word);
    return c->length - c->at >= length && memcmp(c->text + c->at, word, length) == 0;
}

/* Moves past the string that starts here; to the end of the text if it is not closed. */
static void skip_string(cursor *c) {
    const char quote = c->text[c->at];
    const char fence[4] = {quote, quote, quote, '\0'};
    const bool is_multiline = starts_with(c, fence);
    c->at += is_multiline ? 3 : 1;
    while (c->at < c->length) {
        if (c->text[c->at] == '\\' && quote == '"' && c->at + 1 < c->length) {
            advance(c);
        } else if (is_multiline ? starts_with(c, fence) : c->text[c->at] == quote) {
            break;
        } else if (!is_multiline && c->text[c->at] == '\n') {
            return;
        }
        advance(c);
    }
    /* Up to two quotes may stand before the closing three. */
    for (int i = is_multiline ? 5 : 1; i > 0 && c->at < c->length && c->text[c->at] == quote; i--) c->at++;
}

static void skip_comment(cursor *c) {
    while (c->at < c->length && c->text[c->at] != '\n') c->at++;
}

/* Every part of a dotted key is a table within a table, which tomlplusplus bounds for values but not
 * for keys: its destructor would recurse as deeply as the text says. Returns false with the cursor
 * where a key gets too long. */
static bool keys_are_shallow(cursor *c) {
    unsigned dots = 0;
    while (c->at < c->length) {
        const char byte = c->text[c->at];
        if (byte == '"' || byte == '\'') {
            skip_string(c);
            continue;
        }
        if (byte == '#') {
            skip_comment(c);
            continue;
        }
        if (byte == '.') {
            if (++dots >= NLM_TOML_MAX_DEPTH) return false;
        } else if (strchr("\n=,[]{}", byte)) {
            dots = 0;
        }
        advance(c);
    }
    return true;
}

static nlm_status fail_at(nlm_error *err, nlm_status status, const char *file, const cursor *c, const char *text) {
    char where[NLM_TOML_WHERE_BYTES];
    nlm_toml_where(where, file, c->line, (uint32_t)(c->at - c->line_start + 1));
    return nlm_fail(err, status, where, "%s", text);
}

static nlm_status check_text(const char *text, size_t length, const char *file, nlm_error *err) {
    if (length > NLM_TOML_MAX_BYTES) {
        return nlm_fail(err, NLM_LIMIT, file, "the file has %zu bytes; at most %u are read", length,
                        NLM_TOML_MAX_BYTES);
    }
    cursor c = {.text = text, .length = length, .line = 1};
    if (memchr(text, '\0', length)) {
        while (text[c.at] != '\0') advance(&c);
        return fail_at(err, NLM_BAD_FORMAT, file, &c, "a byte of value 0 is not TOML");
    }
    if (keys_are_shallow(&c)) return NLM_OK;
    return fail_at(err, NLM_BAD_FORMAT, file, &c, "a dotted key has too many parts; at most 32 are read");
}
_Static_assert(NLM_TOML_MAX_DEPTH == 32, "the message above names it");

nlm_status nlm_toml_parse(const char *text, size_t length, const char *file, nlm_arena *arena,
                          const nlm_toml_node **out_root, nlm_error *err) {
    *out_root = NULL;
    if (length == 0) text = "";
    NLM_TRY(check_text(text, length, file, err));
    nlm_toml_node *root = nlm_arena_alloc(arena, sizeof *root);
    if (!root) return nlm_fail(err, NLM_OUT_OF_MEMORY, file, "no memory for the parsed file");
    nlm_toml_fault fault = {0};
    const nlm_status status = nlm_toml_shim_parse(text, length, arena, root, &fault);
    if (status != NLM_OK) {
        char where[NLM_TOML_WHERE_BYTES];
        nlm_toml_where(where, file, fault.line, fault.column);
        return nlm_fail(err, status, where, "%s", fault.text);
    }
    *out_root = root;
    return NLM_OK;
}

/* ---- files -------------------------------------------------------------------------------- */

static nlm_status read_open_file(int fd, const char *path, nlm_arena *arena, const nlm_toml_node **out_root,
                                 nlm_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return nlm_fail_errno(err, NLM_IO, path, "cannot read the file's size");
    if (!S_ISREG(info.st_mode)) return nlm_fail(err, NLM_INVALID_ARGUMENT, path, "not a regular file");
    /* One byte more than allowed, so that a file growing under us is seen to be too long. */
    const size_t room = (size_t)NLM_TOML_MAX_BYTES + 1;
    char *text = malloc(room);
    if (!text) return nlm_fail(err, NLM_OUT_OF_MEMORY, path, "no memory to read the file");
    size_t length = 0;
    ssize_t got = 1;
    while (length < room && got > 0) {
        got = read(fd, text + length, room - length);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            length += (size_t)got;
    }
    nlm_status status;
    if (got < 0) {
        status = nlm_fail_errno(err, NLM_IO, path, "cannot read the file");
    } else if (length == room) {
        status = nlm_fail(err, NLM_LIMIT, path, "the file is longer than %u bytes", NLM_TOML_MAX_BYTES);
    } else {
        status = nlm_toml_parse(text, length, path, arena, out_root, err);
    }
    free(text);
    return status;
}

nlm_status nlm_toml_read(const char *path, nlm_arena *arena, const nlm_toml_node **out_root, nlm_error *err) {
    *out_root = NULL;
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return nlm_fail_errno(err, nlm_status_from_errno(errno), path, "cannot open the file");
    const nlm_status status = read_open_file(fd, path, arena, out_root, err);
    close(fd);
    return status;
}
