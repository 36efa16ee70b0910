//! An allocator that keeps large blocks: what a training step frees, the next step gets again.
//!
//! Activations and gradients are tens of megabytes each, pictures about one. The system's allocator returns such blocks to
//! the kernel when they are freed, and each step then pays for fresh pages: faults took two thirds of the time of a 1×1
//! convolution in our measurements, and up to a fifth of a picture's. A program that decodes, trains or embeds declares
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: dnc_kernels::LargeBlocks = dnc_kernels::LargeBlocks::new();
//! # fn main() {}
//! ```
//!
//! Blocks below [`SMALLEST`] come from mimalloc: with it a plan of 10,000 nodes is made and walked in two thirds of the time, as
//! glibc asks the kernel for the pages of a thread's heap one by one. Larger ones come from the system and are rounded up to
//! a size class (eight for each power of two); a freed block waits in its class. Waiting blocks are given back to the system
//! before they and the live ones together exceed the most that was ever live by more than an eighth and 64 MiB: the process
//! never holds much more than it once needed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;

/// Smallest block that is kept, in bytes: a picture of 210 × 210 pixels.
pub const SMALLEST: usize = 1 << 17;

/// So many bytes may wait, however few were ever live.
const SLACK: usize = 64 << 20;

/// Every large block begins at a multiple of this, a cache line, and has as much before it for its [`Header`].
const ALIGNMENT: usize = 64;

/// Blocks of this size or more lie on huge pages of 2 MiB where the kernel has them: a step walks over gigabytes, and would look up
/// where each page of 4 KiB lies.
const HUGE: usize = 4 << 20;

/// A page of the smallest size.
const PAGE: usize = 4096;

/// Size classes per power of two.
const PER_OCTAVE: usize = 8;

/// Powers of two that have classes, from [`SMALLEST`] on.
const OCTAVES: usize = 23;

/// How many classes a block may be too large: at most three eighths.
const REACH: usize = 4;

/// The allocator; see the [module](self).
#[derive(Debug)]
pub struct LargeBlocks(Mutex<Blocks>);

#[derive(Debug)]
struct Blocks {
    /// For each class the block that was freed last.
    waiting: [*mut Header; PER_OCTAVE * OCTAVES],
    waiting_bytes: usize,
    live_bytes: usize,
    most_live_bytes: usize,
}

/// What lies before a block.
#[derive(Debug)]
struct Header {
    class: usize,
    /// The next waiting block of the class.
    next: *mut Header,
}

// SAFETY: the pointers are to blocks that nobody else knows.
unsafe impl Send for Blocks {}

impl LargeBlocks {
    /// An allocator that holds nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Blocks {
            waiting: [ptr::null_mut(); PER_OCTAVE * OCTAVES],
            waiting_bytes: 0,
            live_bytes: 0,
            most_live_bytes: 0,
        }))
    }

    /// Gives all waiting blocks back to the system, as before a long phase of other work.
    pub fn release(&self) {
        let mut blocks = self.blocks();
        blocks.give_back_down_to(0);
        blocks.most_live_bytes = blocks.live_bytes;
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of the class, and whether it is fresh from the system, which zeroes it if `zeroed`.
    fn take(&self, class: usize, zeroed: bool) -> (*mut u8, bool) {
        let mut blocks = self.blocks();
        if let Some(header) = blocks.pop(class) {
            return (block_behind(header), false);
        }
        blocks.count_live(size_of(class));
        let slack = blocks.most_live_bytes / 8 + SLACK;
        let room = blocks.most_live_bytes + slack - blocks.live_bytes;
        blocks.give_back_down_to(room);
        drop(blocks);
        // SAFETY: the layout's size is not zero.
        let header =
            unsafe { if zeroed { System.alloc_zeroed(layout_of(class)) } else { System.alloc(layout_of(class)) } };
        if header.is_null() {
            self.blocks().live_bytes -= size_of(class);
            return (header, true);
        }
        ask_for_huge_pages(header, size_of(class));
        let header = header.cast::<Header>();
        // SAFETY: the block has room for a header before its values.
        unsafe { header.write(Header { class, next: ptr::null_mut() }) };
        (block_behind(header), true)
    }
}

