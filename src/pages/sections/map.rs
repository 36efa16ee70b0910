//! Section 7: the map.

use std::collections::BTreeMap;

use dnc_stages::tables::Split;
use maud::{Markup, html};
use serde_json::json;

use super::parts::{NO_EMBEDDINGS, missing};
use crate::pages::analysis::map::Map;
use crate::pages::evidence::{Catalogue, Embedded};
use crate::pages::format::{base64, count};
use crate::pages::page::Section;
use crate::report::answers::Answer;

/// Points above which five instead of ten neighbours are kept.
const MANY: usize = 20_000;

/// What the section is made from.
pub(in crate::pages) struct MapData<'a> {
    pub(in crate::pages) map: Option<&'a Map>,
    pub(in crate::pages) embedded: Option<&'a Embedded>,
    pub(in crate::pages) answers: &'a [Answer],
    pub(in crate::pages) catalogue: &'a Catalogue,
    /// Whether the model has several learners.
    pub(in crate::pages) is_divided: bool,
    /// For each answer by position, the learner that alone finds it.
    pub(in crate::pages) learners: &'a BTreeMap<usize, Vec<usize>>,
    /// Bytes that the map may take.
    pub(in crate::pages) budget: usize,
}

/// The section, and a statement of what was left out.
pub(in crate::pages) fn section(data: &MapData<'_>) -> (Section, Option<String>) {
    let lead =
        html! { "Each point is an evaluated image; images that lie together are near each other in the embedding." };
    let (body, left_out) = match data.map.zip(data.embedded) {
        Some((map, embedded)) => body(data, map, embedded),
        None if data.embedded.is_some() => (missing("Too few images were evaluated for a map."), None),
        None => (missing(NO_EMBEDDINGS), None),
    };
    (Section { id: "map", title: "Map", lead, body }, left_out)
}

fn body(data: &MapData<'_>, map: &Map, embedded: &Embedded) -> (Markup, Option<String>) {
    let rows = embedded.ids.len();
    let mut k = if rows > MANY { 5 } else { 10 };
    let size = |k: usize| (rows * (13 + 4 * k)) * 4 / 3 + 20_000;
    let mut left_out = None;
    if size(k) > data.budget {
        k = 0;
        left_out = Some("The lines to the true neighbours on the map are left out to keep the size of this page; `--budget` raises it.".to_owned());
    }
    if size(k) > data.budget {
        let statement = format!(
            "The map of {} points is left out to keep the size of this page; `--budget` raises it.",
            count(rows)
        );
        return (missing(&statement), Some(statement));
    }
    let Points { points, classes, splits, has_learners } = points(data, map, embedded);
    let clusters = map.clusters.iter().max().map_or(0, |&most| usize::from(most) + 1);
    let neighbours = neighbours(data, embedded, k);
    let packed = json!({
        "points": base64(&points), "clusters": base64(&map.clusters), "neighbours": base64(&neighbours), "splits": splits,
        "classes": classes.iter().map(|&label| data.catalogue.class(label)).collect::<Vec<_>>(),
    });
    let body = html! {
        noscript { (missing("The map needs JavaScript.")) }
        div #map-view {
            div.filters {
                label { "colour " select name="colour" {
                    option value="class" { "class" } option value="right" { "right or wrong" } option value="cluster" { "cluster" }
                    @if splits.len() > 1 { option value="split" { "split" } }
                    @if has_learners { option value="learner" { "found by one learner alone" } }
                } }
                label { input type="checkbox" name="lasso"; " lasso (or hold Shift)" }
                button type="button" name="reset" { "Reset" }
                button.hidden type="button" name="csv" { "Save these ids" }
                output name="said" {}
            }
            div.legend.key {}
            div.stage { canvas {} canvas.over {} div.over-pictures {} }
        }
        p.caption {
            "Trustworthiness (k = 10): " b { (format!("{:.3}", map.trust)) } " — 1 if every neighbour on the map is one in the embedding. t-SNE of "
            (count(map.landmarks)) " images" @if map.landmarks < rows { "; the other " (count(rows - map.landmarks)) " are placed between their three nearest of these" }
            ". Click a point: lines lead to its true neighbours, blue to its own class, dashed orange to others. Scroll to zoom, drag to move; pictures appear \
             when few points are in view. Clusters: k-means of these embeddings with k = " (clusters)
            @if data.is_divided { ", as many as there are learners" } "."
        }
        p #picked-title {}
        div #picked {}
        pre #map-data hidden { (packed) }
    };
    (body, left_out)
}

/// The points, with what their numbers mean.
struct Points {
    points: Vec<u8>,
    classes: Vec<u32>,
    splits: Vec<&'static str>,
    has_learners: bool,
}

/// The points, 12 bytes each: x, y, class (u16 each), right and split, learner from 1 (u8 each), id (u32); and the classes by number.
fn points(data: &MapData<'_>, map: &Map, embedded: &Embedded) -> Points {
    let by_id: BTreeMap<u32, usize> =
        data.answers.iter().enumerate().rev().map(|(at, answer)| (answer.id, at)).collect();
    let mut numbers: BTreeMap<u32, u16> = BTreeMap::new();
    let mut classes = Vec::new();
    let mut points = Vec::with_capacity(embedded.ids.len() * 12);
    let mut splits = Vec::new();
    let mut has_learners = false;
    for (row, [x, y]) in map.packed().into_iter().enumerate() {
        let (id, label, split) = (embedded.ids[row], embedded.labels[row], embedded.splits[row]);
        let number = *numbers.entry(label).or_insert_with(|| {
            classes.push(label);
            (classes.len() - 1).min(usize::from(u16::MAX)) as u16
        });
        if !splits.contains(&split) {
            splits.push(split);
        }
        let split = splits.iter().position(|known| *known == split).unwrap_or(0) as u8;
        let answer = by_id.get(&id);
        let is_right = answer.map_or(2, |&at| u8::from(data.answers[at].is_right()));
        let learner =
            answer.and_then(|at| data.learners.get(at)?.first()).map_or(0, |&learner| (learner + 1).min(255) as u8);
        has_learners |= learner > 0;
        points.extend([x, y, number].into_iter().flat_map(u16::to_le_bytes));
        points.extend([is_right | split << 2, learner]);
        points.extend(id.to_le_bytes());
    }
    Points { points, classes, splits: splits.into_iter().map(Split::name).collect(), has_learners }
}

/// The rows of the `k` true neighbours of each row, 4 bytes each; `u32::MAX` where there is none.
fn neighbours(data: &MapData<'_>, embedded: &Embedded, k: usize) -> Vec<u8> {
    let row_of: BTreeMap<u32, u32> = embedded.ids.iter().copied().zip(0..).collect();
    let mut rows = vec![u32::MAX; embedded.ids.len() * k];
    for answer in data.answers {
        let Some(&row) = row_of.get(&answer.id) else { continue };
        for (place, neighbour) in rows[row as usize * k..][..k].iter_mut().zip(&answer.neighbours) {
            *place = row_of.get(neighbour).copied().unwrap_or(u32::MAX);
        }
    }
    rows.into_iter().flat_map(u32::to_le_bytes).collect()
}
