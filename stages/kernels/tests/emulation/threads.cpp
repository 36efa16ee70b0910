#include "threads.hpp"

#include <ucontext.h>

#include <vector>

Index threadIdx, blockIdx, blockDim, gridDim;

namespace {
const size_t STACK = 64 * 1024;
const std::function<void()> *current;
ucontext_t scheduler;
std::vector<ucontext_t> contexts;
std::vector<bool> finished;
std::vector<char> stacks;
size_t running;

void entry() {
    (*current)();
    finished[running] = true;
    swapcontext(&contexts[running], &scheduler);
}

void enter(size_t thread) {
    running = thread;
    threadIdx = {(unsigned)(thread % blockDim.x), (unsigned)(thread / blockDim.x % blockDim.y), (unsigned)(thread / blockDim.x / blockDim.y)};
    swapcontext(&scheduler, &contexts[thread]);
}
}  // namespace

// Every thread runs up to its next barrier before any passes it. Threads that have returned are not waited for.
void __syncthreads() {
    // Without coroutines there is nothing to wait for: the list of kernels with barriers is incomplete.
    if (contexts.empty()) abort();
    swapcontext(&contexts[running], &scheduler);
}

void run_grid(Index grid, Index block, bool has_barriers, const std::function<void()> &body) {
    gridDim = grid;
    blockDim = block;
    current = &body;
    size_t threads = (size_t)block.x * block.y * block.z;
    contexts.resize(threads);
    stacks.resize(threads * STACK);
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                if (!has_barriers) {
                    for (threadIdx.z = 0; threadIdx.z < block.z; threadIdx.z++)
                        for (threadIdx.y = 0; threadIdx.y < block.y; threadIdx.y++)
                            for (threadIdx.x = 0; threadIdx.x < block.x; threadIdx.x++) body();
                    continue;
                }
                finished.assign(threads, false);
                for (size_t thread = 0; thread < threads; thread++) {
                    getcontext(&contexts[thread]);
                    contexts[thread].uc_stack.ss_sp = &stacks[thread * STACK];
                    contexts[thread].uc_stack.ss_size = STACK;
                    contexts[thread].uc_link = &scheduler;
                    makecontext(&contexts[thread], entry, 0);
                }
                for (bool again = true; again;) {
                    again = false;
                    for (size_t thread = 0; thread < threads; thread++) {
                        if (finished[thread]) continue;
                        enter(thread);
                        again = again || !finished[thread];
                    }
                }
            }
}
