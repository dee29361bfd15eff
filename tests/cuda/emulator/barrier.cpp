// Barriers of blocks, warps and clusters, and the collectives of warps.
#include <algorithm>

#include "machine.h"

namespace emu {

static void complete(block *b, unsigned id) {
    named_barrier &bar = b->barriers[id];
    const bool is_full = bar.arrivals.empty() && bar.n_waiting == b->n_live;
    knowledge_ptr all;
    if (is_full) {
        // What somebody knew from elsewhere all know now; in most blocks nobody did.
        for (fiber *f : b->threads) {
            if (f->where == state::at_barrier && f->barrier == id && f->knows) all = join(all, f->knows);
        }
    } else if (the.check_races) {
        for (const auto &arrival : bar.arrivals) all = join(all, arrival.second);
        for (fiber *f : b->threads) {
            if (f->where == state::at_barrier && f->barrier == id) all = join(all, all_known(f));
        }
    }
    if (is_full) b->floor = the.next;
    for (fiber *f : b->threads) {
        if (f->where != state::at_barrier || f->barrier != id) continue;
        f->reduced = bar.value[0];
        f->now = 0;
        if (all) learn(f, all);
        make_ready(f);
    }
    const std::vector<unsigned> sites(b->warps.size(), 0);
    bar = named_barrier{0, 0, 0, {0, 1, 0}, sites, {}};
}

static named_barrier &enter(block *b, unsigned id, unsigned count, unsigned place) {
    if (id > 15) fault(place, "barrier %u of 16", id);
    if (count % 32) fault(place, "a barrier of %u threads, which are no whole warps", count);
    named_barrier &bar = b->barriers[id];
    if (bar.site_of_warp.empty())
        bar = named_barrier{0, 0, 0, {0, 1, 0}, std::vector<unsigned>(b->warps.size(), 0), {}};
    if (bar.arrived && bar.expected != count) {
        fault(place, "threads come to barrier %u with counts %u and %u", id, bar.expected, count);
    }
    bar.expected = count;
    bar.arrived++;
    return bar;
}

static bool is_complete(const block *b, const named_barrier &bar) {
    return bar.arrived && bar.arrived >= (bar.expected ? bar.expected : b->n_live);
}

static void wait_at(named_barrier &bar, unsigned id, unsigned is_aligned, unsigned place) {
    fiber *f = the.running;
    unsigned &site = bar.site_of_warp[f->warp];
    if (is_aligned && site && site != place) {
        fault(place, "lanes of one warp wait at the same barrier at lines %u and %u",
              site & ((1u << EMU_LINE_BITS) - 1), place & ((1u << EMU_LINE_BITS) - 1));
    }
    site = place;
    bar.n_waiting++;
    f->barrier = id;
    f->where = state::at_barrier;
    if (is_complete(f->in, bar)) complete(f->in, id);
    if (f->where == state::ready) {
        yield();
    } else {
        wait_here(state::at_barrier, place);
    }
}

void barrier(unsigned id, unsigned count, unsigned is_aligned, unsigned place) {
    wait_at(enter(the.running->in, id, count, place), id, is_aligned, place);
}

void barrier_arrive(unsigned id, unsigned count, unsigned place) {
    fiber *f = the.running;
    named_barrier &bar = enter(f->in, id, count, place);
    bar.arrivals.emplace_back(f, the.check_races ? all_known(f) : nullptr);
    f->now = 0;
    if (is_complete(f->in, bar)) complete(f->in, id);
    yield_by_lot();
}

unsigned barrier_reduce(unsigned id, unsigned count, unsigned reduction, unsigned value, unsigned place) {
    named_barrier &bar = enter(the.running->in, id, count, place);
    unsigned &sum = bar.value[0];
    const unsigned truth = value != 0;
    const bool is_first = bar.arrived == 1;
    if (reduction == EMU_POPC) sum = (is_first ? 0 : sum) + truth;
    if (reduction == EMU_AND) sum = (is_first ? 1 : sum) & truth;
    if (reduction == EMU_OR) sum = (is_first ? 0 : sum) | truth;
    wait_at(bar, id, 1, place);
    return the.running->reduced;
}

static void complete_cluster() {
    cluster &c = *the.current;
    c.n_arrived = 0;
    c.previous_floor = c.floor;
    c.floor = the.next;
    knowledge_ptr all;
    for (block *b : c.blocks) {
        for (fiber *f : b->threads) {
            if (f->knows && f->has_arrived_at_cluster) all = join(all, f->knows);
        }
    }
    for (block *b : c.blocks) {
        for (fiber *f : b->threads) {
            if (f->has_arrived_at_cluster) {
                f->now = 0;
                f->has_arrived_at_cluster = false;
                if (all) learn(f, all);
            }
            if (f->where == state::at_cluster) make_ready(f);
        }
    }
}

void cluster_arrive(unsigned is_relaxed, unsigned place) {
    fiber *f = the.running;
    cluster &c = *the.current;
    if (f->has_arrived_at_cluster) fault(place, "arrives at the cluster's barrier twice without a wait");
    // A relaxed arrival releases nothing: what the open segment did counts as done after it.
    if (is_relaxed && f->now) {
        const segment open = f->now;
        f->has_arrived_at_cluster = true;
        the.owners[open - the.launch_first] |= 1u << 31;
    }
    f->has_arrived_at_cluster = true;
    f->now = 0;
    if (++c.n_arrived == c.n_live) complete_cluster();
}

void cluster_wait(unsigned place) {
    fiber *f = the.running;
    if (f->has_arrived_at_cluster) {
        wait_here(state::at_cluster, place);
    } else {
        yield();
    }
}

static const char *no_work(void *const *, uint32_t) {
    return nullptr;
}

void warp_sync(uint32_t mask, unsigned place) {
    collective(no_work, mask, nullptr, place);
}

// The lanes of `mask` knew what each did before.
static void order_lanes(block *b, unsigned warp_index, uint32_t mask) {
    warp &w = b->warps[warp_index];
    const bool is_whole = (mask & w.live) == w.live;
    knowledge_ptr all;
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        fiber *f = b->threads[warp_index * 32 + static_cast<unsigned>(__builtin_ctz(rest))];
        if (!is_whole) all = join(all, all_known(f));
        if (is_whole && f->knows) all = join(all, f->knows);
    }
    if (is_whole) w.floor = the.next;
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        fiber *f = b->threads[warp_index * 32 + static_cast<unsigned>(__builtin_ctz(rest))];
        f->now = 0;
        if (all) learn(f, all);
    }
}

