// What warps ask of memory: the 32-byte sectors of a request to global memory, the passes of one to shared memory. A
// request is what the lanes of a warp do at one place of the code for the n-th time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>

#include "machine.h"

namespace emu {

namespace {

constexpr unsigned SECTOR = 32, BANKS = 32, BANK_BYTES = 4;

struct asked {
    uint64_t address;
    unsigned bytes, lane;
};

struct request {
    unsigned place;
    bool is_store, is_shared;
    std::vector<asked> lanes;
};

struct sum {
    uint64_t requests, lanes, units, ideal;
};

struct request_key {
    uint64_t warp, turn;
    const void *site;
    bool operator==(const request_key &other) const {
        return warp == other.warp && turn == other.turn && site == other.site;
    }
};

uint64_t mixed(uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9E3779B97F4A7C15u;
    return a ^ a >> 29;
}

struct hash_of {
    size_t operator()(const request_key &k) const {
        return mixed(mixed(k.warp, k.turn), reinterpret_cast<uintptr_t>(k.site));
    }
    size_t operator()(const std::pair<const void *, uint64_t> &k) const {
        return mixed(reinterpret_cast<uintptr_t>(k.first), k.second);
    }
};

using sums_key = std::tuple<unsigned, bool, bool>; // place, is it a store, is it shared memory

struct state {
    std::unordered_map<std::pair<const void *, uint64_t>, uint64_t, hash_of> turns; // of a thread at a site
    std::unordered_map<request_key, request, hash_of> open;
    std::map<sums_key, sum> sums; // of this launch
};
state &now = *new state;

// Sectors that are touched, and how few could hold as many bytes.
void count_sectors(std::vector<asked> &lanes, sum &to) {
    std::sort(lanes.begin(), lanes.end(), [](const asked &a, const asked &b) { return a.address < b.address; });
    uint64_t sectors = 0, bytes = 0, next_sector = 0, next_byte = 0;
    for (const asked &a : lanes) {
        const uint64_t end = a.address + a.bytes, first = std::max(a.address / SECTOR, next_sector);
        const uint64_t last = (end - 1) / SECTOR + 1, from = std::max(a.address, next_byte);
        if (last > first) sectors += last - first;
        if (end > from) bytes += end - from;
        next_sector = std::max(next_sector, last);
        next_byte = std::max(next_byte, end);
    }
    to.units += sectors;
    to.ideal += (bytes + SECTOR - 1) / SECTOR;
}

// Accesses of 16 bytes go by quarters of a warp, of 8 by halves; each takes a pass for every other word of its
// fullest bank.
void count_passes(const std::vector<asked> &lanes, sum &to) {
    const unsigned width = lanes[0].bytes, together = width >= 16 ? 8 : width == 8 ? 16 : 32;
    for (unsigned from = 0; from < 32; from += together) {
        std::vector<uint64_t> words;
        for (const asked &a : lanes) {
            if (a.lane < from || a.lane >= from + together) continue;
            for (uint64_t w = a.address / BANK_BYTES; w <= (a.address + a.bytes - 1) / BANK_BYTES; w++)
                words.push_back(w);
        }
        if (words.empty()) continue;
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        unsigned of_bank[BANKS] = {}, most = 0;
        for (const uint64_t w : words) most = std::max(most, ++of_bank[w % BANKS]);
        to.units += most;
        to.ideal++;
    }
}

void close(request &r) {
    sum &to = now.sums[{r.place, r.is_store, r.is_shared}];
    to.requests++;
    to.lanes += r.lanes.size();
    if (r.is_shared)
        count_passes(r.lanes, to);
    else
        count_sectors(r.lanes, to);
}

} // namespace

void traffic(uint64_t address, unsigned bytes, bool is_shared, unsigned access, unsigned place, const void *site) {
    const fiber *f = the.running;
    const uint64_t turn = now.turns[{site, f->id}]++;
    const request_key key = {f->id >> WARP_BITS, turn, site};
    request &r = now.open[key];
    r.place = place;
    r.is_store = access & EMU_WRITE;
    r.is_shared = is_shared;
    r.lanes.push_back({address, bytes, f->lane});
    if (r.lanes.size() < 32) return;
    close(r);
    now.open.erase(key);
}

void traffic_end_cluster() {
    for (auto &[key, r] : now.open) close(r);
    now.open.clear();
    now.turns.clear();
}

// A line for each place, of all its warps: kernel, file:line, what, requests, lanes, sectors or passes, the fewest.
void traffic_end_launch() {
    std::string text;
    for (const auto &[key, s] : now.sums) {
        const auto &[place, is_store, is_shared] = key;
        char line[512];
        std::snprintf(line, sizeof line, "%s %s:%u %s-%s %llu %llu %llu %llu\n", the.kernel->name,
                      the.kernel->files[place >> EMU_LINE_BITS], place & ((1u << EMU_LINE_BITS) - 1),
                      is_shared ? "shared" : "global", is_store ? "store" : "load",
                      static_cast<unsigned long long>(s.requests), static_cast<unsigned long long>(s.lanes),
                      static_cast<unsigned long long>(s.units), static_cast<unsigned long long>(s.ideal));
        text += line;
    }
    now.sums.clear();
    FILE *file = std::fopen(std::getenv("EMU_TRAFFIC"), "ae"); // several processes may write to it
    if (!file) return;
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
}

} // namespace emu
