//! `dnc-run`: a manifest of stages becomes a plan of nodes, of which only those run whose inputs changed.
//!
//! Data flows one way: [`manifest`] → [`plan`] → [`schedule`] → [`execute`] → [`report`]; [`commands`] are what a user
//! calls. What a stage does is known to `dnc-stages` alone, where bytes lie to `dnc-cache` alone.

pub mod commands;
pub mod execute;
pub mod fingerprint;
pub mod graph;
pub mod manifest;
pub mod plan;
pub mod report;
pub mod schedule;
