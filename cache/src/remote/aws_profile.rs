//! The profile of the AWS command line: keys, region and server in `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use crate::error::{CacheError, Result, found};

/// The keys of a profile.
pub(super) struct Profile {
    pub(super) key_id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl Profile {
    /// The profile that `AWS_PROFILE` names, else `default`. `None` if there is none and none is named.
    ///
    /// # Errors
    /// The files cannot be read, or the named profile has no keys.
    pub(super) fn read(url: &str) -> Result<Option<Self>> {
        let named = env::var("AWS_PROFILE").ok();
        let name = named.as_deref().unwrap_or("default");
        let config = text("AWS_CONFIG_FILE", "config")?;
        let mut settings = section(&config, &format!("profile {name}"));
        settings.extend(section(&config, name));
        settings.extend(section(&text("AWS_SHARED_CREDENTIALS_FILE", "credentials")?, name));
        let mut take = |key: &str| settings.remove(key);
        match (take("aws_access_key_id"), take("aws_secret_access_key")) {
            (Some(key_id), Some(secret)) => Ok(Some(Self {
                key_id,
                secret,
                token: take("aws_session_token"),
                region: take("region"),
                endpoint: take("endpoint_url"),
            })),
            _ if named.is_none() => Ok(None),
            _ => Err(CacheError::InvalidRemote {
                url: url.to_owned(),
                problem: "the profile in `AWS_PROFILE` has no keys; for single sign-on, run \
                          `eval \"$(aws configure export-credentials --format env)\"` first",
            }),
        }
    }
}

/// The text of the file that `variable` names, else of `~/.aws/<name>`; empty if there is none.
fn text(variable: &str, name: &str) -> Result<String> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".aws").join(name));
    let Some(path) = env::var_os(variable).map(PathBuf::from).or_else(home) else { return Ok(String::new()) };
    Ok(found(fs::read_to_string(&path)).map_err(CacheError::io("read", path))?.unwrap_or_default())
}

/// The settings of one section of an INI file.
fn section(text: &str, name: &str) -> BTreeMap<String, String> {
    let (mut is_in, mut settings) = (false, BTreeMap::new());
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_in = header.trim() == name;
        } else if is_in
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = "[default]\naws_access_key_id = A\n# region = x\n[ profile lab ]\nregion=eu-central-1\nkey = a=b\n";
        assert_eq!(section(text, "default"), BTreeMap::from([("aws_access_key_id".into(), "A".into())]));
        let lab = BTreeMap::from([("region".into(), "eu-central-1".into()), ("key".into(), "a=b".into())]);
        assert_eq!(section(text, "profile lab"), lab);
        assert_eq!(section(text, "lab"), BTreeMap::new());
    }
}
