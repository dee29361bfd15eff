/* Sets of code points as bytes of UTF-8: RFC 3629's table, cut to ranges. */
#include "base/utf8.h"
#include "text/grammar_pushdown.h"

/* The position from which any `count` continuation bytes lead to the end. */
static uint32_t any_bytes(nlm_utf8_edges *m, unsigned count) {
    if (count == 0) return m->to;
    if (m->any[count] == 0) {
        m->any[count] = m->position(m->user);
        m->add(m->user, m->any[count], any_bytes(m, count - 1), 0x80, 0xBF);
    }
    return m->any[count];
}

/* The bytes first[0..count) to last[0..count), which begin at `from`; they differ in continuation bytes alone. */
static void add_bytes(nlm_utf8_edges *m, uint32_t from, const uint8_t *first, const uint8_t *last, unsigned count) {
    static const uint8_t least[4] = {0x80, 0x80, 0x80, 0x80}, greatest[4] = {0xBF, 0xBF, 0xBF, 0xBF};
    if (count == 1) {
        m->add(m->user, from, m->to, first[0], last[0]);
        return;
    }
    bool is_from_least = true, is_to_greatest = true;
    for (unsigned i = 1; i < count; i++) {
        is_from_least &= first[i] == 0x80;
        is_to_greatest &= last[i] == 0xBF;
    }
    if (first[0] == last[0]) {
        const bool is_any = is_from_least && is_to_greatest;
        const uint32_t next = is_any ? any_bytes(m, count - 1) : m->position(m->user);
        m->add(m->user, from, next, first[0], first[0]);
        if (!is_any) add_bytes(m, next, first + 1, last + 1, count - 1);
        return;
    }
    uint8_t low = first[0], high = last[0];
    if (!is_from_least) {
        const uint32_t next = m->position(m->user);
        m->add(m->user, from, next, low, low);
        add_bytes(m, next, first + 1, greatest, count - 1);
        low++;
    }
    if (!is_to_greatest) {
        const uint32_t next = m->position(m->user);
        m->add(m->user, from, next, high, high);
        add_bytes(m, next, least, last + 1, count - 1);
        high--;
    }
    if (low <= high) m->add(m->user, from, any_bytes(m, count - 1), low, high);
}

/* Code points of one length of bytes. */
static void add_range(nlm_utf8_edges *m, uint32_t first, uint32_t last) {
    char low[4], high[4];
    const size_t count = nlm_utf8_put(first, low);
    nlm_utf8_put(last, high);
    add_bytes(m, m->from, (const uint8_t *)low, (const uint8_t *)high, (unsigned)count);
}

void nlm_utf8_edges_of(nlm_utf8_edges *made, const nlm_code_set *set) {
    static const nlm_code_range spans[] = {{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, NLM_CODE_MAX}};
    for (size_t i = 0; i < set->count; i++) {
        for (size_t s = 0; s < sizeof spans / sizeof *spans; s++) {
            const uint32_t first = set->ranges[i].first > spans[s].first ? set->ranges[i].first : spans[s].first;
            const uint32_t last = set->ranges[i].last < spans[s].last ? set->ranges[i].last : spans[s].last;
            if (first <= last) add_range(made, first, last);
        }
    }
}
