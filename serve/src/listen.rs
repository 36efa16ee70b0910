//! Connections: how many, how old, and how they end.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::backend::Backend;
use crate::guard::Guard;
use crate::limits::Limits;
use crate::routes::router;

/// The most bytes of the head of a request.
const HEAD: usize = 64 << 10;
/// How long requests in progress may take to end when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where to listen, and to whom.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address or name of this machine.
    pub host: String,
    /// Port; 0 for any free port.
    pub port: u16,
    /// The token that each request must have.
    pub token: Option<String>,
    /// Further names of this machine.
    pub names: Vec<String>,
    /// What requests may cost.
    pub limits: Limits,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The host is not known.
    #[error(
        "Cannot find the address of `--host {host}`; give an address of this machine, such as 127.0.0.1 or 0.0.0.0"
    )]
    Host {
        /// The host.
        host: String,
    },
    /// Other machines could connect, and there is no token.
    #[error(
        "With `--host {host}` other machines can connect, so that a token is needed; add `--token SECRET`, with at least {least} letters, \
         digits, `-`, `_`, `.` or `~`"
    )]
    Token {
        /// The host.
        host: String,
        /// Shortest length of a token.
        least: usize,
    },
    /// The token cannot be used.
    #[error("`--token` must have at least {least} letters, digits, `-`, `_`, `.` or `~`, and nothing else")]
    UnusableToken {
        /// Shortest length of a token.
        least: usize,
    },
    /// The port cannot be opened.
    #[error("Cannot listen on {address}; choose another port with `--port`, or `--port 0` for any free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// The runtime cannot be started.
    #[error("Cannot start to serve")]
    Start {
        /// What the system answered.
        source: io::Error,
    },
}

/// Shortest length of a token.
const SHORTEST: usize = 8;

impl ServeOptions {
    /// Checks that only those can connect who may.
    ///
    /// # Errors
    /// The host is not known, other machines could connect without a token, or the token is too short.
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        let unknown = || ServeError::Host { host: self.host.clone() };
        let found = (self.host.as_str(), self.port).to_socket_addrs().map_err(|_| unknown())?;
        let found: Vec<SocketAddr> = found.collect();
        // Of the addresses of `localhost`, the one that most programs try first.
        let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(unknown)?;
        let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.~".contains(letter);
        match &self.token {
            Some(token) if token.len() < SHORTEST || !token.chars().all(is_allowed) => {
                Err(ServeError::UnusableToken { least: SHORTEST })
            }
            None if !address.ip().is_loopback() => Err(ServeError::Token { host: self.host.clone(), least: SHORTEST }),
            _ => Ok(address),
        }
    }
}

/// Serves until Ctrl-C, SIGTERM or SIGHUP. `ready` hears the address once requests are answered.
///
/// # Errors
/// The options are refused ([`ServeOptions::address`]), or the port cannot be opened.
pub fn serve(
    backend: Arc<dyn Backend>,
    options: &ServeOptions,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let address = options.address()?;
    let mut names = options.names.clone();
    if options.host.parse::<IpAddr>().is_err() {
        names.push(options.host.clone());
    }
    let guard = Guard { names, token: options.token.clone() };
    let router = router(backend, guard, &options.limits);
    let started = |source| ServeError::Start { source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(options.limits.workers)
        .build()
        .map_err(started)?;
    let result = runtime.block_on(async {
        let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
        ready(listener.local_addr().map_err(started)?);
        let stopped = async {
            let [interrupt, terminate, hang_up] = &mut signals;
            tokio::select! {
                () = received(interrupt) => (),
                () = received(terminate) => (),
                () = received(hang_up) => (),
            }
        };
        accept(listener, router, options.limits, stopped).await;
        Ok(())
    });
    // What is being computed for nobody any more does not delay the end.
    runtime.shutdown_background();
    result
}

/// Waits for a signal; for ever if its handler could not be installed.
async fn received(signal: &mut io::Result<tokio::signal::unix::Signal>) {
    match signal {
        Ok(signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Accepts connections until `stopped`, then lets those in progress end.
async fn accept(listener: TcpListener, router: Router, limits: Limits, stopped: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(false);
    tokio::pin!(stopped);
    loop {
        let connection = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stopped => break,
            accepted = connection => accepted,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, _))) => {
                let (router, stopping) = (router.clone(), stopping.clone());
                tokio::spawn(async move {
                    answer(stream, router, limits, stopping).await;
                    drop(place);
                });
            }
            // Out of file descriptors, for example: those in use are closed some time.
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
    let _ = stop.send(true);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(FAREWELL, places.acquire_many(all)).await;
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, router: Router, limits: Limits, mut stopping: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Its errors are those of the client: it went away, or did not speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.changed() => (),
        () = sleep(limits.connection_age) => (),
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.connection_age, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_connect_only_with_a_token() {
        let check = |host: &str, token: Option<&str>| {
            let options = ServeOptions {
                host: host.to_owned(),
                port: 0,
                token: token.map(str::to_owned),
                names: Vec::new(),
                limits: Limits::default(),
            };
            options.address().map(|address| address.ip().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(check("127.0.0.1", None).as_deref(), Ok("127.0.0.1"));
        assert_eq!(check("::1", None).as_deref(), Ok("::1"));
        assert_eq!(check("0.0.0.0", Some("long-enough")).as_deref(), Ok("0.0.0.0"));
        assert!(check("0.0.0.0", None).is_err_and(|message| message.contains("`--token SECRET`")));
        for token in ["", "short", "with blanks in it", "semi;colon-token", "line\nbreak-token"] {
            assert!(check("127.0.0.1", Some(token)).is_err_and(|message| message.contains("at least 8")), "{token}");
        }
        assert!(check("no such host", None).is_err_and(|message| message.contains("no such host")));
    }
}
