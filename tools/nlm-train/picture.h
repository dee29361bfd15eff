/* Pictures of lines and short texts, as vectors or as pixels. */
#ifndef NLM_TRAIN_PICTURE_H
#define NLM_TRAIN_PICTURE_H

#include <nlm/status.h>
#include <stddef.h>

#include "base/str.h"

enum { PICTURE_WIDTH = 720, PICTURE_HEIGHT = 400 };

/* X(NAME, red, green, blue); the background is the first. */
#define PICTURE_COLORS(X)      \
    X(WHITE, 0xFF, 0xFF, 0xFF) \
    X(GRAY, 0xDD, 0xDD, 0xDD)  \
    X(BLACK, 0x00, 0x00, 0x00) \
    X(BLUE, 0x22, 0x77, 0xCC)  \
    X(RED, 0xCC, 0x55, 0x22)

typedef enum picture_color {
#define PICTURE_COLOR(NAME, red, green, blue) PICTURE_##NAME,
    PICTURE_COLORS(PICTURE_COLOR)
#undef PICTURE_COLOR
        PICTURE_N_COLORS
} picture_color;

/* Where a text stands that is drawn at a point of its baseline. */
typedef enum picture_anchor { PICTURE_MIDDLE, PICTURE_END } picture_anchor;

typedef struct picture_point {
    double x, y; /* pixels from the upper left corner */
} picture_point;

/* What is drawn on. A failure shows when it ends: in has_failed of the text, or as less than a whole picture. */
typedef struct picture {
    void *user;
    void (*line)(void *user, const picture_point *points, size_t count, picture_color color, int width);
    void (*text)(void *user, picture_point at, picture_anchor anchor, picture_color color, const char *text);
} picture;

/* picture_svg.c: appended to `out`, which outlives the picture. */
void picture_svg_begin(picture *p, nlm_str *out);
void picture_svg_end(picture *p);

/* picture_png.c: drawn in memory that the end releases; appended to `out` then. Texts have the letters of glyphs.h.
 */
nlm_status picture_png_begin(picture *p, nlm_error *err);
void picture_png_end(picture *p, nlm_str *out);

#endif
