// Each mistake of a list is stopped, whatever the order of the threads, with the line it stands on; and each kernel
// without its mistake passes every order.
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "rig.h"

struct fault_case {
    const char *name;
    const char *sentence; // a part of it
    rig::shape shape;
    const char *mark = nullptr; // the line's, where it is not the name; "": the sentence has none
    const char *file = "faults.cu";
};

static const emu_dim one = {1, 1, 1}, many = {256, 1, 1}, eight = {8, 1, 1}, two = {2, 1, 1}, narrow = {64, 1, 1};

static const rig::shape early = {one, many, one, 0, true};

static const fault_case cases[] = {
    {"missing_syncthreads", "", {one, many}},
    {"missing_second_syncthreads", "races with a", {one, many}},
    {"missing_syncwarp", "", {one, many}},
    {"wrong_shuffle_mask", "lane", {one, many}},
    {"shuffle_in_a_branch", "waits for ever at a collective", {one, many}},
    {"tile_one_too_long", "at byte 256 of a shared variable of 256", {one, many}},
    {"behind_the_buffer", "at byte 16384 of a buffer of 16384", {one, many}},
    {"before_the_buffer", "4 bytes before a buffer of 16384", {one, many}},
    {"behind_dynamic_shared", "at byte 1024 of dynamic shared memory of 1024", {one, many, one, 1024}},
    {"unaligned_vector", "a load of 16 bytes at an address that is no multiple of 16", {one, many}},
    {"unaligned_shared", "a load of 16 bytes at an address that is no multiple of 16", {one, many}},
    {"uninitialised_shared", "a load of shared memory that nothing was written to", {one, many}},
    {"uninitialised_global", "a load of global memory that nothing was written to", {one, many}},
    {"copy_not_waited_for", "was not waited for", {one, many}},
    {"copy_waited_for_by_its_thread_only", "", {one, many}},
    {"remote_read_after_exit", "end", {two, narrow, two}, "remote"},
    {"remote_read_before_begin", "which need not have begun", {two, narrow, two}, "remote"},
    {"cluster_relaxed_arrive", "races with a write", {two, narrow, two}, "remote"},
    {"cluster_write_after_arrive", "races with a write", {two, narrow, two}, "remote"},
    {"race_between_blocks", "races with a write", {eight, many}},
    {"accumulation_without_atomics", "races with a", {two, many}},
    {"barrier_in_a_branch", "waits for ever at a", {one, many}},
    {"two_barriers_in_a_branch", "lanes of one warp wait at the same barrier", {one, many}},
    {"last_block_without_fence", "races with a write", {eight, many}},
    {"last_block_with_narrow_fence", "races with a write", {eight, many}},
    {"last_block_over_readers", "a write races with a read", {eight, many}},
    {"last_block_over_readers", "a write races with a read", {eight, many, two}},
    {"last_block_over_halves", "a write races with a read", {eight, many}},
    {"flag_without_fence", "races with a write", {one, narrow}},
    {"flag_by_acquire", "races with a write", {one, narrow}},
    {"plain_flag", "races with a", {one, narrow}},
    {"endless_loop", "does not come to an end", {one, {32, 1, 1}}},
    {"named_barrier_too_few", "", {one, many}},
    {"named_barrier_of_others", "races with a", {one, many}},
    {"bulk_load_not_waited_for", "", {one, many}, nullptr, "transactions.cu"},
    {"bulk_load_over_readers", "", {one, many}, nullptr, "transactions.cu"},
    {"tile_handed_over", "", {one, {128, 1, 1}}, nullptr, "transactions.cu"},
    {"barrier_without_init", "", {one, narrow}, "barrier", "transactions.cu"},
    {"bulk_store_not_waited_for", "a bulk copy that it did not wait for", {one, narrow}, nullptr, "transactions.cu"},
    {"stored_to_the_other", "", {two, narrow, two}, nullptr, "transactions.cu"},
    {"early_read", "a read of what an earlier kernel writes", early},
    {"early_read_of_halves", "a read of what an earlier kernel writes", early},
    {"early_write", "a write to global memory before griddepcontrol.wait", early},
    {"early_for_one", "before griddepcontrol.wait", early},
    {"early_without_wait", "no thread executes griddepcontrol.wait", early, ""},
    {"halves_of_a_word", "races with a write", {one, many}},
    {"in_place_halves", "", {one, many}},
};