void collective(emu_collective *compute, uint32_t mask, void *lane, unsigned place) {
    fiber *f = the.running;
    block *b = f->in;
    warp &w = b->warps[f->warp];
    if (!(mask >> f->lane & 1))
        fault(place, "lane %u takes part in a collective whose mask 0x%08x leaves it out", f->lane, mask);
    size_t i = 0;
    while (i < w.gatherings.size() && (w.gatherings[i].mask != mask || w.gatherings[i].arrived >> f->lane & 1)) i++;
    if (i == w.gatherings.size()) w.gatherings.push_back({compute, mask, 0, place, {}});
    gathering &g = w.gatherings[i];
    if (g.compute != compute || g.place != place) {
        fault(place, "lanes of one mask are at collectives of lines %u and %u", g.place & ((1u << EMU_LINE_BITS) - 1),
              place & ((1u << EMU_LINE_BITS) - 1));
    }
    g.arrived |= 1u << f->lane;
    g.lanes[f->lane] = lane;
    if (g.arrived != mask) {
        wait_here(state::at_warp, place);
        return;
    }
    const char *what = compute(g.lanes, mask);
    if (what) fault(place, "%s", what);
    w.gatherings.erase(w.gatherings.begin() + static_cast<std::ptrdiff_t>(i));
    if (compute == no_work && the.check_races) order_lanes(b, f->warp, mask);
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
        fiber *other = b->threads[f->warp * 32 + static_cast<unsigned>(__builtin_ctz(rest))];
        if (other != f) make_ready(other);
    }
    yield();
}

void leave_barriers(fiber *f) {
    block *b = f->in;
    cluster &c = *the.current;
    b->n_live--;
    c.n_live--;
    b->warps[f->warp].live &= ~(1u << f->lane);
    if (f->has_arrived_at_cluster) c.n_arrived--;
    for (unsigned id = 0; id < 16; id++) {
        if (is_complete(b, b->barriers[id])) complete(b, id);
    }
    if (c.n_live && c.n_arrived == c.n_live) complete_cluster();
}

} // namespace emu
