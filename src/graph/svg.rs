//! A picture, laid out by `layout-rs` from the dot drawing.

use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};

use super::dot;
use crate::plan::Plan;

/// The plan as a picture.
pub fn draw(plan: &Plan) -> String {
    let drawing = DotParser::new(&dot::draw(plan)).process().expect("it was written by `dot`");
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&drawing);
    let mut graph = builder.get();
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    writer.finalize()
}
