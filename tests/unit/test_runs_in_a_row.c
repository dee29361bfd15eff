/* Runs that follow one another on a device, each with the inputs that the one before it has left. */
#include "unit/fake_slots.h"
#include "unit/far_device.h"

enum { VOCABULARY = 29, SEQUENCES = 4, SLOTS = 6, RUNS = 7, COLUMNS = RUNS + 2, STOPS = 2 };

/* What token follows which: the greatest of a row of a table. */
typedef struct walk {
    nlm_graph *graph;
    nlm_value ids, pos, slot, starts, stops, tokens, chosen;
} walk;

static nlm_value i32_input(nlm_graph *g, const char *name, int rank, const int64_t *shape, uint32_t rows) {
    return nlm_graph_input(g, name, NLM_I32, rank, shape, rows);
}

static walk walk_make(fixture *f) {
    if (f->n_weights == 0) fixture_weight(f, "table", SHAPE(VOCABULARY, VOCABULARY));
    walk w = {.graph = fixture_graph()};
    nlm_graph *g = w.graph;
    w.ids = i32_input(g, "ids", SHAPE(SEQUENCES), NLM_ROWS_TOKENS);
    w.pos = i32_input(g, "pos", SHAPE(SEQUENCES), NLM_ROWS_TOKENS);
    w.slot = i32_input(g, "slot", SHAPE(SEQUENCES), NLM_ROWS_SEQS);
    w.starts = i32_input(g, "seq_start", SHAPE(SEQUENCES + 1), NLM_ROWS_FIXED);
    w.stops = i32_input(g, "stops", SHAPE(SLOTS, STOPS), NLM_ROWS_FIXED);
    w.tokens = i32_input(g, "tokens", SHAPE(SLOTS, COLUMNS), NLM_ROWS_FIXED);
    const nlm_value logits = nlm_graph_embed(g, w.ids, nlm_graph_weight(g, &f->weights[0]));
    w.chosen = nlm_graph_argmax(g, logits, NLM_ARGMAX_FINITE);
    nlm_graph_output(g, w.chosen);
    nlm_graph_advance(g, w.chosen,
                      &(nlm_next_values){.stops = w.stops,
                                         .ids = w.ids,
                                         .pos = w.pos,
                                         .slot = w.slot,
                                         .seq_start = w.starts,
                                         .live = nlm_graph_live_rows(g),
                                         .tokens = w.tokens});
    return w;
}

static int32_t next_of(const fixture *f, int32_t id) {
    const float *row = (const float *)f->weights[0].source.data + id * VOCABULARY;
    int32_t best = 0;
    for (int32_t i = 1; i < VOCABULARY; i++) best = row[i] > row[best] ? i : best;
    return best;
}

static int32_t slot_of(int32_t sequence) {
    return (sequence * 5 + 1) % SLOTS;
}

/* Sequence s begins with token 3s and ends with what it comes to after s + 2 tokens. */
static void fill(const fixture *f, const walk *w, nlm_program *program) {
    int32_t *ids = nlm_program_input(program, w->ids), *pos = nlm_program_input(program, w->pos);
    int32_t *slot = nlm_program_input(program, w->slot), *starts = nlm_program_input(program, w->starts);
    int32_t *stops = nlm_program_input(program, w->stops), *tokens = nlm_program_input(program, w->tokens);
    for (int32_t s = 0; s < SEQUENCES; s++) {
        ids[s] = 3 * s;
        pos[s] = 100 * s;
        slot[s] = slot_of(s);
        starts[s] = s;
        int32_t stop = ids[s];
        for (int32_t i = 0; i < s + 2; i++) stop = next_of(f, stop);
        stops[slot[s] * STOPS] = -1;
        stops[slot[s] * STOPS + 1] = stop;
        tokens[slot[s] * COLUMNS] = 0;
    }
    starts[SEQUENCES] = SEQUENCES;
}

