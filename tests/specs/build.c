/* Makes a case of a line of the tables: tensors, arguments, contents. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "spec.h"

#define APPENDED_BYTES 8 /* of a field */

/* SplitMix64 (Steele, Lea & Flood 2014). */
uint64_t spec_random(spec_instance *in) {
    uint64_t z = in->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}
int64_t spec_random_below(spec_instance *in, int64_t n) {
    return (int64_t)(spec_random(in) >> 1) % n;
}
double spec_uniform(spec_instance *in) {
    return (double)(spec_random(in) >> 11) * 0x1p-53;
}
double spec_normal(spec_instance *in) {
    const double radius = sqrt(-2 * log(1 - spec_uniform(in)));
    return radius * cos(6.283185307179586 * spec_uniform(in));
}

/* FNV-1a: a case's contents depend on its name, not on which other cases run. */
static uint64_t hash(const char *text, uint64_t seed) {
    uint64_t h = 0xCBF29CE484222325u ^ seed;
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return h;
}

/* Quantised rows stay whole blocks. */
static void draw_sizes(spec_instance *in) {
    for (int i = 0; i < 26; i++) {
        int64_t *size = &in->c.dims[i];
        const int64_t step = *size % 256 == 0 ? 256 : *size % 32 == 0 ? 32 : 1;
        if (*size > 0) *size = step * (1 + spec_random_below(in, *size / step));
    }
}

static nlm_status allocate(spec_instance *in, nlm_error *err) {
    for (int i = 0; i < in->n_tensors; i++) {
        spec_tensor *t = &in->tensors[i];
        if (t->shares >= 0) {
            t->desc.data = in->tensors[t->shares].image;
            continue;
        }
        t->image = malloc(t->bytes + 1);
        if (!t->image) return nlm_fail(err, NLM_OUT_OF_MEMORY, in->c.name, "no memory for %s", t->field->name);
        memset(t->image, 0xFF, t->bytes);
        t->desc.data = t->image;
    }
    return NLM_OK;
}

/* Copies scalars and flags and points the args at the tensors. */
static void bind(spec_instance *in) {
    in->args = in->c.args;
    for (int i = 0; i < in->n_tensors; i++)
        nlm_args_set_tensor(&in->args, in->tensors[i].field, &in->tensors[i].desc);
    const uint32_t end = in->c.spec->args_bytes, room = sizeof in->args - end;
    if (!in->c.is_grown) return;
    memset((char *)&in->args + end, 0xA5, room < APPENDED_BYTES ? room : APPENDED_BYTES);
    in->args.head.struct_size += APPENDED_BYTES;
}

nlm_status spec_build(const spec_case *c, uint64_t seed, spec_instance *out, nlm_error *err) {
    memset(out, 0, sizeof *out);
    out->c = *c;
    out->random = hash(c->name, seed);
    if (out->c.is_drawn) draw_sizes(out);
    nlm_status status = spec_shape_tensors(out, err);
    if (status == NLM_OK) status = allocate(out, err);
    if (status != NLM_OK) {
        spec_release(out);
        return status;
    }
    spec_fill_tensors(out);
    spec_fill_batch(out);
    bind(out);
    return NLM_OK;
}

void spec_release(spec_instance *in) {
    for (int i = 0; i < in->n_tensors; i++) free(in->tensors[i].image);
    in->n_tensors = 0;
}

spec_tensor *spec_find(spec_instance *in, const char *field) {
    for (int i = 0; i < in->n_tensors; i++) {
        if (strcmp(in->tensors[i].field->name, field) == 0) return &in->tensors[i];
    }
    return NULL;
}
