/* Pictures as vectors. */
#include "nlm-train/picture.h"

static const unsigned colors[PICTURE_N_COLORS] = {
#define COLOR(NAME, red, green, blue) red << 16 | green << 8 | blue,
    PICTURE_COLORS(COLOR)
#undef COLOR
};

static void line(void *user, const picture_point *points, size_t count, picture_color color, int width) {
    nlm_str *out = user;
    nlm_str_printf(out, "<polyline fill=\"none\" stroke=\"#%06x\" stroke-width=\"%d\" points=\"", colors[color],
                   width);
    for (size_t i = 0; i < count; i++) nlm_str_printf(out, "%.1f,%.1f ", points[i].x, points[i].y);
    nlm_str_puts(out, "\"/>\n");
}

static void text(void *user, picture_point at, picture_anchor anchor, picture_color color, const char *text) {
    nlm_str_printf(user, "<text x=\"%.1f\" y=\"%.1f\" fill=\"#%06x\" text-anchor=\"%s\">%s</text>\n", at.x, at.y,
                   colors[color], anchor == PICTURE_END ? "end" : "middle", text);
}

void picture_svg_begin(picture *p, nlm_str *out) {
    *p = (picture){out, line, text};
    nlm_str_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
                   "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#%06x\"/>\n",
                   PICTURE_WIDTH, PICTURE_HEIGHT, colors[PICTURE_WHITE]);
}

void picture_svg_end(picture *p) {
    nlm_str_puts(p->user, "</svg>\n");
}
