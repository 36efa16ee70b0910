//! Freed memory of a GPU is kept and reused: asking the driver costs more host time than launching a kernel.
//!
//! candle and cudarc allocate and free with the driver's functions that are ordered by a stream, once for every tensor. They are
//! defined here instead of in `functions`: a freed block is reused by the next allocation of its size class on the same stream, which
//! the stream's order makes safe. Blocks return to the driver when it has no more memory.
//!
//! `DNC_CUDA_MEMORY=driver` in the environment passes every call on, so that tools that check memory see each of them.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{LazyLock, Mutex};

use super::functions::{Function, not_loaded};
use crate::lock::lock;

static ALLOCATE: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);
static FREE: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);

/// The driver's functions that this file calls.
pub(super) static MEMORY: &[Function] =
    &[Function { name: "cuMemAllocAsync", target: &ALLOCATE }, Function { name: "cuMemFreeAsync", target: &FREE }];

/// The driver's answers that matter here.
const SUCCESS: c_int = 0;
const OUT_OF_MEMORY: c_int = 2;

/// The address of a stream, as the driver's functions are given it.
type Stream = usize;

/// Blocks that were allocated through this file.
#[derive(Default)]
struct Blocks {
    /// Sizes of all blocks, in use or free, by address.
    sizes: HashMap<u64, usize>,
    /// Free blocks by stream and size.
    free: HashMap<(Stream, usize), Vec<u64>>,
    /// Bytes in use, and the most since [`take_peak`].
    in_use: usize,
    peak: usize,
}

static BLOCKS: LazyLock<Mutex<Blocks>> = LazyLock::new(Mutex::default);

fn are_kept() -> bool {
    static KEPT: LazyLock<bool> = LazyLock::new(|| std::env::var("DNC_CUDA_MEMORY").as_deref() != Ok("driver"));
    *KEPT
}

/// Most bytes that were in use at the same time since the last call, on all GPUs together.
pub(crate) fn take_peak() -> usize {
    let mut blocks = lock(&BLOCKS);
    let in_use = blocks.in_use;
    std::mem::replace(&mut blocks.peak, in_use)
}

/// The size class of a block: at most an eighth larger than asked for, so that batches of similar sizes share blocks.
fn class(bytes: usize) -> usize {
    const SMALLEST: usize = 512;
    let step = ((bytes.max(1).next_power_of_two() / 2) / 8).max(SMALLEST);
    bytes.next_multiple_of(step)
}

/// The driver's `cuMemAllocAsync`.
unsafe fn driver_allocate(address: *mut u64, bytes: usize, stream: Stream) -> c_int {
    // SAFETY: the pointer is the driver's function of this name and type, or one that ends the program.
    let allocate: unsafe extern "C" fn(*mut u64, usize, Stream) -> c_int =
        unsafe { transmute(ALLOCATE.load(Ordering::Relaxed)) };
    // SAFETY: promised by the caller.
    unsafe { allocate(address, bytes, stream) }
}

/// The driver's `cuMemFreeAsync`.
unsafe fn driver_free(address: u64, stream: Stream) -> c_int {
    // SAFETY: as above.
    let free: unsafe extern "C" fn(u64, Stream) -> c_int = unsafe { transmute(FREE.load(Ordering::Relaxed)) };
    // SAFETY: promised by the caller.
    unsafe { free(address, stream) }
}

// SAFETY: no other definition of this name is linked, since `functions` leaves it out. The arguments are those of the driver's function.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: Stream) -> c_int {
    // The driver answers for allocations of no bytes.
    if !are_kept() || bytes == 0 {
        // SAFETY: the caller's arguments.
        return unsafe { driver_allocate(address, bytes, stream) };
    }
    let size = class(bytes);
    let mut blocks = lock(&BLOCKS);
    if let Some(block) = blocks.free.get_mut(&(stream, size)).and_then(Vec::pop) {
        // SAFETY: the caller gives a place for the address.
        unsafe { address.write(block) };
        blocks.count(size);
        return SUCCESS;
    }
    // SAFETY: the caller's arguments, with a larger size.
    let mut answer = unsafe { driver_allocate(address, size, stream) };
    if answer == OUT_OF_MEMORY {
        blocks.release();
        // SAFETY: as above.
        answer = unsafe { driver_allocate(address, size, stream) };
    }
    if answer == SUCCESS {
        // SAFETY: the driver has written the address.
        blocks.sizes.insert(unsafe { address.read() }, size);
        blocks.count(size);
    }
    answer
}

// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeAsync(address: u64, stream: Stream) -> c_int {
    let mut blocks = lock(&BLOCKS);
    match blocks.sizes.get(&address).copied() {
        Some(size) => {
            blocks.free.entry((stream, size)).or_default().push(address);
            blocks.in_use -= size;
            SUCCESS
        }
        // SAFETY: the caller's arguments.
        None => unsafe { driver_free(address, stream) },
    }
}

impl Blocks {
    fn count(&mut self, size: usize) {
        self.in_use += size;
        self.peak = self.peak.max(self.in_use);
    }

    /// Returns all free blocks to the driver, each in the order of its stream.
    fn release(&mut self) {
        for ((stream, _), addresses) in self.free.drain() {
            for address in addresses {
                self.sizes.remove(&address);
                // SAFETY: the block is free, and its stream lives as long as the process. A block that cannot be freed is lost.
                let _ = unsafe { driver_free(address, stream) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        assert_eq!([1, 512, 513, 4096, 4097].map(class), [512, 512, 1024, 4096, 4608]);
        for bytes in [5_000, 1 << 20, (1 << 20) + 1, 12_345_678, 1 << 33] {
            let size = class(bytes);
            assert!(size >= bytes && size <= bytes + bytes / 8 + 512, "{bytes}: {size}");
        }
    }
}
