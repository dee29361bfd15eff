/* Pictures as pixels: PNG (ISO/IEC 15948) with a palette, 4 bits a pixel, in deflate blocks that are stored as they
 * are (RFC 1950 and 1951). */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-train/glyphs.h"
#include "nlm-train/picture.h"

/* ---- drawing ------------------------------------------------------------------------------------- */

typedef struct canvas {
    unsigned char pixels[PICTURE_HEIGHT][PICTURE_WIDTH]; /* colours */
} canvas;

static void put(canvas *c, long x, long y, picture_color color) {
    if (x >= 0 && x < PICTURE_WIDTH && y >= 0 && y < PICTURE_HEIGHT) c->pixels[y][x] = (unsigned char)color;
}

static void put_square(canvas *c, double x, double y, picture_color color, int width) {
    const long left = lround(x - 0.5 * width), top = lround(y - 0.5 * width);
    for (int i = 0; i < width * width; i++) put(c, left + i % width, top + i / width, color);
}

/* A square at every pixel between the points. */
static void line(void *user, const picture_point *points, size_t count, picture_color color, int width) {
    for (size_t i = 0; i < count; i++) {
        const picture_point a = points[i > 0 ? i - 1 : 0], b = points[i];
        const double longest = fmin(fmax(fabs(b.x - a.x), fabs(b.y - a.y)), PICTURE_WIDTH + PICTURE_HEIGHT);
        const int steps = 1 + (int)longest;
        for (int s = 0; s <= steps; s++) {
            const double share = (double)s / steps;
            put_square(user, a.x + share * (b.x - a.x), a.y + share * (b.y - a.y), color, width);
        }
    }
}

static void put_letter(canvas *c, long x, long y, picture_color color, char letter) {
    for (size_t g = 0; g < sizeof glyphs / sizeof *glyphs; g++) {
        if (glyphs[g].letter != letter) continue;
        for (int i = 0; i < GLYPH_WIDTH * GLYPH_HEIGHT; i++) {
            const int row = i / GLYPH_WIDTH, column = i % GLYPH_WIDTH;
            if (glyphs[g].rows[row] >> (GLYPH_WIDTH - 1 - column) & 1) put(c, x + column, y + row, color);
        }
    }
}

static void text(void *user, picture_point at, picture_anchor anchor, picture_color color, const char *text) {
    const size_t length = strlen(text);
    const double width = (double)length * GLYPH_ADVANCE, left = at.x - (anchor == PICTURE_END ? width : width / 2);
    for (size_t i = 0; i < length; i++)
        put_letter(user, lround(left) + (long)i * GLYPH_ADVANCE, lround(at.y) - GLYPH_BASELINE, color, text[i]);
}

/* ---- the file -------------------------------------------------------------------------------------- */

enum { ROW_BYTES = 1 + PICTURE_WIDTH / 2, DATA_BYTES = ROW_BYTES * PICTURE_HEIGHT, MOST_STORED = 65535 };

static void put_u32(nlm_str *out, uint32_t value) {
    const char bytes[] = {(char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value};
    nlm_str_append(out, bytes, sizeof bytes);
}

/* CRC-32 of IEEE 802.3, as PNG has it. */
static uint32_t crc_of(const char *data, size_t length) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < length; i++) {
        crc ^= (unsigned char)data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return crc ^ 0xFFFFFFFFu;
}

static void put_chunk(nlm_str *out, const char *type, const nlm_str *data) {
    nlm_str body = {0};
    nlm_str_append(&body, type, 4);
    if (data->length > 0) nlm_str_append(&body, data->data, data->length);
    if (body.has_failed || data->has_failed) out->has_failed = true;
    put_u32(out, (uint32_t)data->length);
    if (body.data) {
        nlm_str_append(out, body.data, body.length);
        put_u32(out, crc_of(body.data, body.length));
    }
    nlm_str_release(&body);
}

/* Rows of pixels, each behind the number of its filter, none. */
static void pack_rows(const canvas *c, unsigned char *out) {
    for (int y = 0; y < PICTURE_HEIGHT; y++) {
        *out++ = 0;
        for (int x = 0; x < PICTURE_WIDTH; x += 2)
            *out++ = (unsigned char)(c->pixels[y][x] << 4 | c->pixels[y][x + 1]);
    }
}

static void put_zlib(nlm_str *out, const unsigned char *data, size_t length) {
    uint32_t a = 1, b = 0; /* Adler-32 */
    for (size_t i = 0; i < length; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    nlm_str_append(out, "\x78\x01", 2);
    for (size_t at = 0; at < length;) {
        const size_t left = length - at, n = left < MOST_STORED ? left : MOST_STORED;
        const char head[] = {(char)(n == left), (char)(n & 255), (char)(n >> 8), (char)(~n & 255),
                             (char)(~n >> 8 & 255)};
        nlm_str_append(out, head, sizeof head);
        nlm_str_append(out, (const char *)data + at, n);
        at += n;
    }
    put_u32(out, b << 16 | a);
}

static void put_file(const canvas *c, unsigned char *rows, nlm_str *out) {
    static const char signature[] = "\x89PNG\r\n\x1a\n", kind[] = {4, 3, 0, 0, 0}; /* bits, palette, and defaults */
    static const unsigned char palette[] = {
#define COLOR(NAME, red, green, blue) red, green, blue,
        PICTURE_COLORS(COLOR)
#undef COLOR
    };
    nlm_str header = {0}, colors = {0}, data = {0}, nothing = {0};
    put_u32(&header, PICTURE_WIDTH);
    put_u32(&header, PICTURE_HEIGHT);
    nlm_str_append(&header, kind, sizeof kind);
    nlm_str_append(&colors, (const char *)palette, sizeof palette);
    pack_rows(c, rows);
    put_zlib(&data, rows, DATA_BYTES);
    nlm_str_append(out, signature, sizeof signature - 1);
    put_chunk(out, "IHDR", &header);
    put_chunk(out, "PLTE", &colors);
    put_chunk(out, "IDAT", &data);
    put_chunk(out, "IEND", &nothing);
    nlm_str_release(&header);
    nlm_str_release(&colors);
    nlm_str_release(&data);
}

nlm_status picture_png_begin(picture *p, nlm_error *err) {
    *p = (picture){calloc(1, sizeof(canvas)), line, text};
    return p->user ? NLM_OK : nlm_fail(err, NLM_OUT_OF_MEMORY, "picture", "no memory for %zu bytes", sizeof(canvas));
}

void picture_png_end(picture *p, nlm_str *out) {
    unsigned char *rows = malloc(DATA_BYTES);
    if (rows)
        put_file(p->user, rows, out);
    else
        out->has_failed = true;
    free(rows);
    free(p->user);
    p->user = NULL;
}
