// Runs CUDA kernels on the CPU: every thread is a fiber, which goes on until it waits for others. Who goes next is drawn from
// a seed: one warp runs ahead as far as it can, then another, and their threads in any order. Shared memory starts as NaN, and
// a barrier that somebody misses is reported. Compiled with g++ before a kernel's own
// source, of which it changes nothing.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define VSTATS_EMULATED 1
#define __global__
#define __device__
#define __launch_bounds__(...)
#define __cluster_dims__(...)

struct uint3 {
    unsigned x, y, z;
};
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

inline uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

constexpr std::size_t STACK_BYTES = 96 << 10;

// Numbers from a seed (splitmix64). Of our own, like `shuffle`: the library's headers take longer to compile than a kernel.
struct Draw {
    std::uint64_t state;

    std::uint64_t operator()() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
};

template <class T>
void shuffle(std::vector<T>& items, Draw& draw) {
    for (std::size_t n = items.size(); n > 1; n--) std::swap(items[n - 1], items[draw() % n]);
}

struct Barrier {
    unsigned needed = 0, arrived = 0;
    std::vector<struct Fiber*> waiting;
};

struct Warp {
    std::vector<struct Fiber*> runnable;
    Barrier barrier;
    long long slots[2][32];  // two, taken in turn: nobody writes again what somebody has yet to read
};

struct Block {
    unsigned x, y;
    std::vector<unsigned char> shared;
    Barrier barrier;
    std::vector<Warp> warps;
};

struct Fiber {
    ucontext_t context;
    jmp_buf place;  // where it goes on: jumping spares the system calls of swapcontext
    bool begun = false;
    Block* block;
    Warp* warp;
    unsigned thread, turns = 0;
    std::vector<char> stack = std::vector<char>(STACK_BYTES);
    void* fake_stack = nullptr;
};

// The team of blocks that runs now.
inline std::vector<Block> blocks;
inline Barrier team_barrier;
inline std::vector<Warp*> order;  // who goes first of those who can
inline Fiber* current = nullptr;
inline ucontext_t scheduler;
inline jmp_buf scheduler_place;
inline unsigned finished = 0;
inline void (*body)() = nullptr;

#if defined(__SANITIZE_ADDRESS__)
inline const void* scheduler_stack = nullptr;
inline std::size_t scheduler_size = 0;
inline void* scheduler_fake = nullptr;
#endif

inline void switch_to_scheduler(bool last) {
    Fiber* self = current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &self->fake_stack, scheduler_stack, scheduler_size);
    swapcontext(&self->context, &scheduler);
    __sanitizer_finish_switch_fiber(self->fake_stack, &scheduler_stack, &scheduler_size);
#else
    (void)last;
    if (_setjmp(self->place) == 0) _longjmp(scheduler_place, 1);
#endif
}

inline void switch_to(Fiber* fiber) {
    current = fiber;
    threadIdx = {fiber->thread, 0, 0};
    blockIdx = {fiber->block->x, fiber->block->y, 0};
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake, fiber->stack.data(), fiber->stack.size());
    swapcontext(&scheduler, &fiber->context);
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
#else
    if (_setjmp(scheduler_place) == 0) {
        if (fiber->begun) _longjmp(fiber->place, 1);
        fiber->begun = true;
        setcontext(&fiber->context);
    }
#endif
}

inline void wait(Barrier& barrier) {
    if (++barrier.arrived == barrier.needed) {
        barrier.arrived = 0;
        barrier.waiting.push_back(current);
        for (Fiber* fiber : barrier.waiting) fiber->warp->runnable.push_back(fiber);
        barrier.waiting.clear();
    } else {
        barrier.waiting.push_back(current);
    }
    switch_to_scheduler(false);
}

inline void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
#endif
    body();
    finished++;
    switch_to_scheduler(true);
}