static bool is_marked(const fault_case &c, const std::string &why) {
    const std::string at = std::string(c.file) + ":", mark = c.mark ? c.mark : c.name, source = rig::text_of(c.file);
    const size_t found = why.find(at);
    if (found == std::string::npos) return false;
    const int line = std::atoi(why.c_str() + found + at.size());
    size_t begin = 0;
    for (int i = 1; i < line && begin != std::string::npos; i++) begin = source.find('\n', begin) + 1;
    const std::string text = source.substr(begin, source.find('\n', begin) - begin);
    const size_t marks = text.find("// MARK");
    return marks != std::string::npos && text.find(" " + mark, marks) != std::string::npos;
}

static std::string run(const fault_case &c, int fault, uint64_t seed) {
    std::vector<float> x(4096);
    for (size_t i = 0; i < x.size(); i++) x[i] = static_cast<float>(i % 97);
    const rig::buffer<float> in(x), out(4096);
    const rig::buffer<uint32_t> flags(std::vector<uint32_t>(64, 0));
    const emu_kernel *k = rig::kernel_of(rig::module_of(c.file, fault), c.name);
    if (c.shape.is_early) {
        const emu_kernel *before = rig::kernel_of(rig::module_of(c.file, fault), "before_early");
        const std::string why = rig::run(before, {one, many}, seed, out.data, in.data, flags.data);
        if (!why.empty()) return why;
    }
    return rig::run(k, c.shape, seed, out.data, in.data, flags.data);
}

// 8 warps read and write 128 bytes each; then into shared memory, and out of it in the other direction.
static void test_traffic() {
    char path[] = "/tmp/emu-traffic-XXXXXX";
    const int file = mkstemp(path);
    CHECK(file >= 0, "no temporary file");
    setenv("EMU_TRAFFIC", path, 1);
    for (const char *name : {"behind_the_buffer", "missing_syncthreads"}) {
        const std::string why = run(fault_case{name, "", {one, many}}, 0, 1);
        CHECK(why.empty(), why);
    }
    unsetenv("EMU_TRAFFIC");
    std::ifstream in(path);
    std::ostringstream all;
    all << in.rdbuf();
    close(file);
    unlink(path);
    for (const char *counted : {" global-load 8 256 32 32\n", " global-store 8 256 32 32\n",
                                " shared-store 8 256 8 8\n", " shared-load 8 256 8 8\n"}) {
        CHECK(all.str().find(counted) != std::string::npos, std::string(counted) + "is not in\n" + all.str());
    }
}

int main() {
    if (!rig::has_nvrtc()) {
        std::puts("skipped: no NVRTC");
        return 77;
    }
    const char *only = std::getenv("ONLY");
    test_traffic();
    for (const fault_case &c : cases) {
        if (only && std::strcmp(only, c.name)) continue;
        const bool is_slow = !std::strcmp(c.name, "endless_loop");
        for (uint64_t seed = 1; seed <= (is_slow ? 2 : 10); seed++) {
            const std::string why = run(c, 1, seed);
            const bool is_right = !why.empty() && why.find(c.sentence) != std::string::npos;
            CHECK(is_right, std::string(c.name) + ", seed " + std::to_string(seed) + ", said: " + why);
            if (is_right && (!c.mark || *c.mark)) CHECK(is_marked(c, why), std::string("another line: ") + why);
            if (only || seed == 1) std::printf("%s\n", why.c_str());
        }
        for (uint64_t seed = 1; seed <= 50; seed++) {
            const std::string why = run(c, 0, seed);
            CHECK(why.empty(),
                  std::string(c.name) + " without the mistake, seed " + std::to_string(seed) + ": " + why);
            if (!why.empty()) break;
        }
    }
    return rig::result();
}
