//! Hostile requests: each gets an answer with a 4xx or 503, or its connection is closed; the server goes on.

mod bytes;
mod server;

use std::thread;
use std::time::{Duration, Instant};

use server::{request, send, small, start, status};

#[test]
fn wrong_requests_are_refused() {
    let (address, _) = start(None, small());
    let get = |path: &str| status(&send(address, &request("GET", path, "", b"")));
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/image/../../../etc/passwd",
        "/api/image/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/app.js/../../x",
        "/.git/config",
        "/api",
    ] {
        assert!((400..500).contains(&get(path)), "{path}");
    }
    for path in [
        "/api/image/x",
        "/api/image/-1",
        "/api/image/99999999999",
        "/api/image/1?size=huge",
        "/api/image/1?path=/etc/passwd",
        "/api/search?positive=x",
        "/api/search?positive=1&k=0",
        "/api/search?positive=1&k=99999999",
        "/api/search?positive=1&crop=1,2",
        "/api/search?positive=1&weights=a",
        "/api/search?positive=1&weights=1&learner=0",
        "/api/search?positive=1&unknown=1",
        "/api/search?positive=1&vector=maybe",
        "/api/search",
    ] {
        assert_eq!(get(path), 400, "{path}");
    }
    let many = vec!["1"; 1001].join(",");
    assert_eq!(get(&format!("/api/search?positive={many}")), 400);
    assert_eq!(get("/api/state?run=../../etc"), 404);
    let refused = send(address, &request("DELETE", "/api/runs", "", b""));
    assert_eq!(status(&refused), 405);
    assert!(refused.contains("{\"error\":\"This address has other methods"), "every refusal says why: {refused}");
    let post = |headers: &str, body: &[u8]| status(&send(address, &request("POST", "/api/search", headers, body)));
    assert_eq!(post("Content-Type: multipart/form-data; boundary=x\r\n", b"--x"), 415);
    assert_eq!(post("Content-Type: text/html\r\n", b"<html>"), 415);
    for vector in ["", "[", "{}", "[]", "[\"a\"]", "[1e999]", "[null]", "{\"vector\": 3}"] {
        assert_eq!(post("Content-Type: application/json\r\n", vector.as_bytes()), 400, "{vector}");
    }
    let deep = "[".repeat(5_000);
    assert_eq!(post("Content-Type: application/json\r\n", deep.as_bytes()), 400);
    let labels =
        |headers: &str, body: &str| status(&send(address, &request("POST", "/api/labels", headers, body.as_bytes())));
    assert_eq!(labels("", "{\"id\": 1, \"class\": \"a\"}"), 415, "a form on a foreign page could send this");
    assert_eq!(labels("Content-Type: application/json\r\n", "{\"id\": 1, \"class\": \"a\"}"), 403);
    assert_eq!(labels("Content-Type: application/json\r\n", "{\"id\": 1, \"path\": \"/etc\"}"), 400);
    // What is no HTTP at all.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let answer = send(address, bytes);
        assert!(answer.is_empty() || (400..500).contains(&status(&answer)), "{answer}");
    }
    let answer = send(address, &request("POST", "/api/search?k=3&run=a/1", "", b"12345"));
    assert!(answer.contains("\"size\":[5,3]") && answer.contains("\"run\":\"a/1\""), "{answer}");
    for header in
        ["content-security-policy: default-src 'self';", "x-content-type-options: nosniff", "cache-control: no-store"]
    {
        assert!(answer.contains(header), "{header}: {answer}");
    }
}

