//! End to end: `dnc-run` called as a user would. One binary, so that it links once.

mod campaigns;
mod compare;
mod damage;
mod doc_links;
mod docs;
mod door;
mod driver;
mod executors;
mod export;
mod graph;
mod images;
mod interrupt;
mod pipeline;
mod plan;
mod project;
mod project_root;
mod report;
mod rerun;
mod retain;
mod runs;
mod search;
mod serve;
mod slurm;
mod sweep;
mod transfer;
