//! A server whose backend answers with what it was asked, and requests as bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use dnc_serve::answers::{Embedding, Found, Labels, Metrics, RunState, Runs};
use dnc_serve::backend::{ImageRequest, Picture, SearchRequest, Size};
use dnc_serve::{Backend, Limits, Refusal, ServeOptions, serve};

/// Answers with what it was asked; waits, or panics, where the image says so.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) released: Mutex<bool>,
    pub(crate) release: Condvar,
}

impl Echo {
    fn refuse<T>(run: Option<&str>) -> Result<T, Refusal> {
        Err(Refusal::NotFound(format!("There is no run `{}`", run.unwrap_or_default())))
    }
}

impl Backend for Echo {
    fn runs(&self) -> Result<Runs, Refusal> {
        Ok(Runs { version: "0".to_owned(), read_only: true, served: Vec::new(), runs: Vec::new() })
    }

    fn state(&self, run: Option<&str>) -> Result<RunState, Refusal> {
        Self::refuse(run)
    }

    fn metrics(&self, run: Option<&str>) -> Result<Metrics, Refusal> {
        Self::refuse(run)
    }

    fn search(&self, request: &SearchRequest) -> Result<Found, Refusal> {
        match request.image.as_deref() {
            Some(b"panic") => panic!("on purpose"),
            Some(b"wait") => {
                let released = self.released.lock().unwrap();
                drop(self.release.wait_while(released, |released| !*released).unwrap());
            }
            _ => {}
        }
        let length = request.image.as_ref().map_or(0, Vec::len);
        let (run, vector) = (request.run.clone().unwrap_or_default(), request.vector.clone());
        let (nothing_near, vote, neighbours) = (false, None, Vec::new());
        Ok(Found { run, nothing_near, vote, neighbours, size: Some([length, request.k]), vector, milliseconds: 0.0 })
    }

    fn embed(&self, request: &ImageRequest) -> Result<Embedding, Refusal> {
        Self::refuse(request.run.as_deref())
    }

    fn image(&self, run: Option<&str>, _id: u32, _size: Size) -> Result<Picture, Refusal> {
        Self::refuse(run)
    }

    fn report(&self, run: Option<&str>) -> Result<String, Refusal> {
        Self::refuse(run)
    }

    fn labels(&self, run: Option<&str>) -> Result<Labels, Refusal> {
        Self::refuse(run)
    }

    fn correct(&self, _run: Option<&str>, _id: u32, class: Option<&str>) -> Result<Labels, Refusal> {
        Err(Refusal::ReadOnly(format!("{class:?}")))
    }
}

/// A server with small limits, which ends with the process.
pub(crate) fn start(token: Option<&str>, limits: Limits) -> (SocketAddr, Arc<Echo>) {
    let echo = Arc::new(Echo::default());
    let (sender, ready) = channel();
    let (backend, token) = (Arc::clone(&echo), token.map(str::to_owned));
    thread::spawn(move || {
        let options = ServeOptions { host: "127.0.0.1".to_owned(), port: 0, token, names: Vec::new(), limits };
        serve(backend, &options, |address| sender.send(address).unwrap()).unwrap();
    });
    (ready.recv().unwrap(), echo)
}

pub(crate) fn small() -> Limits {
    Limits {
        body: 10_000,
        bodies: 40_000,
        body_time: Duration::from_millis(300),
        head_time: Duration::from_millis(300),
        workers: 1,
        queue: 2,
        work_time: Duration::from_secs(20),
        connections: 64,
        connection_age: Duration::from_secs(2),
    }
}

/// Sends bytes and returns all that comes back until the connection is closed.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn status(answer: &str) -> u32 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}