impl Default for LargeBlocks {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: small blocks come from mimalloc, large ones from the system with a layout that holds the one asked for; a block that
// waits is known to nobody else.
unsafe impl GlobalAlloc for LargeBlocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.take(class, false).0,
            // SAFETY: the caller's.
            None => unsafe { MiMalloc.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's.
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
            // SAFETY: the caller's: a small block came from mimalloc.
            return unsafe { MiMalloc.dealloc(block, layout) };
        }
        // SAFETY: a large block has a header before it.
        self.blocks().push(unsafe { block.sub(ALIGNMENT) }.cast());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that the size is valid for the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class_of(layout), class_of(wanted)) {
            // SAFETY: the caller's.
            (None, None) => unsafe { MiMalloc.realloc(block, layout, size) },
            (from, to) => {
                // SAFETY: a large block has a header before it.
                let class = from.map(|_| unsafe { block.sub(ALIGNMENT).cast::<Header>().read().class });
                if class.is_some() && to.is_some() && class >= to {
                    return block;
                }
                // SAFETY: both blocks hold the values that are copied, and the old one is the caller's to give up.
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

/// The smallest class whose blocks hold the layout; none if it is mimalloc's.
fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size();
    if size < SMALLEST || layout.align() > ALIGNMENT {
        return None;
    }
    let octave = size.ilog2();
    let step = (1 << octave) / PER_OCTAVE;
    let within = (size - (1 << octave)).div_ceil(step);
    let class = (octave - SMALLEST.ilog2()) as usize * PER_OCTAVE + within;
    (class < PER_OCTAVE * OCTAVES).then_some(class)
}

/// The size of a class's blocks.
fn size_of(class: usize) -> usize {
    let octave = SMALLEST << (class / PER_OCTAVE);
    octave + class % PER_OCTAVE * (octave / PER_OCTAVE)
}

fn layout_of(class: usize) -> Layout {
    Layout::from_size_align(ALIGNMENT + size_of(class), ALIGNMENT).expect("the largest class is 2 TiB")
}

/// Asks for huge pages under a block that the system has just given. A kernel that has none leaves it as it is.
fn ask_for_huge_pages(block: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    if size >= HUGE {
        let before = block.align_offset(PAGE);
        let length = (size - before) / PAGE * PAGE;
        // SAFETY: the range lies inside the block, and the advice changes no value in it.
        let _ = unsafe {
            rustix::mm::madvise(block.wrapping_add(before).cast(), length, rustix::mm::Advice::LinuxHugepage)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (block, size, HUGE, PAGE);
}

fn block_behind(header: *mut Header) -> *mut u8 {
    header.cast::<u8>().wrapping_add(ALIGNMENT)
}

impl Blocks {
    fn count_live(&mut self, size: usize) {
        self.live_bytes += size;
        self.most_live_bytes = self.most_live_bytes.max(self.live_bytes);
    }

    /// A waiting block that holds the class, no longer waiting.
    fn pop(&mut self, class: usize) -> Option<*mut Header> {
        let classes = class..(class + REACH).min(self.waiting.len());
        let class = classes.into_iter().find(|&class| !self.waiting[class].is_null())?;
        let header = self.unlink(class);
        self.count_live(size_of(class));
        Some(header)
    }

    fn push(&mut self, header: *mut Header) {
        // SAFETY: the block is free, and its header was written when it was allocated.
        let class = unsafe {
            (*header).next = self.waiting[(*header).class];
            (*header).class
        };
        self.waiting[class] = header;
        self.waiting_bytes += size_of(class);
        self.live_bytes -= size_of(class);
    }

    /// Takes the first block out of a class that has one.
    fn unlink(&mut self, class: usize) -> *mut Header {
        let header = self.waiting[class];
        // SAFETY: a waiting block has a header.
        self.waiting[class] = unsafe { (*header).next };
        self.waiting_bytes -= size_of(class);
        header
    }

    /// Gives waiting blocks back to the system, largest first, until at most `bytes` wait.
    fn give_back_down_to(&mut self, bytes: usize) {
        for class in (0..self.waiting.len()).rev() {
            while self.waiting_bytes > bytes && !self.waiting[class].is_null() {
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
    fn a_class_holds_its_sizes() {
        for size in [SMALLEST, SMALLEST + 1, 3 * SMALLEST, 71_000_000, 1 << 33] {
            let class = class_of(layout(size)).expect("a large size");
            assert!(size_of(class) >= size);
            assert!(size_of(class) <= size + size / PER_OCTAVE);
            assert!(class == 0 || size_of(class - 1) < size);
        }
        assert_eq!(class_of(layout(SMALLEST - 1)), None);
    }

    #[test]
    fn a_freed_block_comes_back_zeroed_if_asked() {
        let allocator = LargeBlocks::new();
        let (first, second) = (layout(5 * SMALLEST + 7), layout(5 * SMALLEST));
        // SAFETY: each block is written inside its layout and freed with it.
        unsafe {
            let block = allocator.alloc(first);
            block.write_bytes(7, first.size());
            allocator.dealloc(block, first);
            let again = allocator.alloc_zeroed(second);
            assert_eq!(again, block);
            assert!((0..second.size()).all(|at| again.add(at).read() == 0));
            assert_eq!(allocator.blocks().waiting_bytes, 0);
            allocator.dealloc(again, second);
        }
        assert!(allocator.blocks().waiting_bytes > 0);
        allocator.release();
        let blocks = allocator.blocks();
        assert_eq!((blocks.waiting_bytes, blocks.live_bytes), (0, 0));
    }

    #[test]
    fn no_more_is_held_than_was_once_live() {
        let allocator = LargeBlocks::new();
        let mut most = 0;
        for round in 1..200 {
            let size = layout((1 + round * 37 % 90) << 20);
            // SAFETY: as above.
            unsafe {
                let block = allocator.alloc(size);
                allocator.dealloc(block, size);
            }
            let blocks = allocator.blocks();
            most = most.max(blocks.most_live_bytes);
            assert!(blocks.waiting_bytes <= most + most / 8 + SLACK);
        }
    }

    #[test]
    fn growing_keeps_the_values() {
        let allocator = LargeBlocks::new();
        // SAFETY: the block is read inside the layout that it was grown to.
        unsafe {
            let small = layout(1000);
            let block = allocator.alloc(small);
            block.write_bytes(3, 1000);
            let grown = allocator.realloc(block, small, 3 * SMALLEST);
            let in_place = allocator.realloc(grown, layout(3 * SMALLEST), 3 * SMALLEST - 5);
            assert_eq!(grown, in_place);
            assert!((0..1000).all(|at| in_place.add(at).read() == 3));
            let shrunk = allocator.realloc(in_place, layout(3 * SMALLEST - 5), 500);
            assert!((0..500).all(|at| shrunk.add(at).read() == 3));
            allocator.dealloc(shrunk, layout(500));
        }
    }
}
