//! The binary: parses the command line and calls the command.

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::CompleteEnv;
use dnc_kernels::CachingAllocator;
use dnc_run::commands::{self, Cli};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGPIPE;
use signal_hook::low_level;

/// Caches the large blocks that hold tensors: returning them to the system and faulting them in again took two thirds of the
/// time of some convolutions.
#[global_allocator]
static ALLOCATOR: CachingAllocator = CachingAllocator::new();

fn main() -> ExitCode {
    // A shell asks what can follow on a line.
    CompleteEnv::with_factory(Cli::command).complete();
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    look_up_names_without_modules();
    let cli = commands::parse();
    if cli.ends_with_its_reader()
        && let Err(error) = end_with_reader()
    {
        eprintln!("error: Cannot handle signals: {error}");
        return ExitCode::FAILURE;
    }
    commands::dispatch(cli)
}

/// Has a statically linked glibc look up hosts and users with what it contains. It would otherwise load those modules of the system that
/// `/etc/nsswitch.conf` names, which are for the system's own version of glibc and may crash this one.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
fn look_up_names_without_modules() {
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    let services: [(&CStr, &CStr); 3] = [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")];
    for (database, services) in services {
        // SAFETY: glibc declares the function so in `nss.h`, and copies what it needs of the two strings; there is one thread.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

/// Ends this process when the reader of what it prints goes away, such as `head`, as is usual on Unix; otherwise printing would
/// fail. The same signal comes when a server closes a connection, which is an error that can be dealt with.
fn end_with_reader() -> io::Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let end = move || {
        let mut streams = [PollFd::new(&stdout, PollFlags::empty()), PollFd::new(&stderr, PollFlags::empty())];
        let polled = poll(&mut streams, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if polled.is_ok() && streams.iter().any(|stream| stream.revents().contains(PollFlags::ERR)) {
            // There is nobody to tell.
            let _ = low_level::emulate_default_handler(SIGPIPE);
        }
    };
    // SAFETY: the handler makes system calls that may be made in a handler, and neither locks nor allocates.
    unsafe { low_level::register(SIGPIPE, end) }.map(drop)
}
