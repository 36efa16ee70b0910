//! Name and password in a URL, as in `https://name:password@host/path`: each request sends them, and no message shows them.

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
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(&login))).expect("base64 is ASCII");
    value.set_sensitive(true);
    headers.insert("authorization", value);
    Ok((shown, headers))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize % 64;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[value]) });
        }
    }
    text
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
