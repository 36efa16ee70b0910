//! `dnc-run import-weights FILE OUT`: weights saved by PyTorch as safetensors.

use std::path::PathBuf;

use clap::Args;
use dnc_stages::pytorch::import_weights;

use super::Failure;

/// Arguments of `import-weights`.
#[derive(Args)]
pub struct ImportWeightsArgs {
    /// A `state_dict` saved by PyTorch (zip or legacy), or safetensors; no code in it is run
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The safetensors file that is written
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Only the tensors of this backbone, under its names; all that is missing, superfluous or misshapen is listed
    #[arg(long, value_name = "NAME")]
    backbone: Option<String>,
}

impl ImportWeightsArgs {
    /// Writes the file and lists what does not fit.
    pub(super) fn run(self) -> Result<(), Failure> {
        let imported = import_weights(&self.file, &self.out, self.backbone.as_deref())?;
        let misfits = imported.fit.as_ref().map(|fit| (fit, self.backbone.as_deref().unwrap_or_default()));
        if let Some((fit, _)) = misfits {
            for name in &fit.missing {
                say!("missing      {name}");
            }
            for name in &fit.superfluous {
                say!("superfluous  {name}");
            }
            for tensor in &fit.misshapen {
                say!("misshapen    {}: {:?} instead of {:?}", tensor.name, tensor.found, tensor.wanted);
            }
        }
        match misfits {
            Some((fit, backbone)) if !fit.is_complete() => Err(Failure::Call(format!(
                "`{}` does not fit `{backbone}`: {} missing, {} misshapen; nothing was written",
                self.file.display(),
                fit.missing.len(),
                fit.misshapen.len()
            ))),
            _ => {
                let (written, tensors) = (imported.written, imported.tensors);
                eprintln!("Wrote {written} of {tensors} tensors to `{}`", self.out.display());
                Ok(())
            }
        }
    }
}
