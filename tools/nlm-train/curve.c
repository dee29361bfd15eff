/* The curve of the loss, as a picture of two kinds. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/status.h"
#include "nlm-train/picture.h"
#include "nlm-train/run.h"

typedef struct points {
    double *steps, *losses;
    size_t count, capacity;
} points;

static void add_point(points *p, double step, double loss) {
    if (p->count == p->capacity) {
        const size_t more = p->capacity ? p->capacity * 2 : 1024;
        double *steps = realloc(p->steps, more * sizeof *steps);
        if (steps) p->steps = steps;
        double *losses = realloc(p->losses, more * sizeof *losses);
        if (losses) p->losses = losses;
        if (!steps || !losses) return;
        p->capacity = more;
    }
    p->steps[p->count] = step;
    p->losses[p->count++] = loss;
}

static void read_points(FILE *log, points *train, points *validation) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, log) > 0) {
        double step, loss;
        if (sscanf(line, "{\"step\":%lf,\"loss\":%lf", &step, &loss) == 2) add_point(train, step, loss);
        if (sscanf(line, "{\"step\":%lf,\"validation_loss\":%lf", &step, &loss) == 2)
            add_point(validation, step, loss);
    }
    free(line);
}

enum { LEFT = 60, TOP = 20, RIGHT = 700, BOTTOM = 360 };

typedef struct frame {
    double last, least, most; /* steps from 0; losses */
} frame;

static picture_point at(const frame *f, double step, double loss) {
    return (picture_point){LEFT + (RIGHT - LEFT) * step / f->last,
                           BOTTOM - (BOTTOM - TOP) * (loss - f->least) / (f->most - f->least)};
}

/* At most a point a pixel: the mean of those that fall on one. */
static void draw(const picture *out, const frame *f, const points *p, picture_color color, int width) {
    picture_point line[RIGHT - LEFT + 1];
    const size_t stride = p->count / (RIGHT - LEFT) + 1;
    size_t count = 0;
    for (size_t i = 0; i < p->count; i += stride) {
        double sum = 0;
        size_t n = 0;
        for (; n < stride && i + n < p->count; n++) sum += p->losses[i + n];
        line[count++] = at(f, p->steps[i + n - 1], sum / (double)n);
    }
    if (count > 0) out->line(out->user, line, count, color, width);
}

static void draw_axes(const picture *out, const frame *f) {
    for (int i = 0; i <= 4; i++) {
        const double loss = f->least + (f->most - f->least) * i / 4, step = f->last * i / 4;
        const picture_point ends[2] = {at(f, 0, loss), at(f, f->last, loss)};
        const picture_point beside = {LEFT - 6, ends[0].y + 4}, below = {at(f, step, loss).x, BOTTOM + 18};
        char text[48];
        out->line(out->user, ends, 2, PICTURE_GRAY, 1);
        snprintf(text, sizeof text, "%.2f", loss);
        out->text(out->user, beside, PICTURE_END, PICTURE_BLACK, text);
        snprintf(text, sizeof text, "%.0f", step);
        out->text(out->user, below, PICTURE_MIDDLE, PICTURE_BLACK, text);
    }
    const picture_point middle = {(LEFT + RIGHT) / 2.0, PICTURE_HEIGHT - 6};
    out->text(out->user, middle, PICTURE_MIDDLE, PICTURE_BLACK, "step");
}

static frame frame_of(const points *train, const points *validation) {
    frame f = {.last = train->steps[train->count - 1], .least = INFINITY, .most = -INFINITY};
    for (size_t i = 0; i < train->count; i++) {
        f.least = fmin(f.least, train->losses[i]);
        f.most = fmax(f.most, train->losses[i]);
    }
    for (size_t i = 0; i < validation->count; i++) {
        f.least = fmin(f.least, validation->losses[i]);
        f.most = fmax(f.most, validation->losses[i]);
    }
    if (!(f.most > f.least)) f.most = f.least + 1;
    return f;
}

static void draw_all(const picture *out, const points *train, const points *validation) {
    const frame f = frame_of(train, validation);
    draw_axes(out, &f);
    draw(out, &f, train, PICTURE_BLUE, 1);
    draw(out, &f, validation, PICTURE_RED, 2);
    out->text(out->user, (picture_point){RIGHT, TOP + 12}, PICTURE_END, PICTURE_BLUE, "training loss");
    out->text(out->user, (picture_point){RIGHT, TOP + 28}, PICTURE_END, PICTURE_RED, "validation loss");
}

static nlm_status write_file(const run *r, const char *name, const nlm_str *data, nlm_error *err) {
    nlm_str path = {0};
    nlm_file_writer *w = NULL;
    nlm_status status = !data->has_failed && data->data && run_path(r, name, &path)
                            ? nlm_file_writer_create(path.data, &w, err)
                            : nlm_fail(err, NLM_OUT_OF_MEMORY, name, "no memory");
    if (status == NLM_OK) status = nlm_file_writer_write(w, data->data, data->length, err);
    if (status == NLM_OK) status = nlm_file_writer_commit(w, err);
    nlm_file_writer_destroy(w);
    nlm_str_release(&path);
    return status;
}

static nlm_status write_pictures(const run *r, const points *train, const points *validation, nlm_error *err) {
    nlm_str svg = {0}, png = {0};
    picture vectors, pixels;
    picture_svg_begin(&vectors, &svg);
    draw_all(&vectors, train, validation);
    picture_svg_end(&vectors);
    nlm_status status = write_file(r, "loss.svg", &svg, err);
    if (status == NLM_OK) status = picture_png_begin(&pixels, err);
    if (status == NLM_OK) {
        draw_all(&pixels, train, validation);
        picture_png_end(&pixels, &png);
        status = write_file(r, "loss.png", &png, err);
    }
    nlm_str_release(&svg);
    nlm_str_release(&png);
    return status;
}

nlm_status report_curve(run *r, nlm_error *err) {
    nlm_str log_path = {0};
    points train = {0}, validation = {0};
    FILE *log = run_path(r, "log.jsonl", &log_path) ? fopen(log_path.data, "re") : NULL;
    if (log) {
        read_points(log, &train, &validation);
        fclose(log);
    }
    const nlm_status status = train.count > 0 ? write_pictures(r, &train, &validation, err) : NLM_OK;
    free(train.steps);
    free(train.losses);
    free(validation.steps);
    free(validation.losses);
    nlm_str_release(&log_path);
    return status;
}
