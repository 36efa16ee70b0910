//! A heat map: a picture with one pixel per cell, scaled up without smoothing, so that 3,600 cells take a kilobyte. The hue is
//! that of the page's accent; its opacity is the value, so that the map fits a light and a dark page.

use std::io::Cursor;

use image::{ImageFormat, Rgba, RgbaImage};
use maud::{Markup, html};

use super::frame::px;
use crate::pages::format::base64;

/// The accent, which is legible on white and on black.
const HUE: [u8; 3] = [59, 130, 246];

/// A matrix of values from 0 to 1 with names of its rows and columns.
pub(in crate::pages) struct HeatMap<'a> {
    pub(in crate::pages) title: &'a str,
    pub(in crate::pages) rows: &'a [String],
    pub(in crate::pages) columns: &'a [String],
    /// Row by row.
    pub(in crate::pages) values: &'a [f64],
    /// Width and height of a cell in pixels.
    pub(in crate::pages) cell: (f64, f64),
}

/// Draws the map. The script shows row, column and value under the pointer.
pub(in crate::pages) fn draw(map: &HeatMap<'_>) -> Markup {
    let (columns, rows) = ((map.values.len() / map.rows.len().max(1)).max(1), map.rows.len().max(1));
    let pixel = |x: u32, y: u32| {
        let value = map.values.get(y as usize * columns + x as usize).copied().unwrap_or(0.0).clamp(0.0, 1.0);
        let [red, green, blue] = HUE;
        // The square root makes small values visible.
        Rgba([red, green, blue, (value.sqrt() * 255.0).round() as u8])
    };
    let image = RgbaImage::from_fn(columns as u32, rows as u32, pixel);
    let mut png = Cursor::new(Vec::new());
    let encoded = image.write_to(&mut png, ImageFormat::Png);
    let link = format!("data:image/png;base64,{}", base64(png.get_ref()));
    let longest = map.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64;
    let left = (longest * 5.6 + 10.0).min(190.0);
    let (across, down) = (map.cell.0 * columns as f64, map.cell.1 * rows as f64);
    let named = map.cell.1 >= 9.0;
    let (width, height) = (left + across + 2.0, down + 4.0);
    let data = serde_json::json!({ "rows": map.rows, "columns": map.columns,
        "values": map.values.iter().map(|value| (value * 1000.0).round() as u32).collect::<Vec<_>>() });
    html! {
        @if encoded.is_ok() {
            svg.chart.heat viewBox=(format!("0 0 {width:.0} {height:.0}")) width=(px(width)) height=(px(height)) role="img"
                aria-label=(map.title) data-heat=(data) data-left=(px(left)) {
                @if named {
                    @for (number, name) in map.rows.iter().enumerate() {
                        text.tick x=(px(left - 5.0)) y=(px(2.0 + map.cell.1 * (number as f64 + 0.5))) dy="0.32em" text-anchor="end" {
                            (shortened(name))
                        }
                    }
                }
                rect.plate x=(px(left)) y="2" width=(px(across)) height=(px(down)) {}
                image x=(px(left)) y="2" width=(px(across)) height=(px(down)) preserveAspectRatio="none" href=(link) {}
            }
        }
    }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= 30 { name.to_owned() } else { name.chars().take(29).chain(['…']).collect() }
}
