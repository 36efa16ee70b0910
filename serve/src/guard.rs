//! Who may send requests.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::problem::Problem;

/// Name of the cookie that holds the token.
pub(crate) const COOKIE: &str = "dnc_token";

/// Who may send requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Names of this machine, besides addresses and `localhost`.
    pub names: Vec<String>,
    /// The token that each request must have, if any.
    pub token: Option<String>,
}

impl Guard {
    /// Checks where a request is addressed to and where it comes from.
    pub(crate) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        let foreign = |what: &str| {
            let message =
                format!("The header `{what}` does not name this machine; use the address that the program printed");
            Problem::new(StatusCode::MISDIRECTED_REQUEST, message)
        };
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).ok_or_else(|| foreign("Host"))?;
        if hosts.next().is_some() || !self.is_this_machine(host) {
            return Err(foreign("Host"));
        }
        // A request may name another host in its first line.
        if uri.authority().is_some_and(|authority| !self.is_this_machine(authority.as_str())) {
            return Err(foreign("Host"));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !host.is_some_and(|host| self.is_this_machine(host)) {
                return Err(Problem::new(StatusCode::FORBIDDEN, "The request comes from a foreign page"));
            }
        }
        Ok(())
    }

    /// Checks the token: in the header `Authorization: Bearer …`, or in the cookie that a visit with `?token=…` sets.
    pub(crate) fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == COOKIE).then_some(value)
        });
        if bearer.into_iter().chain(cookie).any(|given| is_same(given, token)) {
            return Ok(());
        }
        let message =
            "A token is needed: open the address that the program printed, or send `Authorization: Bearer TOKEN`";
        Err(Problem::new(StatusCode::UNAUTHORIZED, message))
    }

    /// Whether the query of a request for the page has the token.
    pub(crate) fn is_invited(&self, method: &Method, uri: &Uri) -> bool {
        let given = uri.query().and_then(|query| query.split('&').find_map(|part| part.strip_prefix("token=")));
        method == Method::GET
            && uri.path() == "/"
            && self.token.as_ref().zip(given).is_some_and(|(token, given)| is_same(given, token))
    }

    /// Whether `authority`, a host with or without a port, is this machine. Addresses are: only a name can lead a browser elsewhere
    /// between two requests.
    fn is_this_machine(&self, authority: &str) -> bool {
        let host = match authority.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, port)) if port.is_empty() || is_port(port) => {
                    return host.parse::<std::net::Ipv6Addr>().is_ok();
                }
                _ => return false,
            },
            None => match authority.split_once(':') {
                Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
                Some(_) => return false,
                None => authority,
            },
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host.parse::<std::net::Ipv4Addr>().is_ok()
            || self.names.iter().any(|name| name.eq_ignore_ascii_case(&host))
    }
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Compares in a time that does not depend on where the texts differ.
fn is_same(given: &str, expected: &str) -> bool {
    let differences = given.bytes().zip(expected.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == expected.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let guard = Guard { names: vec!["lab7".into()], token: None };
        let check = |host: &str| guard.check_origin(&headers(&[(header::HOST, host)]), &Uri::from_static("/")).is_ok();
        for host in
            ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LAB7:80", "10.0.0.7:8000", "localhost."]
        {
            assert!(check(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "lab7.evil.example:8000",
            "",
            "[::1",
            "localhost:8000@evil",
            "a:b",
        ] {
            assert!(!check(host), "{host}");
        }
        assert!(guard.check_origin(&HeaderMap::new(), &Uri::from_static("/")).is_err(), "a request names its host");
        let mut twice = headers(&[(header::HOST, "localhost")]);
        twice.append(header::HOST, "evil.example".parse().unwrap());
        assert!(guard.check_origin(&twice, &Uri::from_static("/")).is_err());
        let absolute =
            guard.check_origin(&headers(&[(header::HOST, "localhost")]), &Uri::from_static("http://evil.example/"));
        assert!(absolute.is_err());
        for (origin, expected) in
            [("http://localhost:8000", true), ("https://lab7", true), ("http://evil.example", false), ("null", false)]
        {
            let sent = headers(&[(header::HOST, "localhost:8000"), (header::ORIGIN, origin)]);
            assert_eq!(guard.check_origin(&sent, &Uri::from_static("/")).is_ok(), expected, "{origin}");
        }
    }

    #[test]
    fn a_token_is_sent_as_header_or_cookie() {
        let guard = Guard { names: Vec::new(), token: Some("s3cret".into()) };
        let check = |pairs: &[(header::HeaderName, &str)]| guard.check_token(&headers(pairs)).is_ok();
        assert!(check(&[(header::AUTHORIZATION, "Bearer s3cret")]));
        assert!(check(&[(header::COOKIE, "a=b; dnc_token=s3cret")]));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Bearer ", "s3cret", "Basic s3cret"] {
            assert!(!check(&[(header::AUTHORIZATION, wrong)]), "{wrong}");
        }
        assert!(!check(&[]) && !check(&[(header::COOKIE, "dnc_token=; x=s3cret")]));
        assert!(guard.is_invited(&Method::GET, &Uri::from_static("/?a=1&token=s3cret")));
        assert!(!guard.is_invited(&Method::GET, &Uri::from_static("/?token=s3cre")));
        assert!(!guard.is_invited(&Method::GET, &Uri::from_static("/api/runs?token=s3cret")));
        assert!(Guard::default().check_token(&HeaderMap::new()).is_ok());
    }
}
