//! `dnc-run serve RUN…`: image search, reports and runs in a browser, and over HTTP for programs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use dnc_serve::{Limits, ServeError, ServeOptions};

use super::failure::Failure;
use super::named_runs::named_or_last;
use super::names;
use super::output::embedding_progress;
use crate::machine::host_name;
use crate::project::{Folders, Project};
use crate::serve::Served;

/// Arguments of `dnc-run serve`.
#[derive(Args)]
pub struct ServeArgs {
    /// Runs whose images can be searched: `sop/3`, a range such as `sop/1-3`, or `sop` for the last run [default: the run that was
    /// started last]
    ///
    /// Two of them can be compared side by side. All other runs of the project are listed with their reports.
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    served: Vec<String>,
    /// Port; 0 for any free port
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    port: u16,
    /// Address to listen on; any other than the default lets other machines connect, and requires `--token`
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    host: String,
    /// Secret that every request must contain; required if other machines can connect
    #[arg(long, env = "DNC_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Refuse the correction of labels
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    folders: Folders,
}

impl ServeArgs {
    /// Serves until it is stopped.
    pub(super) fn run(self) -> Result<(), Failure> {
        let options = ServeOptions {
            names: host_name().into_iter().collect(),
            host: self.host,
            port: self.port,
            token: self.token,
            limits: Limits::default(),
        };
        // Before models are loaded, which may take long.
        options.address().map_err(refused)?;
        let project = Project::current(&self.folders)?;
        let runs = named_or_last(&project, &self.served)?;
        let served = Served::new(&project.runs, runs, self.folders.store.as_deref(), self.read_only);
        for (run, images) in served.load(&embedding_progress()) {
            match images {
                Ok(images) => eprintln!("{run}: {images} images can be searched"),
                Err(problem) => eprintln!("note: {problem}"),
            }
        }
        let query = options.token.as_ref().map_or_else(String::new, |token| format!("?token={token}"));
        let mut told = Ok(());
        let ready = |address: SocketAddr| {
            let shown = match address.ip() {
                IpAddr::V4(any) if any.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
                _ => address,
            };
            told = super::output::write(format_args!("http://{shown}/{query}\n"));
            eprintln!("Ctrl-C ends it");
        };
        dnc_serve::serve(Arc::new(served), &options, ready).map_err(refused)?;
        Ok(told?)
    }
}

fn refused(error: ServeError) -> Failure {
    match error {
        ServeError::Host { .. } | ServeError::Token { .. } | ServeError::UnusableToken { .. } => {
            Failure::Call(error.to_string())
        }
        error => Failure::Environment(anyhow!(error)),
    }
}