#[test]
fn requests_for_other_hosts_and_from_other_pages_are_refused() {
    let (address, _) = start(None, small());
    let get = |headers: &str| {
        status(&send(address, format!("GET /api/runs HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes()))
    };
    assert_eq!(get(&format!("Host: {address}\r\n")), 200);
    for forged in ["Host: evil.example\r\n", "Host: localhost\r\nHost: evil.example\r\n", "", "Host: \r\n"] {
        assert!((400..500).contains(&get(forged)), "{forged}");
    }
    assert_eq!(get("Host: localhost\r\nOrigin: http://evil.example\r\n"), 403);
    assert_eq!(get("Host: localhost\r\nX-Forwarded-Host: evil.example\r\nOrigin: http://localhost:1\r\n"), 200);
    assert_eq!(
        status(&send(address, b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")),
        421
    );
}

#[test]
fn a_token_is_needed_where_there_is_one() {
    let (address, _) = start(Some("a-long-secret"), small());
    let get = |path: &str, headers: &str| send(address, &request("GET", path, headers, b""));
    for path in
        ["/", "/api/runs", "/app.js", "/openapi.json", "/?token=wrong", "/api/runs?token=a-long-secret", "/nothing"]
    {
        assert_eq!(status(&get(path, "")), 401, "{path}");
    }
    assert_eq!(status(&get("/healthz", "")), 200);
    assert_eq!(status(&get("/api/runs", "Authorization: Bearer a-long-secret\r\n")), 200);
    let invited = get("/?token=a-long-secret", "");
    assert_eq!(status(&invited), 303);
    assert!(invited.contains("set-cookie: dnc_token=a-long-secret; Path=/; HttpOnly; SameSite=Strict"), "{invited}");
    assert!(invited.contains("location: /\r\n"), "{invited}");
    assert_eq!(status(&get("/", "Cookie: dnc_token=a-long-secret\r\n")), 200);
}

#[test]
fn huge_and_slow_bodies_are_cut_off() {
    let (address, _) = start(None, small());
    assert_eq!(status(&send(address, &request("POST", "/api/search", "", &[7; 10_000]))), 200);
    // What is too large is refused by its length, before it is read; without a length, once the limit is reached.
    let head = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n";
    assert_eq!(status(&send(address, head.as_bytes())), 413);
    let mut chunked = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..12 {
        chunked.extend(b"3e8\r\n");
        chunked.extend([7; 1000]);
        chunked.extend(b"\r\n");
    }
    assert_eq!(status(&send(address, &chunked)), 413);
    // Slow heads and bodies, all at the same time.
    let begun = Instant::now();
    let slow: Vec<_> = (0..30)
        .map(|number| {
            thread::spawn(move || match number % 3 {
                0 => send(address, b"GET /api/runs HTTP/1.1\r\nHost: loc"),
                1 => send(address, b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nslow"),
                _ => send(address, b""),
            })
        })
        .collect();
    for answer in slow {
        let answer = answer.join().unwrap();
        assert!(answer.is_empty() || (400..=503).contains(&status(&answer)), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "they are cut off");
    let large = "x".repeat(200_000);
    let answer = send(address, &request("GET", "/api/runs", &format!("X-Large: {large}\r\n"), b""));
    assert!(answer.is_empty() || (400..500).contains(&status(&answer)), "{answer}");
    assert_eq!(status(&send(address, &request("GET", "/api/runs", "", b""))), 200, "and all is well");
}

#[test]
fn what_does_not_fit_into_the_queue_is_refused_and_a_panic_harms_nobody_else() {
    let (address, echo) = start(None, small());
    let answer = send(address, &request("POST", "/api/search", "", b"panic"));
    assert_eq!(status(&answer), 500);
    assert!(!answer.contains("on purpose"), "what went wrong is not told to strangers: {answer}");
    let asked: Vec<_> = (0..40)
        .map(|_| thread::spawn(move || status(&send(address, &request("POST", "/api/search", "", b"wait")))))
        .collect();
    // All that do not fit are refused while the others still wait.
    let mut statuses = Vec::new();
    let mut open = asked;
    while statuses.len() < 37 {
        let (done, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(thread::JoinHandle::is_finished);
        statuses.extend(done.into_iter().map(|done| done.join().unwrap()));
        open = rest;
        thread::yield_now();
    }
    assert!(statuses.iter().all(|&status| status == 503), "{statuses:?}");
    *echo.released.lock().unwrap() = true;
    echo.release.notify_all();
    assert!(open.into_iter().all(|waiting| waiting.join().unwrap() == 200));
}