static void run_times(nlm_program *program, uint32_t times) {
    nlm_error err = NLM_ERROR_INIT;
    const int32_t live_rows[NLM_ROWS_KINDS] = {
        [NLM_ROWS_TOKENS] = SEQUENCES, [NLM_ROWS_SEQS] = SEQUENCES, [NLM_ROWS_OUTPUTS] = 0};
    const nlm_run_info info = {.live_rows = live_rows, .times = times};
    expect_ok(nlm_program_run(program, &info, &err), &err);
}

/* The tokens of a sequence up to its end, or so many; whether it goes on. */
static bool walk_on(const fixture *f, int32_t sequence, int32_t times, int32_t *out_ids, int32_t *out_n) {
    int32_t stop = 3 * sequence, id = 3 * sequence;
    for (int32_t i = 0; i < sequence + 2; i++) stop = next_of(f, stop);
    for (*out_n = 0; *out_n < times;) {
        id = next_of(f, id);
        out_ids[(*out_n)++] = id;
        if (id == stop) return false;
    }
    return true;
}

/* What so many runs leave in the rows of the sequences. */
static void expect_tokens(const fixture *f, const walk *w, const nlm_program *program, int32_t times) {
    const int32_t *left = nlm_program_left(program, w->tokens), *pos = nlm_program_left(program, w->pos);
    const int32_t *ids = nlm_program_left(program, w->ids), *slot = nlm_program_left(program, w->slot);
    const int32_t *starts = nlm_program_left(program, w->starts);
    int32_t n_going = 0;
    for (int32_t s = 0; s < SEQUENCES; s++) {
        const int32_t *row = left + slot_of(s) * COLUMNS;
        int32_t expected[RUNS], n;
        const bool goes_on = walk_on(f, s, times, expected, &n);
        CU_ASSERT_EQUAL_FATAL(row[0], n);
        CU_ASSERT_EQUAL(memcmp(row + 1, expected, (size_t)n * sizeof *expected), 0);
        if (!goes_on) continue;
        CU_ASSERT_EQUAL(ids[n_going], expected[n - 1]);
        CU_ASSERT_EQUAL(pos[n_going], 100 * s + times);
        CU_ASSERT_EQUAL(slot[n_going], slot_of(s));
        n_going++;
    }
    CU_ASSERT(times < RUNS || n_going < SEQUENCES - 1); /* some end within */
    CU_ASSERT_EQUAL(starts[SEQUENCES], n_going);
}

static void runs_in_a_row_need_no_host(void) {
    far_device d;
    far_open(&d, 1);
    fake_can_capture(&d.stream);
    walk w = walk_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, w.graph, &plan_packed);
    CU_ASSERT_FATAL(nlm_program_can_repeat(program));
    for (uint32_t times = RUNS; times > 0; times--) {
        const fake_traffic up = d.stream.uploads, down = d.stream.downloads;
        const uint32_t launches = d.stream.launches, syncs = d.stream.n_syncs;
        fill(&d.f, &w, program);
        run_times(program, times);
        expect_tokens(&d.f, &w, program, (int32_t)times);
        CU_ASSERT_EQUAL(d.stream.launches - launches, times);
        CU_ASSERT_EQUAL(d.stream.n_syncs - syncs, 1);
        CU_ASSERT_EQUAL(d.stream.uploads.calls - up.calls, 1);
        CU_ASSERT_EQUAL(d.stream.downloads.calls - down.calls, 2); /* what was chosen last, and the inputs */
    }
    CU_ASSERT_EQUAL(d.stream.begins, 1);
    nlm_program_destroy(program);
    nlm_graph_destroy(w.graph);
    far_close(&d);
}

