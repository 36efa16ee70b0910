//! Builds what the feature `cuda` needs, without which there is nothing to do: our kernels, and empty libraries.
//!
//! candle's build passes `-lcuda`, `-lcublas` and so on to the linker. The functions behind these names are defined by
//! `src/cuda/libraries`, so that the program starts on a machine without them; the linker only has to find a file of each name.
//! An empty library does, and it does not become a dependency of the program, since no symbol is taken from it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The folder of our kernels.
const KERNELS: &str = "src/cuda/kernels";

/// The oldest architecture that our kernels run on: Ampere, the first with `bf16`.
const OLDEST_CARD: &str = "compute_80";

/// The libraries that candle and cudarc link to.
const LINKED: [&str; 7] = ["cuda", "cudart", "nvrtc", "curand", "cublas", "cublasLt", "cudnn"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo:rerun-if-env-changed=DNC_CUDA_LIBRARIES");
    println!("cargo:rustc-env=DNC_CUDA_MAJOR={}", cuda_major()?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    kernels(&out)?;
    empty_libraries(&out.join("empty"))
}

/// Compiles our kernels to PTX, which the driver compiles for its card when they are loaded.
fn kernels(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={KERNELS}");
    for entry in fs::read_dir(KERNELS)? {
        let source = entry?.path();
        if source.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        let target = out.join(source.with_extension("ptx").file_name().unwrap_or_default());
        // Products and sums are fused only where a kernel says so: its rules then give the same bits on every processor.
        let options = ["--ptx", "-arch", OLDEST_CARD, "-std=c++17", "-O3", "-fmad=false", "-o"];
        let compiled = Command::new("nvcc").args(options).arg(&target).arg(&source).status()?;
        if !compiled.success() {
            return Err(format!("`nvcc` cannot compile `{}`", source.display()).into());
        }
    }
    Ok(())
}

/// The major version of the CUDA compiler, which is that of the declarations that cudarc chose.
fn cuda_major() -> Result<u32, Box<dyn Error>> {
    let output = Command::new("nvcc").arg("--version").output().map_err(|error| {
        format!("cannot run `nvcc`, CUDA's compiler: {error}; install the CUDA toolkit, or use `make cuda`")
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let release = text.split("release ").nth(1).and_then(|rest| rest.split(['.', ',']).next());
    let major = release.and_then(|major| major.trim().parse().ok());
    major.ok_or_else(|| format!("`nvcc --version` names no release: {text}").into())
}

/// Puts an empty shared library of each name into `folder`, where the linker looks for it.
fn empty_libraries(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let source = folder.join("empty.c");
    fs::write(&source, "")?;
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    for name in LINKED {
        let library = folder.join(format!("lib{name}.so"));
        let built = Command::new(&compiler).args(["-shared", "-nostdlib", "-o"]).arg(&library).arg(&source).status()?;
        if !built.success() {
            return Err(format!("`{compiler}` cannot make the shared library `{}`", library.display()).into());
        }
    }
    println!("cargo:rustc-link-search=native={}", folder.display());
    Ok(())
}
