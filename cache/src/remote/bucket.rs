//! Bucket remote: an S3 bucket or a WebDAV server, through the crate `object_store`.
//!
//! Methods may be called from any thread and block it; the requests run on a small runtime of the remote's own. Failed requests are
//! repeated, as long as the remote's options say. Large objects travel in parts, several at a time, so that no request lasts long
//! and one that breaks off repeats only its part.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Location;
use object_store::{
    BackoffConfig, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::api::{ConditionalPut, ObjectListing, Remote, RemoteObject};
use crate::error::{CacheError, Result};
use crate::object::ObjectName;
use crate::parallel;

/// Enough to hide the latency of a distant server for small objects.
const CONCURRENT_REQUESTS: usize = 32;

/// Size of a part of a large object. S3 requires at least 5 MiB.
const PART: u64 = 8 << 20;

/// S3 allows 10,000 parts.
const MOST_PARTS: u64 = 9_000;

/// Number of parts in memory at the same time, over all objects.
const PARTS_IN_MEMORY: usize = 16;

/// Number of parts of one object that are fetched at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Number of bytes of a large object after which they are flushed to disk in the background, while the download continues. Otherwise
/// the sync that follows each pull can take as long as the download itself.
const WRITE_BACK: u64 = 64 << 20;

/// Conditional puts are not repeated below this level, since one that is repeated after it has succeeded is refused.
const CONDITIONAL_ATTEMPTS: usize = 5;

/// Name of the object that shows whether the server honours conditional puts, and its bytes.
const PROBE: &str = "probe";
const PROBE_BYTES: &[u8] = b"This object shows whether the server honours conditional puts.\n";

/// A flush of a file in the background.
type WriteBack = JoinHandle<io::Result<()>>;

/// A remote in a bucket or on a WebDAV server.
#[derive(Debug)]
pub(super) struct BucketRemote {
    store: Arc<dyn ObjectStore>,
    prefix: Location,
    url: String,
    runtime: Runtime,
    parts: Arc<Semaphore>,
    /// Whether the server honours conditional puts, once known.
    is_conditional: OnceLock<bool>,
}

/// How failed requests are repeated.
pub(super) fn retries(patience: Duration) -> RetryConfig {
    // Each pause is drawn between the first one and `base` times the last one, so that 3 makes them grow.
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(4), base: 3. };
    // Patience ends first, but messages show the number.
    RetryConfig { backoff, max_retries: 10_000, retry_timeout: patience }
}

