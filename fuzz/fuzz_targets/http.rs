//! Bodies of HTTP requests: the first byte chooses the address and the type of the content. The server must answer each, and go on.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use dnc_serve::answers::{Embedding, Found, Labels, Metrics, RunState, Runs};
use dnc_serve::backend::{ImageRequest, Picture, SearchRequest, Size};
use dnc_serve::{Backend, Limits, Refusal, ServeOptions, serve};
use dnc_tables::pictures::decode;
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 4] = ["/api/search", "/api/embed", "/api/labels", "/api/search?k=3&learner=1&crop=0,0,1,1"];
const TYPES: [&str; 4] = ["", "Content-Type: application/json\r\n", "Content-Type: image/png\r\n", "Content-Encoding: gzip\r\n"];
/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();

/// Decodes the images that it is sent, and finds nothing.
struct Empty;

impl Empty {
    fn decode(bytes: &[u8]) -> Result<(), Refusal> {
        let decoded = decode(bytes, [255; 3], dnc_fuzz::LIMITS, Vec::new());
        decoded.map(drop).map_err(|error| Refusal::NotFound(error.to_string()))
    }

    fn nothing<T>() -> Result<T, Refusal> {
        Err(Refusal::NotFound("There is no run".to_owned()))
    }
}

impl Backend for Empty {
    fn runs(&self) -> Result<Runs, Refusal> {
        Self::nothing()
    }

    fn state(&self, _: Option<&str>) -> Result<RunState, Refusal> {
        Self::nothing()
    }

    fn metrics(&self, _: Option<&str>) -> Result<Metrics, Refusal> {
        Self::nothing()
    }

    fn search(&self, request: &SearchRequest) -> Result<Found, Refusal> {
        request.image.as_deref().map_or(Ok(()), Self::decode)?;
        Self::nothing()
    }

    fn embed(&self, request: &ImageRequest) -> Result<Embedding, Refusal> {
        Self::decode(&request.image)?;
        Self::nothing()
    }

    fn image(&self, _: Option<&str>, _: u32, _: Size) -> Result<Picture, Refusal> {
        Self::nothing()
    }

    fn report(&self, _: Option<&str>) -> Result<String, Refusal> {
        Self::nothing()
    }

    fn labels(&self, _: Option<&str>) -> Result<Labels, Refusal> {
        Self::nothing()
    }

    fn correct(&self, _: Option<&str>, _: u32, _: Option<&str>) -> Result<Labels, Refusal> {
        Self::nothing()
    }
}

/// The address of a server that ends with the process.
fn start() -> SocketAddr {
    let (sender, ready) = channel();
    thread::spawn(move || {
        let limits = Limits::default();
        let options = ServeOptions { host: "127.0.0.1".to_owned(), port: 0, token: None, names: Vec::new(), limits };
        serve(Arc::new(Empty), &options, |address| drop(sender.send(address))).expect("a server can be started");
    });
    ready.recv().expect("the server starts")
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, body)) = input.split_first() else { return };
    let address = *ADDRESS.get_or_init(start);
    let (path, kind) = (PATHS[usize::from(first) % 4], TYPES[usize::from(first) / 4 % 4]);
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n");
    let mut stream = TcpStream::connect(address).expect("the server accepts connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
    // The server may refuse before it has read everything.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    assert!(end.is_ok() || !answer.is_empty(), "no answer within {PATIENCE:?}: {end:?}");
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "the server failed: {}", String::from_utf8_lossy(&answer));
});
