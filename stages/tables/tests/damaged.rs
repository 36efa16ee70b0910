//! Damaged image files of every format: each gives an error or an image, never a panic, and never uses much memory.
//!
//! `fixtures/pictures.py` made the files. The allocator counts bytes, since allocating too much need not fail.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dnc_tables::pictures::{Limits, Raster, decode};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Maximum number of bytes that decoding one file may hold at a time.
const MOST_MEMORY: usize = 512 << 20;

/// Number of damaged copies of each file.
const COPIES: u64 = 250;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system allocator does the work; counting accesses no other memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of `alloc`, which the system allocator shares.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from the system allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests run in parallel, but memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn pictures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures");
    let mut pictures: Vec<_> = fs::read_dir(folder)
        .expect("the fixtures exist")
        .map(|entry| entry.expect("the folder can be read"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("fixtures have plain names");
            (name, fs::read(entry.path()).expect("the fixture can be read"))
        })
        .collect();
    pictures.sort();
    pictures
}

/// Decodes `bytes` and checks what must hold for any input. `None` stands for an error.
fn survived(name: &str, bytes: &[u8], limits: Limits) -> Option<Raster> {
    PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    let before = HELD.load(Ordering::Relaxed);
    let decoded = decode(bytes, [255; 3], limits, Vec::new());
    let most = PEAK.load(Ordering::Relaxed) - before;
    assert!(most <= MOST_MEMORY, "{name} took {} MiB", most >> 20);
    match decoded {
        Ok(raster) => {
            assert_eq!(raster.pixels.len(), raster.height * raster.width * 3, "{name}");
            assert!((raster.height * raster.width) as u64 <= limits.pixels, "{name}");
            Some(raster)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}

#[test]
fn intact_files_are_decoded() {
    let _alone = ALONE.lock();
    for (name, bytes) in pictures() {
        let raster = survived(&name, &bytes, Limits::default()).unwrap_or_else(|| panic!("{name} is refused"));
        assert_eq!((raster.height, raster.width), (29, 37), "{name}");
        // At the centre of the box, whose red value is 200 and whose grey value is 94.
        let (red, expected) = (raster.pixels[(14 * 37 + 17) * 3], if name == "grey.jpg" { 94 } else { 200 });
        assert!(red.abs_diff(expected) < 40, "{name}: {red}");
    }
}

#[test]
fn damaged_files_are_errors_or_images() {
    let _alone = ALONE.lock();
    let limits = Limits { pixels: 1_000_000, ..Limits::default() };
    let pictures = pictures();
    let (mut whole, mut refused) = (0, 0);
    for (number, (name, bytes)) in pictures.iter().enumerate() {
        for copy in 0..COPIES {
            let mut rng = ChaCha8Rng::seed_from_u64(number as u64 * COPIES + copy);
            let damaged = damaged(bytes, &pictures, &mut rng);
            match survived(&format!("copy {copy} of {name}"), &damaged, limits) {
                Some(_) => whole += 1,
                None => refused += 1,
            }
        }
    }
    assert!(whole + refused >= 2_000);
    // Both outcomes occurred often, so that both were tested.
    assert!(whole > 200 && refused > 200, "{whole} pictures, {refused} errors");
}

/// A copy of the file with one kind of damage.
fn damaged(bytes: &[u8], others: &[(String, Vec<u8>)], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let position = rng.random_range(0..bytes.len());
    let head = bytes.len().min(64);
    match rng.random_range(0..7) {
        0 => damaged.truncate(position),
        1 => (0..rng.random_range(1..=16))
            .for_each(|_| damaged[rng.random_range(0..bytes.len())] ^= 1 << rng.random_range(0..8)),
        // The size is stored near the beginning.
        2 => damaged[rng.random_range(0..head)] = rng.random(),
        3 => damaged[rng.random_range(0..head)..][..4.min(bytes.len() - head)].fill(0xff),
        4 => damaged[position..].fill(0),
        5 => drop(
            damaged.splice(position..position, (0..rng.random_range(1..64)).map(|_| rng.random()).collect::<Vec<u8>>()),
        ),
        // The beginning of another file, then the rest of this one.
        _ => {
            let (_, other) = others.choose(rng).expect("there are files");
            let length = rng.random_range(1..head.min(other.len()));
            damaged[..length].copy_from_slice(&other[..length]);
        }
    }
    damaged
}

/// Files that claim a huge size, up to the limits and far beyond.
#[test]
fn claimed_sizes_cost_no_memory() {
    let _alone = ALONE.lock();
    let pictures = pictures();
    let bytes = |name: &str| pictures.iter().find(|(found, _)| found == name).map(|(_, bytes)| bytes.clone()).unwrap();
    for (width, height) in [(5_600_u16, 5_600_u16), (65_500, 65_500), (u16::MAX, 1), (0, 0)] {
        let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
        for name in ["progressive.jpg", "restarts.jpg", "cmyk.jpg"] {
            let mut jpeg = bytes(name);
            // A frame's header: marker, length, precision, height, width.
            let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0] || pair == [0xff, 0xc2]).unwrap();
            jpeg[frame + 5..frame + 9].copy_from_slice(&[h, w].concat());
            survived(&format!("{name} of {width} × {height}"), &jpeg, Limits::default());
        }
        for name in ["palette.png", "deep.png"] {
            let mut png = bytes(name);
            png[16..24].copy_from_slice(&[[0; 2], w, [0; 2], h].concat());
            let checksum = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&checksum.to_be_bytes());
            survived(&format!("{name} of {width} × {height}"), &png, Limits::default());
        }
        let (w, h) = (width.to_le_bytes(), height.to_le_bytes());
        let mut gif = bytes("animated.gif");
        gif[6..10].copy_from_slice(&[w, h].concat());
        survived(&format!("GIF of {width} × {height}"), &gif, Limits::default());
        let mut bmp = bytes("palette.bmp");
        bmp[18..26].copy_from_slice(&[w, [0; 2], h, [0; 2]].concat());
        survived(&format!("BMP of {width} × {height}"), &bmp, Limits::default());
        let mut webp = bytes("lossy.webp");
        webp[26..30].copy_from_slice(&[w, h].concat());
        survived(&format!("WebP of {width} × {height}"), &webp, Limits::default());
        for name in ["lzw.tiff", "deflate.tiff"] {
            let mut tiff = bytes(name);
            // Entries of the directory: tag, type, count, value; tag 256 is the width and 257 the height.
            for (tag, value) in [(256_u16, w), (257, h)] {
                let entry = tiff.windows(2).rposition(|pair| pair == tag.to_le_bytes()).unwrap();
                tiff[entry + 8..entry + 10].copy_from_slice(&value);
            }
            survived(&format!("{name} of {width} × {height}"), &tiff, Limits::default());
        }
    }
}

/// The checksum of PNG chunks: CRC-32 as in ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}
