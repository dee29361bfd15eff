/* What the files of the stand-in libcuda.so.1 share: its objects, how a call begins, how work is kept and run.
 *
 * Everything here is guarded by one lock, which a `call` holds; kernels run while it is held. */
#ifndef EMU_DRIVER_H
#define EMU_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda/api/cuda.h"
#include "cuda/emulator/emulator.h"

/* Symbols of the library. What cuda.h declares is defined with these arguments, or does not compile. */
#define API                                  extern "C" __attribute__((visibility("default")))
#define EMU_DECLARE(name, symbol, arguments) API CUresult symbol arguments;
NLM_CUDA_FUNCTIONS(EMU_DECLARE)
#undef EMU_DECLARE

/* ---- settings, read from the environment by cuInit ---- */

struct device_row { /* what a GPU of this compute capability has */
    int capability, multiprocessors, l2_mib, threads_per_multiprocessor, shared_kib, shared_optin_kib;
    int cluster; /* the most blocks of one; 0: it knows no clusters */
};

struct settings {
    int n_devices;
    const device_row *row;
    size_t device_bytes;
    bool has_peers, is_logged;
    bool is_dry; /* modules have any function that is asked for, and those do nothing */
    int multiprocessors;
    std::string launches; /* the file that lists them; or empty */
    uint64_t seed, fail_call;
    CUresult fail_code;
    std::string fail_name; /* calls of other beginnings are not counted */
};
extern settings setup;

CUresult read_settings();

/* One line to stderr, if EMU_CUDA_LOG is setup. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number below n (n > 0), drawn with the seed. */
uint64_t draw(uint64_t n);

/* 0 if the text names no result. */
CUresult result_of_name(const char *name);

/* ---- objects ---- */

struct stream;
struct capture;

struct context {
    int ordinal = 0;
    unsigned n_retained = 0;
    CUresult sticky = CUDA_SUCCESS; /* what went wrong in a kernel; for good */
    std::shared_ptr<stream> legacy; /* the default stream, NULL */
    uint64_t clock_ns = 0;          /* what its events show */
};
using context_ref = std::shared_ptr<context>;

/* Of a stream or event that is part of a capture: the nodes that come before what comes next. */
struct place {
    std::shared_ptr<capture> in;
    std::set<size_t> after;
};

struct event {
    context_ref owner;
    bool is_timed = true;
    uint64_t n_recorded = 0, n_reached = 0;
    uint64_t reached_ns = 0;
    place captured;
};

/* What a stream is asked to do. `bytes` is what it moves, for the clock. */
struct action {
    std::function<CUresult()> run;
    size_t bytes = 0;
};

struct node {
    action what;
    std::set<size_t> after;
};

struct graph {
    context_ref owner;
    std::vector<node> nodes;
};

struct graph_exec {
    context_ref owner;
    std::vector<node> nodes;
    uint64_t n_launched = 0, n_finished = 0; /* its launches follow one another, whatever their streams */
    std::vector<bool> is_done;               /* nodes of the launch that runs */
    size_t n_done = 0;
};

struct capture {
    std::shared_ptr<graph> recorded;
    const stream *origin = nullptr;
    std::thread::id by;
    bool is_relaxed = false, is_broken = false, is_over = false;
    std::vector<std::shared_ptr<stream>> members; /* empty when it is over */
};

struct work {
    enum kind { RUN, RECORD, WAIT, GRAPH } what;
    action does;
    std::shared_ptr<event> at;        /* RECORD, WAIT */
    std::shared_ptr<graph_exec> exec; /* GRAPH */
    uint64_t turn = 0;                /* which record or launch of it */
    uint64_t ticket = 0;              /* counts what is enqueued anywhere */
};

struct stream {
    context_ref owner;
    bool is_blocking = true; /* keeps order with the default stream */
    std::deque<work> queue;
    place captured;
};

struct function;
struct module {
    context_ref owner;
    const emu_module *image = nullptr; /* NULL: dry */
    std::vector<CUfunction> functions;
    module() = default;
    module(const module &) = delete;
    module &operator=(const module &) = delete;
    ~module();
};

struct function {
    context_ref owner;
    std::shared_ptr<module> of;
    const emu_kernel *kernel = nullptr;
    std::string dry_name;
    emu_kernel dry = {}; /* what `kernel` points to where the module is dry */
    int dynamic_limit = 0;
    bool is_wide_cluster_allowed = false;
};

