//! Charts as SVG: small functions from numbers to a drawing. Colours and fonts are those of the page's style sheet.
//!
//! [`scale`] maps numbers to pixels, [`frame`] draws axes; the other files are one kind of chart each.

pub(super) mod dots;
mod frame;
pub(super) mod gantt;
pub(super) mod heat_map;
pub(super) mod histogram;
pub(super) mod intervals;
pub(super) mod lines;
mod scale;
