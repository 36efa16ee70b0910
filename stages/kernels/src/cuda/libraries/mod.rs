//! NVIDIA's libraries, loaded when a GPU is first asked for.
//!
//! candle and cudarc call them as if they were linked, and a linked library must exist for a program to start at all. So that a
//! program with the feature `cuda` also starts on a machine without a driver, and says there what is missing,
//! `functions` defines each function that is called as a jump through a pointer, and this file points it at the library. `blocks` keeps
//! freed memory.

mod blocks;
mod functions;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::{env, fmt};

use blocks::MEMORY;
pub(crate) use blocks::take_peak;
use functions::{CUBLAS, CUBLAS_LT, CUDNN, CURAND, DRIVER, Function};

/// A library cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LibraryError {
    file: String,
    what: &'static str,
    remedy: &'static str,
    /// The answer of the system.
    answer: String,
}

impl fmt::Display for LibraryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, what, remedy, answer } = self;
        write!(formatter, "Cannot load `{file}`, {what}: {answer}; {remedy}")
    }
}

impl std::error::Error for LibraryError {}

/// Loads the driver's library. Cheap after the first call.
///
/// # Errors
/// There is no driver.
pub(crate) fn load_driver() -> Result<(), LibraryError> {
    static LOADED: OnceLock<Result<(), LibraryError>> = OnceLock::new();
    LOADED.get_or_init(|| DRIVER_LIBRARY.load()).clone()
}

/// Loads the driver's library and those that compute. Cheap after the first call.
///
/// # Errors
/// Names the first library that is missing, and where it comes from.
pub(crate) fn load() -> Result<(), LibraryError> {
    static LOADED: OnceLock<Result<(), LibraryError>> = OnceLock::new();
    load_driver()?;
    LOADED.get_or_init(|| LIBRARIES.iter().try_for_each(Library::load)).clone()
}

/// A shared library and the functions that are called in it.
struct Library {
    /// The file name without the version.
    name: &'static str,
    /// The version in the file name; `None` for that of CUDA.
    version: Option<&'static str>,
    what: &'static str,
    remedy: &'static str,
    functions: &'static [&'static [Function]],
}

const DRIVER_LIBRARY: Library = Library {
    name: "libcuda.so",
    version: Some("1"),
    what: "the library of NVIDIA's driver",
    remedy: "install the driver (`nvidia-smi` shows it), or use `--device cpu`",
    functions: &[DRIVER, MEMORY],
};

const CUDA_REMEDY: &str = "it belongs to the CUDA toolkit and to NVIDIA's Python packages (`nvidia-cublas`, `nvidia-curand`); add \
                           its folder to LD_LIBRARY_PATH";

/// In this order: cuBLAS needs cuBLASLt, which is found if it is loaded already.
const LIBRARIES: [Library; 4] = [
    Library { name: "libcublasLt.so", version: None, what: "cuBLASLt", remedy: CUDA_REMEDY, functions: &[CUBLAS_LT] },
    Library { name: "libcublas.so", version: None, what: "cuBLAS", remedy: CUDA_REMEDY, functions: &[CUBLAS] },
    Library { name: "libcurand.so", version: Some("10"), what: "cuRAND", remedy: CUDA_REMEDY, functions: &[CURAND] },
    Library {
        name: "libcudnn.so",
        version: Some("9"),
        what: "cuDNN 9",
        remedy: "NVIDIA distributes it apart from the CUDA toolkit, also as the Python package `nvidia-cudnn-cu13`; add its folder to \
                 LD_LIBRARY_PATH",
        functions: &[CUDNN],
    },
];

impl Library {
    fn file(&self) -> String {
        format!("{}.{}", self.name, self.version.unwrap_or(env!("DNC_CUDA_MAJOR")))
    }

