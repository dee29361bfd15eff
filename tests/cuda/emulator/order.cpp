// Who knows of whose accesses: what happened before what, over barriers, fences and strong accesses.
#include <algorithm>
#include <unordered_map>

#include "machine.h"

namespace emu {

// In owners: the segment lies between a thread's arrival at the cluster's barrier and the barrier's completion.
constexpr uint32_t BETWEEN = 1u << 31;

segment segment_now(fiber *f) {
    if (f->now) return f->now;
    if (the.next >= MAX_SEGMENT) fault(0, "more synchronisation in one launch than the checks can count");
    f->now = the.next++;
    the.owners.push_back(f->id | (f->has_arrived_at_cluster ? BETWEEN : 0));
    return f->now;
}

static segment until_of(const knowledge &k, uint64_t key) {
    const auto it = std::lower_bound(k.begin(), k.end(), std::make_pair(key, segment{0}));
    return it != k.end() && it->first == key ? it->second : 0;
}

segment known_until(const fiber *f, uint64_t key) {
    return f->knows ? until_of(*f->knows, key) : 0;
}

bool is_known(fiber *f, segment s) {
    if (s < the.launch_first) return true;
    const bool is_alone = the.current->blocks.size() == 1 && !the.current->has_copies;
    if (is_alone && s >= the.current->first && s < f->in->floor) return true;
    const uint32_t entry = the.owners[s - the.launch_first], owner = entry & ~BETWEEN;
    if (owner == f->id) return true;
    if (owner >= FIRST_COPIER) return s < known_until(f, key_of(group::thread, owner)); // no barrier has its copies
    const uint32_t block_of_owner = owner >> THREAD_BITS;
    if (block_of_owner == f->in->linear) {
        if (s < f->in->floor) return true;
        if (owner >> WARP_BITS == f->id >> WARP_BITS && s < f->in->warps[f->warp].floor) return true;
    }
    // What a thread does between its arrival and the completion counts as before the next one only.
    if (s >= the.current->first && s < (entry & BETWEEN ? the.current->previous_floor : the.current->floor))
        return true;
    if (!f->knows) return false;
    const knowledge &k = *f->knows;
    return s < until_of(k, key_of(group::thread, owner)) ||
           s < until_of(k, key_of(group::warp, owner >> WARP_BITS)) ||
           s < until_of(k, key_of(group::block, block_of_owner)) || until_of(k, key_of(group::exact, s));
}

knowledge_ptr join(const knowledge_ptr &a, const knowledge_ptr &b) {
    if (!a || a == b) return b;
    if (!b) return a;
    auto both = std::make_shared<knowledge>();
    auto i = a->begin(), j = b->begin();
    while (i != a->end() || j != b->end()) {
        if (j == b->end() || (i != a->end() && i->first < j->first)) {
            both->push_back(*i++);
        } else if (i == a->end() || j->first < i->first) {
            both->push_back(*j++);
        } else {
            both->emplace_back(i->first, std::max(i->second, j->second));
            ++i, ++j;
        }
    }
    return both;
}

void learn(fiber *f, const knowledge_ptr &k) {
    f->knows = join(f->knows, k);
}

knowledge_ptr all_known(const fiber *f) {
    auto own = std::make_shared<knowledge>();
    own->emplace_back(key_of(group::thread, f->id), the.next);
    own->emplace_back(key_of(group::warp, f->id >> WARP_BITS), f->in->warps[f->warp].floor);
    for (const block *b : the.current->blocks) {
        const segment floor = b == f->in ? std::max(b->floor, the.current->floor) : the.current->floor;
        own->emplace_back(key_of(group::block, b->linear), floor);
    }
    std::sort(own->begin(), own->end());
    return join(f->knows, own);
}

// What was released by a strong write to a word. Words of the windows of blocks are forgotten with them.
struct publication {
    knowledge_ptr known;
    unsigned scope, from; // the block's linear index
};
static std::unordered_map<const char *, publication> publications;
static std::vector<const char *> published_in_windows;

void fence(unsigned scope) {
    fiber *f = the.running;
    if (!the.check_races) return;
    f->now = 0;
    if (f->observed) learn(f, f->observed);
    f->observed = nullptr;
    f->fenced = all_known(f);
    f->fenced_scope = scope;
}

static bool is_in_scope(const publication &p, const fiber *f) {
    if (p.scope == EMU_GPU || p.from == f->in->linear) return true;
    if (p.scope == EMU_CTA) return false;
    const auto &blocks = the.current->blocks;
    return std::any_of(blocks.begin(), blocks.end(), [&](const block *b) { return b->linear == p.from; });
}

// A strong write after a fence publishes what was known at the fence, and itself.
static void publish(const char *p, unsigned access) {
    fiber *f = the.running;
    const bool is_chained = access & EMU_CHAIN;
    if (!f->fenced) {
        if (!is_chained) publications.erase(p);
        return;
    }
    f->now = 0;
    const segment write = segment_now(f);
    auto own = std::make_shared<knowledge>(knowledge{{key_of(group::exact, write), 1}});
    publication now{join(f->fenced, own), f->fenced_scope, f->in->linear};
    auto &old = publications[p];
    if (is_chained && old.known) {
        // One word has the knowledge of several, in one scope: what was for another block alone is left out.
        const bool is_of_other = old.scope == EMU_CTA && old.from != now.from;
        if (!is_of_other) now.known = join(now.known, old.known);
    }
    old = now;
    if (!is_global(p)) published_in_windows.push_back(p);
}

void strong_access(const char *p, unsigned access) {
    fiber *f = the.running;
    const knowledge_ptr fenced = f->fenced;
    const unsigned fenced_scope = f->fenced_scope;
    if (access & EMU_RELEASE) fence(EMU_GPU);
    if (!(access & EMU_WRITE) || access & EMU_CHAIN) {
        const auto it = publications.empty() ? publications.end() : publications.find(p);
        if (it != publications.end() && is_in_scope(it->second, f)) {
            if (access & EMU_ACQUIRE) {
                f->now = 0;
                learn(f, it->second.known);
            } else {
                f->observed = join(f->observed, it->second.known);
            }
        }
    }
    if (access & EMU_WRITE) publish(p, access);
    if (access & EMU_RELEASE) f->fenced = fenced, f->fenced_scope = fenced_scope;
}

void order_end_cluster() {
    for (const char *p : published_in_windows) publications.erase(p);
    published_in_windows.clear();
}

void order_end_launch() {
    order_end_cluster();
    publications.clear();
    the.owners.clear();
}

} // namespace emu
