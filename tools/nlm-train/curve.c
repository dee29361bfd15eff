/* The curve of the loss, as a picture. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/status.h"
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

enum { WIDTH = 720, HEIGHT = 400, LEFT = 60, TOP = 20, RIGHT = 700, BOTTOM = 360 };

typedef struct frame {
    double last, least, most; /* steps from 0; losses */
} frame;

static double x_of(const frame *f, double step) {
    return LEFT + (RIGHT - LEFT) * step / f->last;
}
static double y_of(const frame *f, double loss) {
    return BOTTOM - (BOTTOM - TOP) * (loss - f->least) / (f->most - f->least);
}

/* At most a point a pixel: the mean of those that fall on one. */
static void draw(nlm_str *out, const frame *f, const points *p, const char *style) {
    const size_t stride = p->count / (RIGHT - LEFT) + 1;
    nlm_str_printf(out, "<polyline fill=\"none\" %s points=\"", style);
    for (size_t i = 0; i < p->count; i += stride) {
        double sum = 0;
        size_t n = 0;
        for (; n < stride && i + n < p->count; n++) sum += p->losses[i + n];
        nlm_str_printf(out, "%.1f,%.1f ", x_of(f, p->steps[i + n - 1]), y_of(f, sum / (double)n));
    }
    nlm_str_puts(out, "\"/>\n");
}

static void draw_axes(nlm_str *out, const frame *f) {
    for (int i = 0; i <= 4; i++) {
        const double loss = f->least + (f->most - f->least) * i / 4, step = f->last * i / 4;
        nlm_str_printf(out,
                       "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                       "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.2f</text>"
                       "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                       LEFT, y_of(f, loss), RIGHT, y_of(f, loss), LEFT - 6, y_of(f, loss) + 4, loss, x_of(f, step),
                       BOTTOM + 18, step);
    }
    nlm_str_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", (LEFT + RIGHT) / 2,
                   HEIGHT - 6);
}

static void draw_all(nlm_str *out, const points *train, const points *validation) {
    frame f = {.last = train->steps[train->count - 1], .least = INFINITY, .most = -INFINITY};
    for (size_t i = 0; i < train->count; i++) {
        f.least = fmin(f.least, train->losses[i]);
        f.most = fmax(f.most, train->losses[i]);
    }
    for (size_t i = 0; i < validation->count; i++) f.least = fmin(f.least, validation->losses[i]);
    if (!(f.most > f.least)) f.most = f.least + 1;
    nlm_str_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
                   "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                   WIDTH, HEIGHT);
    draw_axes(out, &f);
    draw(out, &f, train, "stroke=\"#27c\" stroke-width=\"1\"");
    draw(out, &f, validation, "stroke=\"#c52\" stroke-width=\"2\"");
    nlm_str_printf(out,
                   "<text x=\"%d\" y=\"%d\" fill=\"#27c\" text-anchor=\"end\">training loss</text>\n"
                   "<text x=\"%d\" y=\"%d\" fill=\"#c52\" text-anchor=\"end\">validation loss</text>\n</svg>\n",
                   RIGHT, TOP + 12, RIGHT, TOP + 28);
}

static nlm_status write_text(const char *path, const nlm_str *text, nlm_error *err) {
    nlm_file_writer *w = NULL;
    NLM_TRY(nlm_file_writer_create(path, &w, err));
    nlm_status status = nlm_file_writer_write(w, text->data, text->length, err);
    if (status == NLM_OK) status = nlm_file_writer_commit(w, err);
    nlm_file_writer_destroy(w);
    return status;
}

nlm_status report_curve(run *r, nlm_error *err) {
    nlm_str log_path = {0}, path = {0}, text = {0};
    points train = {0}, validation = {0};
    FILE *log = run_path(r, "log.jsonl", &log_path) ? fopen(log_path.data, "re") : NULL;
    nlm_status status = NLM_OK;
    if (log) {
        read_points(log, &train, &validation);
        fclose(log);
    }
    if (train.count > 0 && run_path(r, "loss.svg", &path)) {
        draw_all(&text, &train, &validation);
        if (text.data) status = write_text(path.data, &text, err);
    }
    free(train.steps);
    free(train.losses);
    free(validation.steps);
    free(validation.losses);
    nlm_str_release(&log_path);
    nlm_str_release(&path);
    nlm_str_release(&text);
    return status;
}
