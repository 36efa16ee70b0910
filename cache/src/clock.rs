//! Clock: the only place in this crate that reads the time. It is used for the ages of files and never enters anything that
//! is hashed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

#[expect(clippy::disallowed_methods, reason = "gc and the index depend on the ages of files; nothing hashed does")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The time `age` before now, or 1970 if that is later.
pub(crate) fn ago(age: Duration) -> SystemTime {
    earlier(now(), age)
}

/// The time `by` before `time`, or 1970 if that is later.
pub(crate) fn earlier(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_sub(by).map_or(SystemTime::UNIX_EPOCH, |time| time.max(SystemTime::UNIX_EPOCH))
}

/// When a file's bytes, name or permissions last changed (ctime). Programs cannot set this time.
pub(crate) fn changed(metadata: &Metadata) -> SystemTime {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}
