//! Requests that are wrong as bytes: two lengths, compressed bodies, answers that nobody reads, and a thousand mutations.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use dnc_serve::Limits;

use crate::server::{request, send, small, start, status};

#[test]
fn ambiguous_and_compressed_bodies_are_not_understood_in_two_ways() {
    let (address, _) = start(None, small());
    // What one program takes for one request and another one for two.
    let smuggled = "GET /api/runs HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for lengths in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let head =
            format!("POST /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lengths}\r\n{smuggled}");
        let answer = send(address, head.as_bytes());
        assert!(answer.is_empty() || (400..=503).contains(&status(&answer)), "{lengths}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(!answer.is_empty()), "{lengths}: {answer}");
    }
    // The chunks count, and no second answer follows.
    let both = "POST /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 90\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = send(address, format!("{both}{smuggled}").as_bytes());
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
    for size in ["fffffffffffffffff", "-1", "g", "7fffffffffffffff"] {
        let head =
            format!("POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc");
        let answer = send(address, head.as_bytes());
        assert!(answer.is_empty() || (400..500).contains(&status(&answer)), "{size}: {answer}");
    }
    // Nothing is unpacked: a compressed body is taken as the bytes that it is, so that it cannot grow.
    let packed = [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &[0; 500]].concat();
    let answer = send(address, &request("POST", "/api/search", "Content-Encoding: gzip\r\n", &packed));
    assert!(answer.contains("\"size\":[510,") || (400..500).contains(&status(&answer)), "{answer}");
}

#[test]
fn who_does_not_read_the_answers_is_cut_off() {
    let (address, _) = start(None, small());
    let begun = Instant::now();
    let one = "GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // The server stops reading once it cannot write any more.
            let _ = stream.write_all(one.as_bytes());
            stream
        })
        .collect();
    assert_eq!(status(&send(address, &request("GET", "/healthz", "", b""))), 200, "others are answered meanwhile");
    // Their places are free again once their connections are too old: 64 more fit.
    let others: Vec<_> =
        (0..64).map(|_| thread::spawn(move || status(&send(address, &request("GET", "/healthz", "", b""))))).collect();
    assert!(others.into_iter().all(|other| other.join().unwrap() == 200));
    drop(silent);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// What is put between the bytes of a request.
const PIECES: [&[u8]; 8] = [b"\r\n", b"\0", b"%00", b"../", b"\xff\xfe", b": ", b"?", b" HTTP/1.1\r\n"];

/// Requests of every kind with bytes changed, removed, doubled and cut, the same in each run of the test.
#[test]
fn a_thousand_mutated_requests_harm_nobody() {
    let (address, _) = start(None, Limits { connections: 256, ..small() });
    let templates = [
        request("GET", "/", "", b""),
        request("GET", "/api/search?positive=1,2&negative=3&k=5&weights=1,0.5&crop=0,0,1,1&run=a/1", "", b""),
        request("GET", "/api/image/7?size=full&run=a", "Cookie: dnc_token=x; a=b\r\n", b""),
        request("POST", "/api/search?k=3", "Content-Type: image/png\r\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        request("POST", "/api/search", "Content-Type: application/json\r\n", b"[0.5, -1e-3, 2]"),
        request("POST", "/api/embed?run=a/1", "", b"GIF89a"),
        request("POST", "/api/labels", "Content-Type: application/json\r\n", b"{\"id\": 1, \"class\": \"a\"}"),
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
    ];
    let mutated = |number: u64| {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below.max(1)
        };
        let mut bytes = templates[draw(templates.len())].clone();
        for _ in 0..=draw(4) {
            let at = draw(bytes.len());
            let length = draw(24).min(bytes.len() - at);
            match draw(5) {
                0 => bytes[at] = draw(256) as u8,
                1 => drop(bytes.drain(at..at + length)),
                2 => bytes.truncate(at.max(1)),
                3 => bytes.splice(at..at, bytes[at..at + length].to_vec()).for_each(drop),
                _ => bytes.splice(at..at, PIECES[draw(PIECES.len())].to_vec()).for_each(drop),
            }
            if bytes.is_empty() {
                bytes.push(b'x');
            }
        }
        bytes
    };
    thread::scope(|scope| {
        let ask = |first: u64| {
            let mutated = &mutated;
            move || {
                for number in (first..1000).step_by(16) {
                    let bytes = mutated(number);
                    let answer = send(address, &bytes);
                    // Mutations may leave a valid request; what goes wrong inside would be a 500.
                    let known = answer.is_empty()
                        || (200..=431).contains(&status(&answer))
                        || [503, 505].contains(&status(&answer));
                    assert!(known, "{}: {answer}", String::from_utf8_lossy(&bytes));
                }
            }
        };
        let asked: Vec<_> = (0..16).map(|first| scope.spawn(ask(first))).collect();
        asked.into_iter().for_each(|asked| asked.join().unwrap());
    });
    assert_eq!(status(&send(address, &request("GET", "/api/runs", "", b""))), 200, "and all is well");
}