impl BucketRemote {
    /// The remote below `prefix` of an object store.
    ///
    /// # Errors
    /// The prefix is invalid, or no thread can be started.
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str, url: &str) -> Result<Self> {
        let invalid = |problem| CacheError::InvalidRemote { url: url.to_owned(), problem };
        let prefix = Location::parse(prefix).map_err(|_| invalid("its path must not have empty parts, `.` or `..`"))?;
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("remote").enable_all().build();
        Ok(Self {
            store,
            prefix,
            url: url.to_owned(),
            runtime: runtime.map_err(CacheError::io("start threads for the remote", url))?,
            parts: Arc::new(Semaphore::new(PARTS_IN_MEMORY)),
            is_conditional: OnceLock::new(),
        })
    }

    fn location(&self, name: &ObjectName) -> Location {
        let below = Location::from(name.as_str());
        self.prefix.parts().chain(below.parts()).collect()
    }

    fn error(&self, doing: &'static str, object: &str) -> impl FnOnce(Error) -> CacheError {
        let url: Box<str> = format!("{}/{object}", self.url.trim_end_matches('/')).into();
        move |source| {
            let hint = hint(&url, &source);
            CacheError::Request { doing, url, hint, source: Box::new(source) }
        }
    }

    /// Turns "no such object" into `None`. That the bucket does not exist is an error.
    fn found<T>(&self, object: &ObjectName, result: Result<T, Error>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ Error::NotFound { .. }) if !mentions(&error, "NoSuchBucket") => Ok(None),
            Err(error) => Err(self.error("read", object.as_str())(error)),
        }
    }

    fn put_payload(&self, name: &ObjectName, bytes: Bytes, mode: PutMode) -> Result<(), Error> {
        let location = self.location(name);
        let put = self.store.put_opts(&location, PutPayload::from_bytes(bytes), PutOptions::from(mode));
        self.block_on(put).map(drop)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Whether the server honours conditional puts. Some ignore them without an error, so this is tried once: of two
    /// conditional puts of the same object, the second must be refused.
    fn is_conditional(&self) -> Result<bool> {
        if let Some(&known) = self.is_conditional.get() {
            return Ok(known);
        }
        let probe = ObjectName::new(PROBE).expect("a plain name");
        let mut honoured = false;
        for _ in 0..2 {
            match self.put_payload(&probe, Bytes::from_static(PROBE_BYTES), PutMode::Create) {
                Ok(()) => {}
                Err(Error::AlreadyExists { .. }) => {
                    honoured = true;
                    break;
                }
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                    honoured = false;
                    break;
                }
                Err(error) => return Err(self.error("write", PROBE)(error)),
            }
        }
        Ok(*self.is_conditional.get_or_init(|| honoured))
    }

    /// Without conditional puts: looks first, and looks again afterwards, since another process may have written meanwhile.
    fn put_if_absent_by_looking(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut> {
        if let Some(existing) = self.get(name)? {
            return Ok(ConditionalPut::Existed(existing));
        }
        self.put(name, bytes)?;
        Ok(match self.get(name)? {
            Some(written) if written != bytes => ConditionalPut::Existed(written),
            _ => ConditionalPut::Created,
        })
    }

    /// Uploads a file in parts.
    async fn upload(&self, name: &ObjectName, file: &File, path: &Path, size: u64) -> Result<(), CacheError> {
        let location = &self.location(name);
        let failed = |error| self.error("write", name.as_str())(error);
        let mut upload = match self.store.put_multipart(location).await {
            Ok(upload) => upload,
            // WebDAV has no parts. One such object at a time is in memory.
            Err(Error::NotImplemented { .. }) => {
                let _permits =
                    self.parts.acquire_many(PARTS_IN_MEMORY as u32).await.expect("the semaphore is never closed");
                let bytes = fs::read(path).map_err(CacheError::io("read", path))?;
                let put = self.store.put(location, PutPayload::from_bytes(bytes.into())).await;
                return put.map(drop).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        };
        let part = PART.max(size.div_ceil(MOST_PARTS));
        let mut sent = JoinSet::new();
        for start in (0..size).step_by(usize::try_from(part).expect("a part fits into memory")) {
            let permit = Arc::clone(&self.parts).acquire_owned().await.expect("the semaphore is never closed");
            let mut bytes = vec![0; usize::try_from(part.min(size - start)).expect("a part fits into memory")];
            if let Err(error) = file.read_exact_at(&mut bytes, start) {
                // What the server keeps of it costs money, so its error matters less than the attempt.
                let _ = upload.abort().await;
                return Err(CacheError::io("read", path)(error));
            }
            let request = upload.put_part(PutPayload::from_bytes(bytes.into()));
            sent.spawn(async move {
                let sent = request.await;
                drop(permit);
                sent
            });
        }
        while let Some(part) = sent.join_next().await {
            let panicked = |error| Err(Error::Generic { store: "remote", source: Box::new(error) });
            let part = part.unwrap_or_else(panicked);
            if let Err(error) = part {
                let _ = upload.abort().await;
                return Err(failed(error));
            }
        }
        upload.complete().await.map(drop).map_err(failed)
    }

    /// Downloads an object to a file. Returns false if it does not exist.
    async fn download(&self, name: &ObjectName, file: &Arc<File>, path: &Path) -> Result<bool> {
        let location = self.location(name);
        let get = self.store.get(&location).await;
        let Some(whole) = self.found(name, get)? else { return Ok(false) };
        let size = whole.meta.size;
        let write = |bytes: &Bytes, at| file.write_all_at(bytes, at).map_err(CacheError::io("write", path));
        if size <= 2 * PART {
            let (mut chunks, mut at) = (whole.into_stream(), 0);
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| self.error("read", name.as_str())(error))?;
                write(&chunk, at)?;
                at += chunk.len() as u64;
            }
            return Ok(true);
        }
        drop(whole);
        let step = usize::try_from(PART).expect("a part fits into memory");
        let parts = stream::iter((0..size).step_by(step)).map(|start| {
            let (location, parts) = (&location, &self.parts);
            async move {
                let _permit = parts.acquire().await.expect("the semaphore is never closed");
                let range = start..size.min(start + PART);
                let options = GetOptions::new().with_range(Some(range));
                let bytes = self.store.get_opts(location, options).await;
                let bytes = match bytes {
                    Ok(part) => part.bytes().await,
                    Err(error) => Err(error),
                };
                bytes.map(|bytes| (bytes, start)).map_err(|error| self.error("read", name.as_str())(error))
            }
        });
        let mut parts = parts.buffer_unordered(PARTS_AT_ONCE);
        let (mut unsynced, mut write_back) = (0, None::<WriteBack>);
        while let Some((bytes, start)) = parts.try_next().await? {
            write(&bytes, start)?;
            unsynced += bytes.len() as u64;
            if unsynced >= WRITE_BACK && write_back.as_ref().is_none_or(WriteBack::is_finished) {
                finish(write_back.take(), path).await?;
                let file = Arc::clone(file);
                write_back = Some(spawn_blocking(move || file.sync_data()));
                unsynced = 0;
            }
        }
        finish(write_back, path).await?;
        Ok(true)
    }
}

