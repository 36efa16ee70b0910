//! An allocator that caches large blocks: what one training step frees, the next one gets again.
//!
//! Activations and gradients are tens of megabytes each, decoded images about one. The system's allocator returns such blocks to
//! the kernel when they are freed, so each step pays for fresh pages: page faults took two thirds of the time of a 1×1 convolution
//! in our measurements, and up to a fifth of an image's decoding time. A program that decodes, trains or embeds declares
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: dnc_kernels::CachingAllocator = dnc_kernels::CachingAllocator::new();
//! # fn main() {}
//! ```
//!
//! Blocks below [`MIN_CACHED`] come from mimalloc, with which planning a graph of 10,000 nodes takes two thirds of the time: glibc
//! asks the kernel for the pages of a thread's heap one by one. Larger blocks come from the system and are rounded up to a size class
//! (eight per power of two); a freed block is cached in its class. Cached blocks are returned to the system before they and the live
//! ones together exceed the peak of live memory by more than an eighth and 64 MiB, so the process never holds much more than it
//! once needed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use mimalloc::MiMalloc;

use crate::lock::lock;

/// Smallest block that is cached, in bytes: an image of 210 × 210 pixels.
const MIN_CACHED: usize = 1 << 17;

/// Bytes that may be cached however small the peak of live memory is.
const SLACK: usize = 64 << 20;

/// Alignment of every large block, a cache line, and the room before it for its [`Header`].
const ALIGNMENT: usize = 64;

/// Blocks of at least this size use huge pages of 2 MiB where the kernel offers them: a step reads gigabytes, and pages of 4 KiB
/// would cost as many TLB misses.
const HUGE_FROM: usize = 4 << 20;

/// Size of a regular page.
const PAGE: usize = 4096;

/// Size classes per power of two.
const CLASSES_PER_OCTAVE: usize = 8;

/// Powers of two that have classes, from [`MIN_CACHED`] on.
const OCTAVES: usize = 23;

/// Number of size classes, from the requested one on, that are searched for a cached block: it is at most three eighths too large.
const SEARCHED_CLASSES: usize = 4;

/// The allocator; see the [module](self).
#[derive(Debug)]
pub struct CachingAllocator(Mutex<Blocks>);

#[derive(Debug)]
struct Blocks {
    /// For each class, the block that was freed last: the head of a linked list.
    cached: [*mut Header; CLASSES_PER_OCTAVE * OCTAVES],
    cached_bytes: usize,
    live_bytes: usize,
    peak_live_bytes: usize,
}

/// Stored before each block.
#[derive(Debug)]
struct Header {
    class: usize,
    /// The next cached block of the class.
    next: *mut Header,
}

// SAFETY: the pointers are to cached blocks, which only this list refers to.
unsafe impl Send for Blocks {}

impl CachingAllocator {
    /// An allocator without cached blocks.
    pub const fn new() -> Self {
        Self(Mutex::new(Blocks {
            cached: [ptr::null_mut(); CLASSES_PER_OCTAVE * OCTAVES],
            cached_bytes: 0,
            live_bytes: 0,
            peak_live_bytes: 0,
        }))
    }

    /// Returns all cached blocks to the system, for instance before a long phase of other work.
    pub fn release(&self) {
        let mut blocks = self.blocks();
        blocks.shrink_cache_to(0);
        blocks.peak_live_bytes = blocks.live_bytes;
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        lock(&self.0)
    }

    /// A block of the class, and whether it comes fresh from the system, in which case it is zeroed if `zeroed`.
    fn take(&self, class: usize, zeroed: bool) -> (*mut u8, bool) {
        let mut blocks = self.blocks();
        if let Some(header) = blocks.pop(class) {
            return (block_after(header), false);
        }
        blocks.count_live(size_of(class));
        let slack = blocks.peak_live_bytes / 8 + SLACK;
        let room = blocks.peak_live_bytes + slack - blocks.live_bytes;
        blocks.shrink_cache_to(room);
        drop(blocks);
        // SAFETY: the layout's size is not zero.
        let header =
            unsafe { if zeroed { System.alloc_zeroed(layout_of(class)) } else { System.alloc(layout_of(class)) } };
        if header.is_null() {
            self.blocks().live_bytes -= size_of(class);
            return (header, true);
        }
        request_huge_pages(header, size_of(class));
        let header = header.cast::<Header>();
        // SAFETY: the block has room for a header before its values.
        unsafe { header.write(Header { class, next: ptr::null_mut() }) };
        (block_after(header), true)
    }
}

