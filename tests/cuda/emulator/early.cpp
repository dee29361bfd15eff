// Launches with programmatic stream serialisation, which begin before those before them are over.
#include <cstdio>

#include "machine.h"

namespace emu {

// One that let its successor begin before it had waited itself leaves what it did not wait for to that one.
void early_begin_launch(bool is_early) {
    const segment before = the.has_released_early ? the.unwaited_first : the.launch_first;
    the.unwaited_first = is_early && before < the.next ? before : 0;
    the.has_waited = the.has_released_early = false;
}

void grid_wait() {
    the.running->has_waited = the.has_waited = true;
}

void grid_release() {
    if (the.unwaited_first && !the.running->has_waited) the.has_released_early = true;
}

// An access to global memory of a thread that has not waited. A write is never right: the launches before may read.
void early_check(segment wrote, unsigned access, unsigned place) {
    if (access & EMU_WRITE) fault(place, "a write to global memory before griddepcontrol.wait");
    if (wrote >= the.unwaited_first && wrote < the.launch_first) {
        fault(place, "a read of what an earlier kernel writes, before griddepcontrol.wait");
    }
}

// What comes next waits for this launch alone.
void early_end_launch() {
    if (!the.unwaited_first || the.has_waited || the.has_failed) return;
    std::snprintf(the.why, the.why_bytes, "kernel %s: it begins early, and no thread executes griddepcontrol.wait",
                  the.kernel->name);
    the.has_failed = true;
}

} // namespace emu
