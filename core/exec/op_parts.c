/* Reading what a fused op stands for from the table of ops. */
#include "exec/op_parts.h"

#include <string.h>

#include "plugin/device.h"

/* "#1/2": temporary 1, its second slice; "xz/1" a slice of the fused op's xz; "w_q" its w_q. */
static bool read_value(const nlm_op_spec *fused, const char *text, size_t length, nlm_part_link *out) {
    const char *slash = memchr(text, '/', length);
    if (slash) {
        out->slice = (uint32_t)(slash[1] - '0');
        length = (size_t)(slash - text);
    }
    out->is_used = true;
    out->is_temp = text[0] == '#';
    const int to = out->is_temp ? text[1] - '0' : nlm_op_spec_find(fused, text, length);
    out->to = (uint32_t)to;
    return to >= 0 && out->slice <= NLM_OP_MAX_SLICES && (!out->is_temp || to < NLM_OP_MAX_TEMPS);
}

/* "x" or "w=w_q". */
static bool read_link(const nlm_op_spec *fused, const char *text, size_t length, nlm_op_part *part) {
    const char *equal = memchr(text, '=', length);
    const size_t name_length = equal ? (size_t)(equal - text) : length;
    const int field = nlm_op_spec_find(part->spec, text, name_length);
    const char *value = equal ? equal + 1 : text;
    return field >= 0 && read_value(fused, value, length - (size_t)(value - text), &part->links[field]);
}

static bool read_part(const nlm_op_spec *fused, const char *text, nlm_op_part *out) {
    char name[64] = "";
    size_t length = strcspn(text, " ");
    if (length >= sizeof name) return false;
    memcpy(name, text, length);
    memset(out, 0, sizeof *out);
    out->op = nlm_op_from_name(name);
    out->spec = nlm_op_spec_of(out->op);
    if (!out->spec) return false;
    for (text += length; *text; text += length) {
        text += strspn(text, " ");
        length = strcspn(text, " ");
        if (length && !read_link(fused, text, length, out)) return false;
    }
    return true;
}

uint32_t nlm_op_parts_read(nlm_op op, nlm_op_part *out_parts) {
    const nlm_op_spec *fused = nlm_op_spec_of(op);
    uint32_t count = 0;
    if (!fused || !fused->parts) return 0;
    while (fused->parts[count]) {
        if (count == NLM_OP_MAX_PARTS || !read_part(fused, fused->parts[count], &out_parts[count])) return 0;
        count++;
    }
    return count;
}

int nlm_op_part_number(const nlm_op_spec *fused, const nlm_op_scalar *scalar) {
    if (scalar->kind == NLM_SCALAR_FLAG) return (int)offsetof(nlm_rope_args, flags); /* where all ops have them */
    for (const nlm_op_scalar *own = fused->scalars; own->name; own++) {
        if (own->kind == scalar->kind && strcmp(own->name, scalar->name) == 0) return (int)own->offset;
    }
    return -1;
}