// Run a grid; returns "" or what went wrong.
inline std::string run(unsigned grid_x, unsigned grid_y, unsigned threads, unsigned team, std::size_t shared_bytes,
                       std::uint64_t seed, void (*kernel)()) {
    if (threads % 32 || grid_x % team) return "a block is whole warps, and a grid whole teams";
    Draw draw{seed};
    body = kernel;
    blockDim = {threads, 1, 1};
    gridDim = {grid_x, grid_y, 1};
    const unsigned teams = grid_x / team * grid_y;
    std::vector<unsigned> numbers(teams);
    for (unsigned n = 0; n < teams; n++) numbers[n] = n;
    shuffle(numbers, draw);
    static std::vector<Fiber> fibers;
    if (fibers.size() < std::size_t(team) * threads) fibers = std::vector<Fiber>(std::size_t(team) * threads);
    for (const unsigned number : numbers) {
        blocks = std::vector<Block>(team);
        team_barrier = {team * threads, 0, {}};
        finished = 0;
        order.clear();
        for (unsigned b = 0; b < team; b++) {
            blocks[b].x = number % (grid_x / team) * team + b;
            blocks[b].y = number / (grid_x / team);
            blocks[b].shared.assign(shared_bytes, 0xff);  // NaN, whatever it is read as
            blocks[b].shared.shrink_to_fit();
            blocks[b].barrier.needed = threads;
            blocks[b].warps = std::vector<Warp>(threads / 32);
            for (Warp& warp : blocks[b].warps) {
                warp.barrier.needed = 32;
                order.push_back(&warp);
            }
            for (unsigned t = 0; t < threads; t++) {
                Fiber& fiber = fibers[b * threads + t];
                fiber.block = &blocks[b];
                fiber.warp = &blocks[b].warps[t / 32];
                fiber.thread = t;
                fiber.turns = 0;
                fiber.begun = false;
                getcontext(&fiber.context);
                fiber.context.uc_stack.ss_sp = fiber.stack.data();
                fiber.context.uc_stack.ss_size = fiber.stack.size();
                fiber.context.uc_link = nullptr;
                makecontext(&fiber.context, fiber_main, 0);
                fiber.warp->runnable.push_back(&fiber);
            }
        }
        shuffle(order, draw);
        while (true) {
            if (draw() % 128 == 0) shuffle(order, draw);
            std::size_t first = 0;
            while (first < order.size() && order[first]->runnable.empty()) first++;
            if (first == order.size()) break;
            std::vector<Fiber*>& able = order[first]->runnable;
            std::swap(able[draw() % able.size()], able.back());
            Fiber* next = able.back();
            able.pop_back();
            switch_to(next);
        }
        if (finished != team * threads)
            return std::to_string(team * threads - finished) + " threads wait at a barrier that others never reach";
    }
    return "";
}

inline unsigned char* shared() { return current->block->shared.data(); }

// What a launch needs to know of a kernel: its parameters' kinds, and how to call it with pointers to them.
template <class T>
constexpr char kind() {
    if (std::is_pointer_v<T>) return 'P';
    if (std::is_same_v<T, int>) return 'i';
    if (std::is_same_v<T, long long>) return 'q';
    if (std::is_same_v<T, float>) return 'f';
    return '?';
}

template <class... A>
std::string kinds_of(void (*)(A...)) {
    return {kind<A>()...};
}

template <class... A, std::size_t... N>
void call(void (*kernel)(A...), void** args, std::index_sequence<N...>) {
    kernel(*static_cast<A*>(args[N])...);
}

template <class... A>
void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>());
}

inline void** arguments = nullptr;
inline std::string complaint;

}  // namespace emulator

inline void __syncthreads() { emulator::wait(emulator::current->block->barrier); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int far) {
    static_assert(sizeof(T) <= 8);
    emulator::Warp& warp = emulator::current->block->warps[threadIdx.x / 32];
    const unsigned turn = emulator::current->turns++ % 2;
    std::memcpy(&warp.slots[turn][threadIdx.x % 32], &value, sizeof(T));
    emulator::wait(warp.barrier);
    std::memcpy(&value, &warp.slots[turn][(threadIdx.x % 32) ^ far], sizeof(T));
    return value;
}

template <class T>
T atomicAdd(T* where, T value) {
    const T old = *where;
    *where += value;
    return old;
}

#define SHARED_MEMORY(name) unsigned char* name = emulator::shared()

#ifndef TEAM
#define TEAM 1
#endif

inline void team_sync() {
    if (TEAM > 1) {
        emulator::wait(emulator::team_barrier);
    } else {
        __syncthreads();
    }
}

template <class T>
T* team_peer(T* own, int rank) {
    if (TEAM == 1) return own;
    const auto offset = reinterpret_cast<unsigned char*>(own) - emulator::shared();
    return reinterpret_cast<T*>(emulator::blocks[rank].shared.data() + offset);
}

// Make `launch_NAME` and `kinds_NAME` of a kernel.
#define EMULATE(name)                                                                                               \
    extern "C" const char* kinds_##name() {                                                                           \
        static const std::string kinds = emulator::kinds_of(name);                                                   \
        return kinds.c_str();                                                                                          \
    }                                                                                                                  \
    extern "C" const char* launch_##name(unsigned grid_x, unsigned grid_y, unsigned threads, unsigned team,           \
                                         unsigned long long shared_bytes, unsigned long long seed, void** args) {     \
        emulator::arguments = args;                                                                                   \
        emulator::complaint = emulator::run(grid_x, grid_y, threads, team, shared_bytes, seed,                       \
                                            [] { emulator::call(name, emulator::arguments); });                      \
        return emulator::complaint.c_str();                                                                           \
    }
