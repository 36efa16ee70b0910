//! An S3 server in this process whose answers can be spoilt. It speaks as much of the protocol as a remote uses: objects,
//! conditional puts, ranges, uploads in parts, and listings. Signatures are not checked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dnc_cache::{Remote, RemoteOptions, open_remote};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The server answers with this status and this S3 error code, and does nothing.
    Refuse(u16, &'static str),
    /// The connection ends in the middle of the answer's body.
    Truncate,
    /// One bit of the answer's body is wrong.
    Flip,
    /// The server does what it is asked, but the connection ends before the answer.
    Hang,
}

/// A fault in the next `times` requests whose line contains `text`, such as `GET /bucket/records`.
struct Planned {
    text: String,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    uploads: Mutex<BTreeMap<String, BTreeMap<usize, Vec<u8>>>>,
    planned: Mutex<Vec<Planned>>,
    requests: Mutex<Vec<String>>,
    ignores_conditions: AtomicBool,
}

/// A running server. Its threads end with the process.
pub(crate) struct Server {
    state: Arc<State>,
    endpoint: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client may close its connection at any time.
                thread::spawn(move || serve(&state, stream).err());
            }
        });
        Self { state, endpoint }
    }

    pub(crate) fn remote(&self, url: &str) -> Box<dyn Remote> {
        let patience = Duration::from_secs(10);
        let (endpoint, region) = (Some(self.endpoint.clone()), Some("us-east-1".to_owned()));
        open_remote(url, &RemoteOptions { endpoint, region, anonymous: true, patience }).unwrap()
    }

    /// Plans a fault for the next `times` requests whose first line contains `text`.
    pub(crate) fn plan(&self, text: &str, fault: Fault, times: usize) {
        lock(&self.state.planned).push(Planned { text: text.to_owned(), fault, times });
    }

    pub(crate) fn ignore_conditions(&self) {
        self.state.ignores_conditions.store(true, Ordering::Relaxed);
    }

    /// Takes the methods and paths of all requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.state.requests))
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: String::new(), body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!("<Error><Code>{code}</Code><Message>planned</Message></Error>"))
    }
}

fn serve(state: &State, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length, mut is_conditional, mut range) = (String::new(), 0, false, None);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "if-none-match" => is_conditional = !state.ignores_conditions.load(Ordering::Relaxed),
                "range" => range = value.trim().strip_prefix("bytes=").and_then(parse_range),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let target = line.rsplit_once(' ').map_or("", |(target, _)| target).replace("%2F", "/");
        lock(&state.requests).push(target.clone());
        let (method, target) = target.split_once(' ').unwrap_or_default();
        let fault = next_fault(state, &format!("{method} {target}"));
        if let Some(Fault::Refuse(status, code)) = fault {
            write_answer(&mut writer, method, &Answer::error(status, code), None)?;
            continue;
        }
        let answer = answer(state, method, target, body, is_conditional, range);
        match fault {
            Some(Fault::Hang) => return Ok(()),
            fault => write_answer(&mut writer, method, &answer, fault)?,
        }
        if matches!(fault, Some(Fault::Truncate)) {
            return Ok(());
        }
    }
}

fn parse_range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<usize>().ok()? + 1))
}

fn next_fault(state: &State, request: &str) -> Option<Fault> {
    let mut planned = lock(&state.planned);
    let next = planned.iter_mut().find(|planned| planned.times > 0 && request.contains(&planned.text))?;
    next.times -= 1;
    Some(next.fault)
}

fn write_answer(to: &mut TcpStream, method: &str, answer: &Answer, fault: Option<Fault>) -> io::Result<()> {
    let Answer { status, headers, body } = answer;
    let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
    text.push_str("ETag: \"e\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
    let mut bytes = [text.as_bytes(), headers.as_bytes(), b"\r\n"].concat();
    let head = bytes.len();
    if method != "HEAD" {
        bytes.extend(body);
        match fault {
            Some(Fault::Truncate) => bytes.truncate(head + body.len() / 2),
            Some(Fault::Flip) if !body.is_empty() => bytes[head + body.len() / 2] ^= 1,
            _ => {}
        }
    }
    to.write_all(&bytes)
}

fn answer(
    state: &State,
    method: &str,
    target: &str,
    body: Vec<u8>,
    is_conditional: bool,
    range: Option<(usize, usize)>,
) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: BTreeMap<&str, &str> = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let name = path.trim_matches('/').to_owned();
    let mut objects = lock(&state.objects);
    let mut uploads = lock(&state.uploads);
    match (method, query.get("uploadId")) {
        ("GET", _) if query.contains_key("list-type") => list(&objects, &name, query.get("prefix").unwrap_or(&"")),
        ("POST", None) if query.contains_key("delete") => {
            let text = String::from_utf8(body).unwrap();
            let mut xml = String::from("<DeleteResult>");
            for key in text.split("<Key>").skip(1) {
                let key = key.split("</Key>").next().unwrap();
                objects.remove(&format!("{name}/{key}"));
                write!(xml, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
            }
            Answer::new(200, xml + "</DeleteResult>")
        }
        ("POST", None) if query.contains_key("uploads") => {
            let id = format!("upload{}", uploads.len());
            uploads.insert(id.clone(), BTreeMap::new());
            let result = "InitiateMultipartUploadResult";
            Answer::new(200, format!("<{result}><UploadId>{id}</UploadId></{result}>"))
        }
        ("PUT", Some(&id)) => {
            let part = query["partNumber"].parse().unwrap();
            uploads.get_mut(id).unwrap().insert(part, body);
            Answer::new(200, "")
        }
        ("POST", Some(&id)) => {
            objects.insert(name, uploads.get(id).unwrap().values().flatten().copied().collect());
            let result = "CompleteMultipartUploadResult";
            Answer::new(200, format!("<{result}><ETag>e</ETag></{result}>"))
        }
        ("DELETE", Some(&id)) => {
            uploads.remove(id);
            Answer::new(204, "")
        }
        ("PUT", None) if is_conditional && objects.contains_key(&name) => Answer::error(412, "PreconditionFailed"),
        ("PUT", None) => {
            objects.insert(name, body);
            Answer::new(200, "")
        }
        ("GET" | "HEAD", _) => match (objects.get(&name), range) {
            (None, _) => Answer::error(404, "NoSuchKey"),
            (Some(bytes), None) => Answer::new(200, bytes.clone()),
            (Some(bytes), Some((start, end))) => {
                let (size, end) = (bytes.len(), end.min(bytes.len()));
                let mut answer = Answer::new(206, &bytes[start..end]);
                answer.headers = format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
                answer
            }
        },
        _ => Answer::error(501, "NotImplemented"),
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, bucket: &str, prefix: &str) -> Answer {
    let mut xml = String::from("<ListBucketResult>");
    let start = format!("{bucket}/");
    for (name, bytes) in objects {
        if let Some(name) = name.strip_prefix(&start).filter(|name| name.starts_with(prefix)) {
            let time = "2026-01-01T00:00:00.000Z";
            let size = bytes.len();
            let fields = format!("<Size>{size}</Size><LastModified>{time}</LastModified><ETag>e</ETag>");
            write!(xml, "<Contents><Key>{name}</Key>{fields}</Contents>").unwrap();
        }
    }
    Answer::new(200, xml + "</ListBucketResult>")
}
