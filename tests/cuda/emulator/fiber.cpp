// Fibers: stacks, and the switch from one to another.
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace emu {

// A stack is reused with its pages, so a launch after the first costs no faults. Stacks of neighbours begin at other
// lines of a page: where all begin alike, they drive each other out of the caches.
constexpr size_t STACK_BYTES = 256 << 10, GUARD_BYTES = 4 << 10, COLOURS = 64, COLOUR_BYTES = 17 * 64;
static std::vector<char *> free_stacks;

#if defined(__x86_64__)
// The registers that a callee keeps, then the stack itself.
__asm__(
    ".text\n"
    ".globl emu_fiber_switch\n"
    ".hidden emu_fiber_switch\n"
    ".type emu_fiber_switch, @function\n"
    "emu_fiber_switch:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size emu_fiber_switch, .-emu_fiber_switch\n");
constexpr size_t KEPT_WORDS = 6, ENTRY_WORD = 6;
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl emu_fiber_switch\n"
    ".hidden emu_fiber_switch\n"
    ".type emu_fiber_switch, %function\n"
    "emu_fiber_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x2, sp\n"
    "    str x2, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n"
    ".size emu_fiber_switch, .-emu_fiber_switch\n");
constexpr size_t KEPT_WORDS = 20, ENTRY_WORD = 11;
#else
#error "fibers are written for x86-64 and AArch64"
#endif

extern "C" void emu_fiber_switch(void **save, void *load);

void fiber_switch(void **save, void *load) {
    emu_fiber_switch(save, load);
}

static char *take_stack() {
    if (!free_stacks.empty()) {
        char *stack = free_stacks.back();
        free_stacks.pop_back();
        return stack;
    }
    void *pages =
        mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return nullptr;
    mprotect(pages, GUARD_BYTES, PROT_NONE);
    return static_cast<char *>(pages);
}

void fiber_prepare(fiber *f, void (*entry)()) {
    if (!f->stack) f->stack = take_stack();
    if (!f->stack) fault(0, "no memory for the stack of a thread");
    const size_t colour = reinterpret_cast<uintptr_t>(f->stack) / STACK_BYTES % COLOURS * COLOUR_BYTES;
    // One word above the entry: there a call would have left the stack.
    void **top = reinterpret_cast<void **>(f->stack + STACK_BYTES - 64 - colour) - 1;
    void **words = top - (KEPT_WORDS > ENTRY_WORD ? KEPT_WORDS : ENTRY_WORD + 1);
    std::memset(words, 0, static_cast<size_t>(top - words) * sizeof *words);
    std::memcpy(&words[ENTRY_WORD], &entry, sizeof entry);
    f->stack_pointer = words;
}

void fiber_release(fiber *f) {
    if (f->stack) free_stacks.push_back(f->stack);
    f->stack = nullptr;
}

} // namespace emu
