//! End to end: `dnc-run` called as a user would. One binary, so that it links once.

mod compare;
mod damage;
mod graph;
mod images;
mod interrupt;
mod pipeline;
mod place;
mod project;
mod rerun;
mod retain;
