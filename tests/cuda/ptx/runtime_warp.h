/* Collectives of a warp: each lane brings its part, and the last to come computes all. */
#ifndef EMU_RUNTIME_WARP_H
#define EMU_RUNTIME_WARP_H

#define FOR_LANES(i, mask)            \
    for (unsigned i = 0; i < 32; i++) \
        if ((mask) >> i & 1)

struct lane_value {
    uint64_t value;
    uint32_t result;
    int from; /* of a shuffle: whose value */
};

enum shuffle { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

RUNTIME const char *shuffle_lanes(void *const *lanes, uint32_t mask) {
    FOR_LANES(i, mask) {
        struct lane_value *lane = lanes[i];
        if (!(mask >> lane->from & 1)) return "a shuffle reads a lane that is not in its mask";
        lane->result = (uint32_t)((const struct lane_value *)lanes[lane->from])->value;
    }
    return 0;
}

/* c: the last lane of a segment below, the segments' mask above. A lane that none is read for keeps its own. */
RUNTIME uint32_t shfl(enum shuffle mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask, int *is_in,
                      unsigned place) {
    const int lane = (int)E->self->lane, by = (int)(b & 31), clamp = (int)(c & 31), segment = (int)(c >> 8 & 31);
    const int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
    int from = lane;
    if (mode == SHFL_UP) from = lane - by;
    if (mode == SHFL_DOWN) from = lane + by;
    if (mode == SHFL_BFLY) from = lane ^ by;
    if (mode == SHFL_IDX) from = first | (by & ~segment);
    *is_in = mode == SHFL_UP ? from >= last : from <= last;
    struct lane_value own = {value, 0, *is_in ? from : lane};
    E->collective(shuffle_lanes, mask, &own, place);
    return own.result;
}

RUNTIME const char *ballot_lanes(void *const *lanes, uint32_t mask) {
    uint32_t all = 0;
    FOR_LANES(i, mask) all |= (uint32_t)((const struct lane_value *)lanes[i])->value << i;
    FOR_LANES(i, mask)((struct lane_value *)lanes[i])->result = all;
    return 0;
}
RUNTIME uint32_t ballot(int predicate, uint32_t mask, unsigned place) {
    struct lane_value own = {predicate != 0, 0, 0};
    E->collective(ballot_lanes, mask, &own, place);
    return own.result;
}

RUNTIME const char *match_lanes(void *const *lanes, uint32_t mask) {
    FOR_LANES(i, mask) {
        struct lane_value *lane = lanes[i];
        lane->result = 0;
        FOR_LANES(j, mask)
        lane->result |= (uint32_t)(((const struct lane_value *)lanes[j])->value == lane->value) << j;
    }
    return 0;
}
RUNTIME uint32_t match_any(uint64_t value, uint32_t mask, unsigned place) {
    struct lane_value own = {value, 0, 0};
    E->collective(match_lanes, mask, &own, place);
    return own.result;
}
RUNTIME uint32_t match_all(uint64_t value, uint32_t mask, unsigned place) {
    return match_any(value, mask, place) == mask ? mask : 0;
}

#define REDUCTION(name, first, step)                                                     \
    RUNTIME const char *reduce_##name(void *const *lanes, uint32_t mask) {               \
        uint32_t all = (first);                                                          \
        FOR_LANES(i, mask) {                                                             \
            const uint32_t one = (uint32_t)((const struct lane_value *)lanes[i])->value; \
            all = (step);                                                                \
        }                                                                                \
        FOR_LANES(i, mask)((struct lane_value *)lanes[i])->result = all;                 \
        return 0;                                                                        \
    }
REDUCTION(add, 0, all + one)
REDUCTION(min, ~0u, one < all ? one : all)
REDUCTION(max, 0, one > all ? one : all)
REDUCTION(min_s, INT32_MAX, (int32_t)one < (int32_t)all ? one : all)
REDUCTION(max_s, (uint32_t)INT32_MIN, (int32_t)one > (int32_t)all ? one : all)
REDUCTION(and, ~0u, all &one)
REDUCTION(or, 0, all | one)
REDUCTION(xor, 0, all ^ one)
#define REDUX_ADD   reduce_add
#define REDUX_MIN   reduce_min
#define REDUX_MAX   reduce_max
#define REDUX_MIN_S reduce_min_s
#define REDUX_MAX_S reduce_max_s
#define REDUX_AND   reduce_and
#define REDUX_OR    reduce_or
#define REDUX_XOR   reduce_xor
RUNTIME uint32_t redux(emu_collective *reduce, uint32_t value, uint32_t mask, unsigned place) {
    struct lane_value own = {value, 0, 0};
    E->collective(reduce, mask, &own, place);
    return own.result;
}

/* Which lanes run together is the hardware's affair; alone is always possible. */
RUNTIME uint32_t activemask(void) {
    return 1u << E->self->lane;
}

RUNTIME const char *gather_lanes(void *const *lanes, uint32_t mask) {
    (void)lanes;
    (void)mask;
    return 0;
}
/* The same lane each time that the mask is the same; which one is not said. */
RUNTIME uint32_t elect(uint32_t mask, unsigned place) {
    E->collective(gather_lanes, mask, 0, place);
    uint32_t number = mask * 2654435761u >> 16, lane = 0;
    for (number %= (uint32_t)__builtin_popcount(mask);; lane++) {
        if (mask >> lane & 1 && number-- == 0) return lane;
    }
}

#endif