/* A run of other inputs, or the same again, begins with what the host has. */
static void what_a_run_has_left_is_known(void) {
    far_device d;
    far_open(&d, 1);
    fake_can_capture(&d.stream);
    walk w = walk_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, w.graph, &plan_packed);
    for (int i = 0; i < 3; i++) {
        fill(&d.f, &w, program);
        run_times(program, i == 1 ? 0 : 3);
        expect_tokens(&d.f, &w, program, i == 1 ? 1 : 3);
    }
    nlm_program_destroy(program);
    nlm_graph_destroy(w.graph);
    far_close(&d);
}

static void a_launch_that_fails_within_ends_all(void) {
    far_device d;
    far_open(&d, 1);
    fake_can_capture(&d.stream);
    walk w = walk_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, w.graph, &plan_packed);
    const nlm_run_info info = {.times = 3};
    nlm_error err = NLM_ERROR_INIT;
    fill(&d.f, &w, program);
    d.stream.launch_status = NLM_DEVICE_ERROR;
    CU_ASSERT_EQUAL(nlm_program_run(program, &info, &err), NLM_DEVICE_ERROR);
    d.stream.launch_status = NLM_OK;
    d.stream.failing_op = NLM_OP_argmax; /* in the work itself */
    CU_ASSERT_EQUAL(nlm_program_run(program, &info, &err), NLM_DEVICE_ERROR);
    d.stream.failing_op = NLM_OP_NONE;
    fill(&d.f, &w, program);
    run_times(program, 4);
    expect_tokens(&d.f, &w, program, 4);
    nlm_program_destroy(program);
    nlm_graph_destroy(w.graph);
    far_close(&d);
}

/* One after the other, the inputs of each from what the last one has left, where only the host can. */
static void other_devices_do_a_run_at_a_time(void) {
    far_device d;
    far_open(&d, 3);
    for (int kind = 0; kind < 3; kind++) {
        if (kind == 1) d.stream.refused = OP_BIT(embed) | OP_BIT(argmax) | OP_BIT(advance); /* all on the host */
        if (kind == 2) d.stream.refused = OP_BIT(argmax);
        walk w = walk_make(&d.f);
        nlm_program *program = fixture_plan(&d.f, w.graph, &plan_packed);
        nlm_error err = NLM_ERROR_INIT;
        CU_ASSERT_FALSE(nlm_program_can_repeat(program));
        CU_ASSERT_EQUAL(nlm_program_run(program, &(nlm_run_info){.times = 2}, &err), NLM_INVALID_ARGUMENT);
        expect_contains(err.msg, "cannot be repeated");
        fill(&d.f, &w, program);
        run_times(program, 1);
        expect_tokens(&d.f, &w, program, 1);
        nlm_program_destroy(program);
        nlm_graph_destroy(w.graph);
    }
    far_close(&d);
}

/* A device that says while recording that it cannot does nothing of it. */
static void a_device_that_refuses_to_record_says_so(void) {
    far_device d;
    far_open(&d, 1);
    fake_can_capture(&d.stream);
    d.stream.unrecordable = NLM_OP_argmax;
    walk w = walk_make(&d.f);
    nlm_program *program = fixture_plan(&d.f, w.graph, &plan_packed);
    nlm_error err = NLM_ERROR_INIT;
    fill(&d.f, &w, program);
    CU_ASSERT_EQUAL(nlm_program_run(program, &(nlm_run_info){.times = 2}, &err), NLM_UNSUPPORTED);
    expect_contains(err.msg, "does not record");
    run_times(program, 1);
    expect_tokens(&d.f, &w, program, 1);
    nlm_program_destroy(program);
    nlm_graph_destroy(w.graph);
    far_close(&d);
}

static const check_case cases[] = {
    CHECK_CASE(runs_in_a_row_need_no_host),
    CHECK_CASE(what_a_run_has_left_is_known),
    CHECK_CASE(a_launch_that_fails_within_ends_all),
    CHECK_CASE(other_devices_do_a_run_at_a_time),
    CHECK_CASE(a_device_that_refuses_to_record_says_so),
};
CHECK_MAIN("runs in a row", cases)
