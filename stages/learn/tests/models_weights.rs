//! Weights files: files written by PyTorch are read, and damaged files give an error and nothing worse.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device};
use dnc_learn::weights::{NamedTensor, export, import};

/// Size of the largest single allocation so far.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct LargestAllocation;

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for LargestAllocation {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: LargestAllocation = LargestAllocation;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A tensor in one line.
fn line(tensor: &NamedTensor) -> String {
    let values: Vec<f32> = tensor.to_tensor(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let values: Vec<_> = values.iter().map(|value| format!("{value:.3}")).collect();
    format!("{} {:?} {:?} = {}", tensor.name, tensor.dtype, tensor.shape, values.join(" ")).trim_end().to_owned()
}

fn lines(name: &str) -> Vec<String> {
    let mut lines: Vec<_> = import(&fixture(name)).unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn all_three_formats_hold_the_same_tensors() {
    let zip = lines("models_tiny.pth");
    insta::assert_snapshot!(zip.join("\n"), @r"
    state_dict.module.bfloat BF16 [5] = -0.404 -0.233 0.562 -0.242 -0.855
    state_dict.module.conv.weight F32 [2, 3, 1, 2] = 0.441 0.774 -0.585 -0.714 0.409 -0.495 -0.119 0.624 -0.138 0.078 -0.794 0.939
    state_dict.module.count I64 [3] = 1.000 -2.000 3.000
    state_dict.module.double F64 [2, 2] = 0.993 -0.866 -0.594 -0.809
    state_dict.module.empty F32 [0, 3] =
    state_dict.module.flag U8 [2] = 1.000 0.000
    state_dict.module.half F16 [5] = -0.764 -0.012 0.675 -0.487 0.634
    state_dict.module.row F32 [4] = -0.049 0.264 -0.987 -0.108
    state_dict.module.scalar F32 [] = 2.500
    state_dict.module.transposed F32 [4, 3] = -0.384 -0.049 -0.010 0.659 0.264 0.901 0.577 -0.987 -0.500 0.154 -0.108 -0.481
    ");
    assert_eq!(lines("models_tiny_legacy.pth"), zip);
    let bare: Vec<_> = zip.iter().map(|line| line.replace("state_dict.", "")).collect();
    assert_eq!(lines("models_tiny.safetensors"), bare);
}

#[test]
fn exported_tensors_are_imported_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut tensors = import(&fixture("models_tiny.pth")).unwrap();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    export(&path, &tensors, None).unwrap();
    assert_eq!(import(&path).unwrap(), tensors);
    assert!(tensors.iter().any(|tensor| tensor.dtype == DType::BF16));
}

#[test]
fn a_damaged_file_gives_an_error_or_other_values() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["models_tiny.pth", "models_tiny_legacy.pth", "models_tiny.safetensors"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        let mut refused = 0;
        let mut attempt = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            refused += usize::from(import(&path).is_err());
            // Some file systems flush a file that is overwritten, but not a new one.
            std::fs::remove_file(&path).unwrap();
        };
        for length in (0..whole.len()).step_by(7) {
            attempt(&whole[..length]);
        }
        let cuts = whole.len().div_ceil(7);
        for byte in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << (byte % 8);
            attempt(&flipped);
        }
        assert!(
            refused >= cuts / 2,
            "{name}: only {refused} of {cuts} truncations and {} flips were rejected",
            whole.len()
        );
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest < 1 << 24, "{name}: {largest} bytes in one allocation for a file of {}", whole.len());
    }
}

#[test]
fn errors_name_the_problem_and_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], expected: &str| {
        let path = folder.path().join("w");
        std::fs::write(&path, bytes).unwrap();
        let error = import(&path).unwrap_err().to_string();
        let error = error.replace(&path.display().to_string(), "w");
        assert_eq!(error, format!("Could not parse the weights file `w`: {expected}"));
    };
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let legacy = |object: &[u8]| [magic, b"\x80\x02M\xe9\x03.".as_slice(), b"}.", object].concat();
    check(b"hello", "it is something else, neither safetensors nor a `state_dict` saved by PyTorch");
    check(&legacy(b"I"), "its pickle has the unsupported instruction 0x49");
    check(&legacy(b"h\x05."), "it refers to a value that was never stored");
    check(&legacy(b"\x85."), "its stack is empty");
    check(&legacy(b"X\xff\xff\xff\xff."), "it ends within 4294967295 bytes that start at byte 28");
    // A call of `os.system` builds an inert value; then the list of storages is missing.
    check(&legacy(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R."), "it ends within 1 bytes that start at byte 44");
    // Ten thousand nested tuples.
    let nested = [b")".as_slice(), &b"\x85".repeat(10_000), b"."].concat();
    check(&legacy(&nested), "it ends within 1 bytes that start at byte 10025");
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQK\x02K\x03\x85K\x01\x85\x89NtR.";
    check(&legacy(tensor), "one of its tensors, of shape [3], reaches beyond its storage");
    // Inputs that would be misread: signed bytes, and a part of another storage.
    let storage = |class: &[u8], part: &[u8]| {
        legacy(&[b"(U\x07storagectorch\n".as_slice(), class, b"\nU\x010U\x03cpuK\x04", part, b"tQ."].concat())
    };
    check(&storage(b"CharStorage", b"N"), "one of its tensors has the unsupported type `CharStorage`");
    check(
        &storage(b"FloatStorage", b"(U\x011K\x00K\x02t"),
        "one of its storages is a part of another one, which is not supported",
    );
    // A network that was saved as a whole object, which is not instantiated, has no tensors that could be found.
    check(&legacy(b"cmodels\nNet\n)R.]."), "it holds no tensor");
    check(&legacy(b"ccollections\nOrderedDict\nK\x05\x85R."), "it builds a dictionary from a value that is not a list");
}

#[test]
fn a_dictionary_from_python_2_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w");
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let tensor = b"ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x03NtQK\x01K\x02\x85K\x01\x85tR";
    // `OrderedDict([["w", tensor]])`, as Python 2 pickles it.
    let object = [b"ccollections\nOrderedDict\n](]U\x01wa".as_slice(), tensor, b"ae\x85R."].concat();
    let storage: Vec<u8> = [1f32, 2.5, -3.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let file =
        [magic.as_slice(), b"\x80\x02M\xe9\x03.", b"}.", &object, b"]U\x010a.", &3u64.to_le_bytes(), &storage].concat();
    std::fs::write(&path, file).unwrap();
    let tensors = import(&path).unwrap();
    assert_eq!(tensors.iter().map(line).collect::<Vec<_>>(), ["w F32 [2] = 2.500 -3.000"]);
}
