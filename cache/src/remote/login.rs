//! Name and password in a URL, as in `https://name:password@host/path`: each request sends them, and no message shows them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::{HeaderMap, HeaderValue};

use super::percent::percent_decoded;
use crate::error::{CacheError, Result};

/// The URL without name and password, and the headers that send them.
///
/// # Errors
/// They are not valid in a URL.
pub(super) fn split_login(url: &str) -> Result<(String, HeaderMap)> {
    let mut headers = HeaderMap::new();
    let start = url.find("://").map_or(0, |colon| colon + 3);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    let Some(length) = url[start..end].rfind('@') else { return Ok((url.to_owned(), headers)) };
    let (login, rest) = (&url[start..start + length], &url[start + length + 1..]);
    let shown = format!("{}{rest}", &url[..start]);
    let Some(mut login) = percent_decoded(login) else {
        let problem = "in its name and password, `%` must be followed by two hexadecimal digits";
        return Err(CacheError::InvalidRemote { url: shown, problem });
    };
    if !login.contains(&b':') {
        login.push(b':');
    }
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(&login))).expect("base64 is ASCII");
    value.set_sensitive(true);
    headers.insert("authorization", value);
    Ok((shown, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_are_sent_and_not_shown() {
        let check = |url: &str, shown: &str, sent: Option<&str>| {
            let (url, headers) = split_login(url).unwrap();
            let value = headers.get("authorization").map(|value| value.to_str().unwrap());
            assert_eq!((url.as_str(), value), (shown, sent));
        };
        check("https://host/path@x", "https://host/path@x", None);
        let sent = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        check("https://Aladdin:open%20sesame@host:81/x", "https://host:81/x", Some(sent));
        check("http://a:b@host", "http://host", Some("Basic YTpi"));
        check("http://a@host", "http://host", Some("Basic YTo="));
        let error = split_login("https://a:%2@host/").unwrap_err().to_string();
        assert!(error.contains("hexadecimal") && !error.contains("%2"), "{error}");
    }
}
