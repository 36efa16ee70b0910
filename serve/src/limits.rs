//! What requests may cost.

use std::time::Duration;

/// What requests may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a body.
    pub body: usize,
    /// The most bytes of all bodies that are in memory.
    pub bodies: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long the head of a request may take to arrive.
    pub head_time: Duration,
    /// Requests that are worked on at the same time.
    pub workers: usize,
    /// Requests that wait for a worker.
    pub queue: usize,
    /// How long a request may wait and be worked on.
    pub work_time: Duration,
    /// Connections at the same time.
    pub connections: usize,
    /// Age at which a connection is closed after the request in progress; as long again, and it is closed in any case.
    pub connection_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 20_000_000,
            bodies: 160_000_000,
            body_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            workers: 2,
            queue: 64,
            work_time: Duration::from_secs(30),
            connections: 256,
            connection_age: Duration::from_secs(60),
        }
    }
}
