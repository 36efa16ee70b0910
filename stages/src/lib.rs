//! The stages of divide and conquer: tables in, tables out.