impl Remote for BucketRemote {
    fn url(&self) -> &str {
        &self.url
    }

    fn concurrent_requests(&self) -> usize {
        CONCURRENT_REQUESTS
    }

    fn has_conditional_puts(&self) -> Result<bool> {
        self.is_conditional()
    }

    fn sizes(&self, names: &[ObjectName]) -> Result<Vec<Option<u64>>> {
        parallel::map(names, CONCURRENT_REQUESTS, |name| {
            let head = self.block_on(self.store.head(&self.location(name)));
            Ok(self.found(name, head)?.map(|object| object.size))
        })
    }

    fn get(&self, name: &ObjectName) -> Result<Option<Vec<u8>>> {
        let location = self.location(name);
        let get = self.block_on(async { self.store.get(&location).await?.bytes().await });
        Ok(self.found(name, get)?.map(Into::into))
    }

    fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Vec<u8>>> {
        let location = self.location(name);
        let options = GetOptions::new().with_range(Some(range));
        let get = self.block_on(async { self.store.get_opts(&location, options).await?.bytes().await });
        Ok(self.found(name, get)?.map(Into::into))
    }

    fn get_to_file(&self, name: &ObjectName, to: &Path) -> Result<bool> {
        let file = Arc::new(File::create_new(to).map_err(CacheError::io("create", to))?);
        let got = self.block_on(self.download(name, &file, to));
        if !matches!(got, Ok(true)) {
            fs::remove_file(to).map_err(CacheError::io("remove", to))?;
        }
        got
    }

    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        let put = self.put_payload(name, Bytes::copy_from_slice(bytes), PutMode::Overwrite);
        put.map_err(self.error("write", name.as_str()))
    }

    fn put_from_file(&self, name: &ObjectName, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(CacheError::io("open", path))?;
        let size = file.metadata().map_err(CacheError::io("read", path))?.len();
        if size > 2 * PART {
            return self.block_on(self.upload(name, &file, path, size));
        }
        let mut bytes = Vec::new();
        io::copy(&mut file.by_ref().take(2 * PART), &mut bytes).map_err(CacheError::io("read", path))?;
        self.put_payload(name, bytes.into(), PutMode::Overwrite).map_err(self.error("write", name.as_str()))
    }

    fn put_if_absent(&self, name: &ObjectName, bytes: &[u8]) -> Result<ConditionalPut> {
        if !self.is_conditional()? {
            return self.put_if_absent_by_looking(name, bytes);
        }
        let mut failures = 0;
        loop {
            match self.put_payload(name, Bytes::copy_from_slice(bytes), PutMode::Create) {
                Ok(()) => return Ok(ConditionalPut::Created),
                Err(Error::AlreadyExists { .. }) => {}
                // The connection broke off: the server may have written the object or not.
                Err(Error::Generic { .. }) if failures < CONDITIONAL_ATTEMPTS => failures += 1,
                Err(error) => return Err(self.error("write", name.as_str())(error)),
            }
            match self.get(name)? {
                Some(existing) if failures > 0 && existing == bytes => return Ok(ConditionalPut::Created),
                Some(existing) => return Ok(ConditionalPut::Existed(existing)),
                // Another process has not finished writing it, or it was removed meanwhile.
                None => {}
            }
        }
    }

    fn remove(&self, names: &[ObjectName]) -> Result<()> {
        let locations: Vec<_> = names.iter().map(|name| Ok(self.location(name))).collect();
        let mut removed = self.store.delete_stream(stream::iter(locations).boxed());
        self.block_on(async {
            while let Some(removed) = removed.next().await {
                match removed {
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(self.error("remove objects of", "")(error)),
                }
            }
            Ok(())
        })
    }

    fn list(&self, folder: &str) -> ObjectListing<'_> {
        let folder = Location::from(folder);
        let below: Location = self.prefix.parts().chain(folder.parts()).collect();
        let skipped = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        let mut objects = self.store.list(Some(&below));
        Box::new(std::iter::from_fn(move || {
            loop {
                let object = match self.block_on(objects.next())? {
                    Ok(object) => object,
                    Err(error) => {
                        objects = stream::empty().boxed();
                        return Some(Err(self.error("list", folder.as_ref())(error)));
                    }
                };
                let name = object.location.as_ref().get(skipped..).unwrap_or_default();
                // The probe is no part of what is stored.
                if name != PROBE
                    && let Ok(name) = ObjectName::new(name)
                {
                    return Some(Ok(RemoteObject { name, size: object.size, modified: object.last_modified.into() }));
                }
            }
        }))
    }
}

