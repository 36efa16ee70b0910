// The driver: memory is the machine's, streams do everything at once, kernels run on the CPU.
#include <stdio.h>

#include <mutex>
#include <set>
#include <vector>

#include "kernels.hpp"

typedef int Status;
typedef unsigned long long Pointer;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_HANDLE = 400, NOT_FOUND = 500 };

namespace {
std::recursive_mutex lock;
struct Module {
    bool own;
};
struct Function {
    Kernel kernel;
    bool own, has_barriers;
};
// Kernels of ours whose threads wait for each other.
bool has_barriers(const std::string &name) {
    for (const char *prefix : {"mask_rows", "sum_chunks", "finish_layers", "global_pool_f32", "global_pool_bf16", "depthwise_weight",
                               "layer_norm", "softmax", "fused_attention", "prepare_rows", "select_rows", "measure_rows",
                               "nearest_centroids", "centroid_distances"})
        if (name.rfind(prefix, 0) == 0) return true;
    return false;
}
// How many cards there are: EMULATED_GPUS, or one.
int cards() {
    const char *text = getenv("EMULATED_GPUS");
    return text ? atoi(text) : 1;
}
// The context of this thread; that of a card is its number plus one, and a stream's number tells its context.
thread_local void *current = nullptr;
enum { STREAMS = 16 };
// Bytes that may be allocated at the same time, to test what happens beyond.
size_t limit() {
    const char *text = getenv("EMULATED_GPU_BYTES");
    return text ? strtoull(text, 0, 10) : (size_t)1 << 36;
}
std::map<Pointer, size_t> allocations;
size_t allocated = 0;

Status allocate(Pointer *out, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (bytes == 0) return INVALID_VALUE;
    if (allocated + bytes > limit()) return OUT_OF_MEMORY;
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    // What a kernel forgets to write is NaN.
    memset(memory, 0xff, bytes);
    *out = (Pointer)memory;
    allocations[*out] = bytes;
    allocated += bytes;
    return SUCCESS;
}

Status release(Pointer pointer) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto found = allocations.find(pointer);
    if (found == allocations.end()) return INVALID_VALUE;
    allocated -= found->second;
    memset((void *)pointer, 0xff, found->second);
    allocations.erase(found);
    free((void *)pointer);
    return SUCCESS;
}

// Page-locked memory of the host, and the copies out of it that the host has not waited for: a GPU may read their bytes at any time
// until then, so that they must not change or be freed.
std::map<char *, size_t> locked;
struct Copy {
    const char *from;
    std::vector<char> bytes;
    size_t number;
};
std::vector<Copy> copies;
size_t enqueued = 0;
// Number of copies that were enqueued when it was recorded.
struct Event {
    size_t copies;
};

bool is_locked(const void *memory) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto after = locked.upper_bound((char *)memory);
    return after != locked.begin() && (--after, (char *)memory < after->first + after->second);
}

void enqueue(const void *from, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (is_locked(from)) copies.push_back({(const char *)from, {(const char *)from, (const char *)from + bytes}, enqueued++});
}

// The host has waited for the first `number` copies.
Status wait_for(size_t number) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (const Copy &copy : copies)
        if (copy.number < number && memcmp(copy.from, copy.bytes.data(), copy.bytes.size())) {
            fprintf(stderr, "Page-locked memory was changed while a GPU may still have read it\n");
            abort();
        }
    size_t waiting = 0;
    while (waiting < copies.size() && copies[waiting].number < number) waiting++;
    copies.erase(copies.begin(), copies.begin() + waiting);
    return SUCCESS;
}
Status wait_for_all() {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return wait_for(enqueued);
}
Status record(Event *event) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return event->copies = enqueued, SUCCESS;
}

Status lock_memory(void **out, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (bytes == 0) return INVALID_VALUE;
    *out = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    memset(*out, 0xff, bytes);
    locked[(char *)*out] = bytes;
    return SUCCESS;
}

Status unlock_memory(void *memory) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto found = locked.find((char *)memory);
    if (found == locked.end()) return INVALID_VALUE;
    for (const Copy &copy : copies)
        if (copy.from >= found->first && copy.from < found->first + found->second) {
            fprintf(stderr, "Page-locked memory is freed while a GPU may still read it\n");
            abort();
        }
    locked.erase(found);
    free(memory);
    return SUCCESS;
}
}  // namespace

