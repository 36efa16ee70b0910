//! `dnc-run import-weights FILE OUT`: converts weights saved by PyTorch to safetensors.

use std::path::PathBuf;

use clap::Args;
use dnc_stages::pytorch::import_weights;

use super::failure::Failure;
use super::output::check_replaceable;

/// Arguments of `dnc-run import-weights`.
#[derive(Args)]
pub struct ImportWeightsArgs {
    /// File to read: a `state_dict` saved by PyTorch (zip or legacy format), or safetensors. Pickled code in it is not run
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Safetensors file to write
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Keep only the tensors of this backbone, under its names, and list those that are missing, unexpected or of the wrong
    /// shape
    #[arg(long, value_name = "NAME")]
    backbone: Option<String>,
}

impl ImportWeightsArgs {
    /// Writes the file and lists the tensors that do not match the backbone.
    pub(super) fn run(self) -> Result<(), Failure> {
        check_replaceable(&self.out, &["safetensors"])?;
        if self.out.canonicalize().ok().is_some_and(|out| self.file.canonicalize().is_ok_and(|file| file == out)) {
            let message =
                format!("`{}` cannot be read and written at the same time; choose another name", self.out.display());
            return Err(Failure::Call(message));
        }
        let imported = import_weights(&self.file, &self.out, self.backbone.as_deref())?;
        let misfits = imported.fit.as_ref().map(|fit| (fit, self.backbone.as_deref().unwrap_or_default()));
        if let Some((fit, _)) = misfits {
            for name in &fit.missing {
                print_line!("missing      {name}");
            }
            for name in fit.left_out.iter().chain(&fit.unexpected) {
                print_line!("unexpected   {name}");
            }
            for tensor in &fit.mismatched {
                print_line!("wrong shape  {}: {:?} instead of {:?}", tensor.name, tensor.found, tensor.wanted);
            }
            for name in &fit.whole_numbers {
                print_line!("wrong type   {name}: whole numbers, as in a quantised network");
            }
        }
        match misfits {
            Some((fit, backbone)) if !fit.is_complete() => Err(Failure::Call(format!(
                "`{}` does not match the backbone `{backbone}`: {} tensors are missing and {} have the wrong shape or type; nothing was written",
                self.file.display(),
                fit.missing.len(),
                fit.mismatched.len() + fit.whole_numbers.len()
            ))),
            _ => {
                let (written, tensors) = (imported.written, imported.tensors);
                eprintln!("Wrote {written} of {tensors} tensors to `{}`", self.out.display());
                Ok(())
            }
        }
    }
}
