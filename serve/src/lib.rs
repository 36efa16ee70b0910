//! Image search over HTTP: the page, the interface for programs, and the safety of both.
//!
//! The crate knows HTTP and nothing of runs, models or tables: what is served comes from a [`Backend`], and the answers are plain data.
//! No part of a request is ever used as a path.
//!
//! **Reading order** [`backend`] and [`answers`] (what is asked and answered), `routes` (which request asks what), `body`, `guard` and
//! `pool` (what a request may cost, and who may send one), `listen` (connections), `openapi` (the description for programs),
//! `assets` (the page).
//!
//! # Safety
//! - Without a token, the server listens on the loopback interface only.
//! - A request must name this machine in its `Host` header, so that a foreign page cannot reach it under a name of its own (DNS
//!   rebinding), and must not come from a foreign page (`Origin`).
//! - A body has at most 20 MB, must arrive within a time limit, and all bodies in memory together have a limit.
//! - Decoding and searching happen in a pool with few threads and a bounded queue. What does not fit is refused with 503 at once.
//! - Connections are limited in number and age.

pub mod answers;
mod assets;
pub mod backend;
mod body;
mod guard;
pub mod limits;
mod listen;
mod openapi;
mod pool;
mod problem;
mod query;
mod routes;

pub use backend::{Backend, Refusal};
pub use guard::Guard;
pub use limits::Limits;
pub use listen::{ServeError, ServeOptions, serve};
