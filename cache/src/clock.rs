//! The one place where this crate looks at a clock: to tell how old files are, never for what is hashed or written.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

#[expect(clippy::disallowed_methods, reason = "ages of files decide what gc removes and what the index believes")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The time so long ago, or 1970 if that is later.
pub(crate) fn ago(age: Duration) -> SystemTime {
    earlier(now(), age)
}

/// The time so long before another, or 1970 if that is later.
pub(crate) fn earlier(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_sub(by).map_or(SystemTime::UNIX_EPOCH, |time| time.max(SystemTime::UNIX_EPOCH))
}

/// When a file's bytes, name or permissions last changed: no program can set this time.
pub(crate) fn changed(metadata: &Metadata) -> SystemTime {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let nanoseconds = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}
