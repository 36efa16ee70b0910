//! SVG, with the DOT drawing laid out by `layout-rs`.

use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};

use super::dot;
use crate::plan::Plan;

/// Draws the plan as SVG.
pub fn draw(plan: &Plan) -> String {
    let drawing = DotParser::new(&dot::draw(plan)).process().expect("`dot::draw` writes valid DOT");
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&drawing);
    let mut graph = builder.get();
    let mut writer = SVGWriter::new();
    graph.do_it(false, false, false, &mut writer);
    writer.finalize()
}
