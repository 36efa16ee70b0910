//! Buckets by URL: which object store a URL means, and with what credentials.

use std::sync::Arc;

use object_store::ClientOptions;
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;

use super::aws_profile::Profile;
use super::bucket::{BucketRemote, retries};
use super::login::split_login;
use super::options::RemoteOptions;
use crate::error::{CacheError, Result};

/// Variables that say where credentials come from. With one of them, no profile is read.
const CREDENTIAL_VARIABLES: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Opens `s3://bucket/prefix`, given what follows `s3://`. Credentials come from the `AWS_…` variables, else from the profile in
/// `~/.aws`, else from the machine's role.
pub(super) fn open_s3(url: &str, rest: &str, options: &RemoteOptions) -> Result<BucketRemote> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        let problem = "an `s3` URL names a bucket, as in `s3://bucket/prefix`";
        return Err(CacheError::InvalidRemote { url: url.to_owned(), problem });
    }
    let mut builder = AmazonS3Builder::from_env();
    let mut endpoint = options.endpoint.clone();
    let is_set = |variable: &str| std::env::var_os(variable).is_some();
    if !options.anonymous
        && !CREDENTIAL_VARIABLES.into_iter().any(is_set)
        && let Some(profile) = Profile::read(url)?
    {
        builder = builder.with_access_key_id(profile.key_id).with_secret_access_key(profile.secret);
        if let Some(token) = profile.token {
            builder = builder.with_token(token);
        }
        if let Some(region) = profile.region.filter(|_| !is_set("AWS_REGION") && !is_set("AWS_DEFAULT_REGION")) {
            builder = builder.with_region(region);
        }
        endpoint = endpoint.or(profile.endpoint.filter(|_| !is_set("AWS_ENDPOINT_URL")));
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let variable = || {
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
    };
    if let Some(endpoint) = endpoint.or_else(variable) {
        // Whoever names a server without TLS means it.
        let is_plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_allow_http(is_plain);
    }
    if options.anonymous {
        builder = builder.with_skip_signature(true);
    }
    let store = builder.with_bucket_name(bucket).with_retry(retries(options.patience)).build();
    let store = store.map_err(|source| CacheError::Request {
        doing: "open",
        url: url.into(),
        hint: "",
        source: Box::new(source),
    })?;
    BucketRemote::new(Arc::new(store), prefix.trim_matches('/'), url)
}

/// Opens a WebDAV server by an `http` or `https` URL, which may hold a name and a password.
pub(super) fn open_http(url: &str, options: &RemoteOptions) -> Result<BucketRemote> {
    let (url, headers) = split_login(url)?;
    let client = ClientOptions::new().with_allow_http(url.starts_with("http://")).with_default_headers(headers);
    let store =
        HttpBuilder::new().with_url(&url).with_client_options(client).with_retry(retries(options.patience)).build();
    let store = store
        .map_err(|_| CacheError::InvalidRemote { url: url.clone(), problem: "it is not the URL of a WebDAV server" })?;
    BucketRemote::new(Arc::new(store), "", &url)
}
