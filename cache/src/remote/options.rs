//! Settings of a remote that its URL does not say.

use std::time::Duration;

/// Settings of a remote that its URL does not say. A folder needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteOptions {
    /// The server of an S3 bucket that is not Amazon's, such as `http://localhost:9000`.
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: Option<String>,
    /// Whether requests are sent without credentials, as to a public bucket.
    pub anonymous: bool,
    /// How long a failing request is repeated.
    pub patience: Duration,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        // Longer than a server takes to restart.
        Self { endpoint: None, region: None, anonymous: false, patience: Duration::from_secs(30) }
    }
}