impl Default for CachingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: small blocks come from mimalloc, large ones from the system with a layout that holds the requested one; nothing else refers
// to a cached block.
unsafe impl GlobalAlloc for CachingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.take(class, false).0,
            // SAFETY: guaranteed by the caller.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: guaranteed by the caller.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        };
        let (block, fresh) = self.take(class, true);
        if !fresh {
            // SAFETY: the block holds the layout.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if class_of(layout).is_none() {
            // SAFETY: guaranteed by the caller; a small block came from mimalloc.
            return unsafe { MiMalloc.dealloc(block, layout) };
        }
        // SAFETY: a large block has a header before it.
        self.blocks().push(unsafe { block.sub(ALIGNMENT) }.cast());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is valid for the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class_of(layout), class_of(wanted)) {
            // SAFETY: guaranteed by the caller.
            (None, None) => unsafe { MiMalloc.realloc(block, layout, size) },
            (from, to) => {
                // SAFETY: a large block has a header before it.
                let class = from.map(|_| unsafe { block.sub(ALIGNMENT).cast::<Header>().read().class });
                if class.is_some() && to.is_some() && class >= to {
                    return block;
                }
                // SAFETY: both blocks hold the values that are copied, and the caller gives up the old one.
                unsafe {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

/// The smallest class whose blocks hold the layout; `None` if mimalloc serves it.
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size < MIN_CACHED || layout.align() > ALIGNMENT {
        return None;
    }
    let octave = size.ilog2();
    let step = (1 << octave) / CLASSES_PER_OCTAVE;
    let within = (size - (1 << octave)).div_ceil(step);
    let class = (octave - MIN_CACHED.ilog2()) as usize * CLASSES_PER_OCTAVE + within;
    (class < CLASSES_PER_OCTAVE * OCTAVES).then_some(class)
}

/// The size of a class's blocks.
fn size_of(class: usize) -> usize {
    let octave = MIN_CACHED << (class / CLASSES_PER_OCTAVE);
    octave + class % CLASSES_PER_OCTAVE * (octave / CLASSES_PER_OCTAVE)
}

fn layout_of(class: usize) -> Layout {
    Layout::from_size_align(ALIGNMENT + size_of(class), ALIGNMENT).expect("the largest class is 2 TiB")
}

/// Requests huge pages for a block that the system has just allocated. Without support in the kernel this has no effect.
fn request_huge_pages(block: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    if size >= HUGE_FROM {
        let before = block.align_offset(PAGE);
        let length = (size - before) / PAGE * PAGE;
        // SAFETY: the range lies inside the block, and the advice changes no value in it.
        let _ = unsafe {
            rustix::mm::madvise(block.wrapping_add(before).cast(), length, rustix::mm::Advice::LinuxHugepage)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (block, size, HUGE_FROM, PAGE);
}

fn block_after(header: *mut Header) -> *mut u8 {
    header.cast::<u8>().wrapping_add(ALIGNMENT)
}

impl Blocks {
    fn count_live(&mut self, size: usize) {
        self.live_bytes += size;
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    /// Takes a block that holds the class out of the cache.
    fn pop(&mut self, class: usize) -> Option<*mut Header> {
        let classes = class..(class + SEARCHED_CLASSES).min(self.cached.len());
        let class = classes.into_iter().find(|&class| !self.cached[class].is_null())?;
        let header = self.unlink(class);
        self.count_live(size_of(class));
        Some(header)
    }

    fn push(&mut self, header: *mut Header) {
        // SAFETY: the block is free, and its header was written when it was allocated.
        let class = unsafe {
            (*header).next = self.cached[(*header).class];
            (*header).class
        };
        self.cached[class] = header;
        self.cached_bytes += size_of(class);
        self.live_bytes -= size_of(class);
    }

    /// Takes the first block out of a class that has one.
    fn unlink(&mut self, class: usize) -> *mut Header {
        let header = self.cached[class];
        // SAFETY: a cached block has a header.
        self.cached[class] = unsafe { (*header).next };
        self.cached_bytes -= size_of(class);
        header
    }

    /// Returns cached blocks to the system, largest first, until at most `bytes` remain.
    fn shrink_cache_to(&mut self, bytes: usize) {
        for class in (0..self.cached.len()).rev() {
            while self.cached_bytes > bytes && !self.cached[class].is_null() {
                let header = self.unlink(class);
                // SAFETY: the block came from the system with this layout.
                unsafe { System.dealloc(header.cast(), layout_of(class)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).expect("a small alignment")
    }

    #[test]
    fn a_class_is_the_smallest_that_holds_a_size() {
        for size in [MIN_CACHED, MIN_CACHED + 1, 3 * MIN_CACHED, 71_000_000, 1 << 33] {
            let class = class_of(layout(size)).expect("a large size");
            assert!(size_of(class) >= size);
            assert!(size_of(class) <= size + size / CLASSES_PER_OCTAVE);
            assert!(class == 0 || size_of(class - 1) < size);
        }
        assert_eq!(class_of(layout(MIN_CACHED - 1)), None);
    }

    #[test]
    fn a_freed_block_is_reused_and_zeroed_on_request() {
        let allocator = CachingAllocator::new();
        let (first, second) = (layout(5 * MIN_CACHED + 7), layout(5 * MIN_CACHED));
        // SAFETY: each block is written inside its layout and freed with it.
        unsafe {
            let block = allocator.alloc(first);
            block.write_bytes(7, first.size());
            allocator.dealloc(block, first);
            let again = allocator.alloc_zeroed(second);
            assert_eq!(again, block);
            assert!((0..second.size()).all(|at| again.add(at).read() == 0));
            assert_eq!(allocator.blocks().cached_bytes, 0);
            allocator.dealloc(again, second);
        }
        assert!(allocator.blocks().cached_bytes > 0);
        allocator.release();
        let blocks = allocator.blocks();
        assert_eq!((blocks.cached_bytes, blocks.live_bytes), (0, 0));
    }

    #[test]
    fn the_cache_does_not_exceed_the_peak_of_live_memory() {
        let allocator = CachingAllocator::new();
        let mut peak = 0;
        for round in 1..200 {
            let size = layout((1 + round * 37 % 90) << 20);
            // SAFETY: as above.
            unsafe {
                let block = allocator.alloc(size);
                allocator.dealloc(block, size);
            }
            let blocks = allocator.blocks();
            peak = peak.max(blocks.peak_live_bytes);
            assert!(blocks.cached_bytes <= peak + peak / 8 + SLACK);
        }
    }

    #[test]
    fn reallocation_keeps_the_values() {
        let allocator = CachingAllocator::new();
        // SAFETY: the block is read inside the layout that it was grown to.
        unsafe {
            let small = layout(1000);
            let block = allocator.alloc(small);
            block.write_bytes(3, 1000);
            let grown = allocator.realloc(block, small, 3 * MIN_CACHED);
            let in_place = allocator.realloc(grown, layout(3 * MIN_CACHED), 3 * MIN_CACHED - 5);
            assert_eq!(grown, in_place);
            assert!((0..1000).all(|at| in_place.add(at).read() == 3));
            let shrunk = allocator.realloc(in_place, layout(3 * MIN_CACHED - 5), 500);
            assert!((0..500).all(|at| shrunk.add(at).read() == 3));
            allocator.dealloc(shrunk, layout(500));
        }
    }
}