extern "C" {
Status cuInit(unsigned) { return SUCCESS; }
Status cuDeviceGetCount(int *count) { return *count = cards(), SUCCESS; }
Status cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal < cards() ? SUCCESS : 101; }
Status cuDeviceGetName(char *name, int length, int) { return snprintf(name, length, "emulated on a CPU"), SUCCESS; }
Status cuDeviceGetAttribute(int *value, int, int) { return *value = 1, SUCCESS; }
Status cuDeviceTotalMem_v2(size_t *bytes, int) { return *bytes = (size_t)1 << 34, SUCCESS; }
Status cuDeviceGetUuid_v2(char *uuid, int) { return memset(uuid, 0, 16), SUCCESS; }
Status cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)(1l + device), SUCCESS; }
Status cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
Status cuCtxGetCurrent(void **context) { return *context = current, SUCCESS; }
Status cuCtxSetCurrent(void *context) { return current = context, SUCCESS; }
Status cuCtxSynchronize() { return wait_for_all(); }
Status cuStreamCreate(void **stream, unsigned) { return *stream = (void *)((long)current * STREAMS + 2), SUCCESS; }
Status cuStreamDestroy_v2(void *) { return SUCCESS; }
Status cuStreamSynchronize(void *) { return wait_for_all(); }
Status cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
Status cuStreamIsCapturing(void *, int *status) { return *status = 0, SUCCESS; }
Status cuEventCreate(void **event, unsigned) { return *event = new Event{0}, SUCCESS; }
Status cuEventRecord(void *event, void *) { return record((Event *)event); }
Status cuEventSynchronize(void *event) { return wait_for(((Event *)event)->copies); }
Status cuEventDestroy_v2(void *event) { return delete (Event *)event, SUCCESS; }
Status cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = (void *)4, SUCCESS; }
Status cuMemPoolSetAttribute(void *, int, void *) { return SUCCESS; }
Status cuMemGetInfo_v2(size_t *available, size_t *total) { return *available = *total = (size_t)1 << 34, SUCCESS; }
Status cuMemAllocAsync(Pointer *out, size_t bytes, void *) { return allocate(out, bytes); }
Status cuMemAlloc_v2(Pointer *out, size_t bytes) { return allocate(out, bytes); }
Status cuMemFreeAsync(Pointer pointer, void *) { return release(pointer); }
Status cuMemFree_v2(Pointer pointer) { return release(pointer); }
Status cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void *) { return memset((void *)to, value, bytes), SUCCESS; }
Status cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *) {
    enqueue(from, bytes);
    return memcpy((void *)to, from, bytes), SUCCESS;
}
// A copy to memory that is not page-locked ends when all work before it has.
Status cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, void *) {
    if (!is_locked(to)) wait_for_all();
    return memcpy(to, (void *)from, bytes), SUCCESS;
}
Status cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void *) { return memmove((void *)to, (void *)from, bytes), SUCCESS; }
Status cuMemHostAlloc(void **out, size_t bytes, unsigned) { return lock_memory(out, bytes); }
Status cuMemFreeHost(void *memory) { return unlock_memory(memory); }

Status cuGetErrorName(Status status, const char **name) {
    *name = status == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : status == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_INVALID_VALUE";
    return SUCCESS;
}
Status cuGetErrorString(Status status, const char **text) { return cuGetErrorName(status, text); }

// A module is ours if all its kernels are; candle's have other ones beside.
Status cuModuleLoadData(void **module, const void *image) {
    const char *text = (const char *)image;
    bool own = true;
    for (const char *at = text; (at = strstr(at, ".entry ")); at += 7) {
        std::string name(at + 7, strcspn(at + 7, "( \n"));
        own = own && own_kernels().count(name);
    }
    *module = new Module{own};
    return SUCCESS;
}
Status cuModuleUnload(void *module) { return delete (Module *)module, SUCCESS; }
Status cuModuleGetFunction(void **function, void *module, const char *name) {
    bool own = ((Module *)module)->own;
    Kernel kernel = own ? own_kernels().at(name) : candle_kernel(name);
    if (!kernel) {
        fprintf(stderr, "The emulated GPU has no kernel `%s`\n", name);
        return NOT_FOUND;
    }
    *function = new Function{kernel, own, own && has_barriers(name)};
    return SUCCESS;
}
Status cuFuncGetAttribute(int *value, int, void *) { return *value = 1024, SUCCESS; }
Status cuFuncSetAttribute(void *, int, int) { return SUCCESS; }
Status cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned, void *stream,
                      void **arguments, void **) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if ((long)stream / STREAMS != (long)current) return INVALID_HANDLE;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || gz > 65535 || bx * by * bz > 1024) return INVALID_VALUE;
    const Function &called = *(const Function *)function;
    if (called.own) run_grid({gx, gy, gz}, {bx, by, bz}, called.has_barriers, [&] { called.kernel(arguments); });
    else called.kernel(arguments);
    return SUCCESS;
}
}