/* Live objects by handle. Handles are numbers that never come again, so that one of the dead is seen. */
uintptr_t next_handle();

template <typename object, typename handle>
class table {
   public:
    handle add(std::shared_ptr<object> made) {
        const uintptr_t number = next_handle();
        live_[number] = std::move(made);
        return reinterpret_cast<handle>(number);
    }
    std::shared_ptr<object> find(handle named) const {
        const auto found = live_.find(reinterpret_cast<uintptr_t>(named));
        return found == live_.end() ? nullptr : found->second;
    }
    std::shared_ptr<object> take(handle named) {
        std::shared_ptr<object> found = find(named);
        live_.erase(reinterpret_cast<uintptr_t>(named));
        return found;
    }
    /* Those of a context: how many; gone afterwards. */
    size_t drop(const context *owner) {
        size_t n = 0;
        for (auto at = live_.begin(); at != live_.end();) {
            const bool is_of = at->second->owner.get() == owner;
            n += is_of;
            at = is_of ? live_.erase(at) : std::next(at);
        }
        return n;
    }

   private:
    std::map<uintptr_t, std::shared_ptr<object>> live_;
};

struct objects {
    table<event, CUevent> events;
    table<stream, CUstream> streams;
    table<graph, CUgraph> graphs;
    table<graph_exec, CUgraphExec> execs;
    table<module, CUmodule> modules;
    table<function, CUfunction> functions;
};
extern objects &all;

/* ---- calls ---- */

enum call_kind {
    BEFORE_INIT, /* allowed at any time */
    INITIALISED, /* needs cuInit */
    IN_CONTEXT,  /* needs a current context that is whole */
    SYNCHRONISES /* that, and breaks a capture of this thread that is not relaxed */
};

/* Takes the lock, and finds what is wrong before the call has done anything. */
class call {
   public:
    explicit call(call_kind kind, const char *name = __builtin_FUNCTION());
    CUresult failed = CUDA_SUCCESS;
    context_ref here;

   private:
    std::unique_lock<std::mutex> held_;
};

/* The current context of this thread; NULL if there is none. */
context_ref current_context();
context_ref find_context(CUcontext named);

/* ---- memory ---- */

CUresult reserve_memory();
CUresult allocate(const context_ref &owner, size_t bytes, CUdeviceptr *out);
CUresult release(CUdeviceptr memory);
size_t memory_used(int ordinal);
/* How many allocations of a context there are, and their bytes; gone afterwards. */
size_t drop_memory(const context *owner, size_t *out_bytes);

/* Whether all of it is in one allocation of this device, or pinned. */
bool is_device_memory(CUdeviceptr base, size_t bytes, int ordinal);
bool is_pinned(const void *base, size_t bytes);
/* Whether it points where device memory is, or could be. */
bool is_arena(const void *pointer);

/* Opens the memory of a device until the last `opened` ends; between them the host cannot touch it. */
void open_memory(int ordinal);
class opened {
   public:
    opened() = default;
    ~opened();
    opened(const opened &) = delete;
    opened &operator=(const opened &) = delete;
};

/* ---- streams ---- */

/* The stream of a handle in this context; NULL is its default stream. NULL if there is none. */
std::shared_ptr<stream> find_stream(CUstream named, const context_ref &owner);
CUresult enqueue(const std::shared_ptr<stream> &to, work what);
CUresult enqueue_action(const std::shared_ptr<stream> &to, action what);

/* Lets streams take turns until it is so. False if nothing is left to run before. */
bool run_until(const std::function<bool()> &is_done);
bool run_step();
int working_device(); /* of the work that runs */
void finish(const context *owner);
void finish(const stream *which);
void forget_streams(const context *owner);
void add_stream(const std::shared_ptr<stream> &made);

/* ---- capture ---- */

/* Adds to the capture that the stream is part of. */
CUresult capture_work(const std::shared_ptr<stream> &to, const work &what);
/* Breaks the captures that a call of this kind breaks; CUDA_SUCCESS if there is none. */
CUresult break_own_captures();
CUresult break_captures_of(const context *owner, bool is_blocking_only);
void break_capture(capture &broken);
/* Of a stream that is destroyed. */
void leave_capture(stream &gone);
void forget_captures(const context *owner);

#endif