/// Waits for a flush and returns its error, which the system reports only once.
async fn finish(write_back: Option<WriteBack>, path: &Path) -> Result<()> {
    let Some(write_back) = write_back else { return Ok(()) };
    let done = write_back.await.map_err(io::Error::other).and_then(|done| done);
    done.map_err(CacheError::io("make durable", path))
}

/// Whether an error or one of its causes contains `text`.
fn mentions(error: &(dyn std::error::Error + 'static), text: &str) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().contains(text) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What to do about an error at this URL, as far as it is known.
fn hint(url: &str, error: &Error) -> &'static str {
    const LOGIN: &str = "; check name and password in the remote's URL, as in `https://name:password@host/path`";
    const HINTS: [(&[&str], &str); 6] = [
        (&["NoSuchBucket"], "; the bucket does not exist: create it, or correct the URL"),
        (&["ExpiredToken", "TokenRefreshRequired"], "; the credentials have expired: renew them"),
        (&["RequestTimeTooSkewed"], "; this machine's clock is wrong: set it"),
        (
            &["InvalidAccessKeyId", "SignatureDoesNotMatch", "169.254.169.254"],
            "; check the credentials (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`)",
        ),
        (&["AccessDenied"], "; the credentials do not permit this: ask the bucket's owner"),
        (&["SlowDown", "503"], "; the server is overloaded: try again later"),
    ];
    if matches!(error, Error::Unauthenticated { .. }) && !mentions(error, "Expired") {
        return if url.starts_with("http") { LOGIN } else { HINTS[3].1 };
    }
    HINTS.iter().find(|(texts, _)| texts.iter().any(|text| mentions(error, text))).map_or("", |(_, hint)| hint)
}