    fn load(&self) -> Result<(), LibraryError> {
        let file = self.file();
        let failed = |answer| LibraryError { file: file.clone(), what: self.what, remedy: self.remedy, answer };
        let handle = first(&places(&file)).map_err(failed)?;
        for Function { name, target } in self.functions.iter().copied().flatten() {
            // Other versions lack some functions, and cudarc calls only those of its own version.
            if let Some(address) = symbol(handle, name) {
                target.store(address, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Where a library is looked for: where the system does, which includes LD_LIBRARY_PATH; in the folders that were given when
/// the program was built; and in those of the toolkit.
fn places(file: &str) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(file)];
    let built = option_env!("DNC_CUDA_LIBRARIES").map(env::split_paths).into_iter().flatten();
    places.extend(built.map(|folder| folder.join(file)));
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    for home in homes.chain([PathBuf::from("/usr/local/cuda")]) {
        places.extend(["lib64", "lib"].map(|folder| home.join(folder).join(file)));
    }
    places
}

// The system's loader; `std` links the C library, which has it.
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// Resolve everything at once, so that an incomplete library is refused here and not at the first call.
const RTLD_NOW: c_int = 2;

/// A loaded library, which stays loaded.
#[derive(Clone, Copy)]
struct Handle(*mut c_void);

/// Loads a library, or returns the answer of the system.
fn open(path: &Path) -> Result<Handle, String> {
    let text = CString::new(path.to_string_lossy().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the path is a C string. The library's own initialisers are NVIDIA's, and have no requirement.
    let handle = unsafe { dlopen(text.as_ptr(), RTLD_NOW) };
    if !handle.is_null() {
        return Ok(Handle(handle));
    }
    // SAFETY: after a failure it returns a C string that is valid until the next call on this thread.
    let answer = unsafe { dlerror() };
    if answer.is_null() {
        return Err("the system gives no reason".to_owned());
    }
    // SAFETY: as above.
    Err(unsafe { CStr::from_ptr(answer) }.to_string_lossy().into_owned())
}

/// Loads a library from the first of these places that has it, or returns the answer for the first place.
fn first(places: &[PathBuf]) -> Result<Handle, String> {
    let mut answer = None;
    for path in places {
        match open(path) {
            Ok(handle) => return Ok(handle),
            Err(error) => answer = answer.or(Some(error)),
        }
    }
    Err(answer.unwrap_or_default())
}

/// The address of a function; `None` if the library does not have it.
fn symbol(Handle(library): Handle, name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).ok()?;
    // SAFETY: the library is loaded and the name is a C string.
    let address = unsafe { dlsym(library, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_its_remedy() {
        let library = Library {
            name: "libdnc-none.so",
            version: Some("1"),
            what: "a library that nobody has",
            remedy: "do without",
            functions: &[],
        };
        let text = library.load().expect_err("there is no such library").to_string();
        assert!(text.starts_with("Cannot load `libdnc-none.so.1`, a library that nobody has: "), "{text}");
        assert!(text.contains("cannot open shared object file") && text.ends_with("; do without"), "{text}");
    }

    /// Each name is spelled as in the libraries, of those that this machine has.
    #[test]
    fn functions_exist_in_the_libraries() {
        /// Functions that only other versions of CUDA or cuDNN than 13.0 and 9.19 have.
        const OTHER_VERSIONS: [&str; 8] = [
            "cuCtxCreate_v3",
            "cuStreamGetCaptureInfo_v3",
            "cuEventElapsedTime_v2",
            "cudnnAdvInferVersionCheck",
            "cudnnAdvTrainVersionCheck",
            "cudnnCnnInferVersionCheck",
            "cudnnCnnTrainVersionCheck",
            "cudnnOpsInferVersionCheck",
        ];
        let others =
            OTHER_VERSIONS.into_iter().chain(["cudnnOpsTrainVersionCheck", "cuMemAdvise", "cuMemPrefetchAsync"]);
        let others: Vec<&str> = others.collect();
        for library in [DRIVER_LIBRARY].into_iter().chain(LIBRARIES) {
            let Ok(handle) = first(&places(&library.file())) else {
                eprintln!("Not tested, since it is not there: {}", library.file());
                continue;
            };
            let missing: Vec<&str> = library
                .functions
                .iter()
                .copied()
                .flatten()
                .map(|f| f.name)
                .filter(|name| symbol(handle, name).is_none())
                .collect();
            let unexpected: Vec<_> = missing.iter().filter(|name| !others.contains(name)).collect();
            assert!(unexpected.is_empty(), "{}: {unexpected:?}", library.file());
        }
    }
}
