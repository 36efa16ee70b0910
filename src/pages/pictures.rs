//! The pictures of a page: each thumbnail is in the page once, as a rule of the style sheet, however often it is shown.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::evidence::Catalogue;
use super::format::{base64, base64_length};
use super::thumbnails::Thumbnails;

/// Bytes of a rule besides the picture.
const RULE: usize = 70;

/// The pictures of a page.
pub(super) struct Pictures<'a> {
    thumbnails: Option<&'a Thumbnails>,
    catalogue: &'a Catalogue,
    shown: RefCell<BTreeSet<u32>>,
}

impl<'a> Pictures<'a> {
    pub(super) fn new(thumbnails: Option<&'a Thumbnails>, catalogue: &'a Catalogue) -> Self {
        Self { thumbnails, catalogue, shown: RefCell::default() }
    }

    /// Whether there are pictures at all.
    pub(super) fn are_there(&self) -> bool {
        self.thumbnails.is_some()
    }

    /// Shows an image.
    pub(super) fn show(&self, id: u32) -> Markup {
        let class = self.catalogue.class_of(id);
        if self.thumbnails.is_some_and(|thumbnails| thumbnails.jpeg(id).is_some()) {
            self.shown.borrow_mut().insert(id);
            return html! { i.p.(format!("p{id}")) role="img" aria-label=(class) data-id=(id) {} };
        }
        html! { i.p.none role="img" aria-label=(class) data-id=(id) { (id) } }
    }

    /// Adds as many of these images as fit in `room`, evenly spread over the list, for a script to show.
    pub(super) fn fill(&self, ids: &[u32], room: usize) {
        let known = |id: &u32| self.thumbnails.is_some_and(|thumbnails| thumbnails.jpeg(*id).is_some());
        let ids: Vec<u32> = ids.iter().copied().filter(known).collect();
        let needed = self.cost(ids.iter().copied());
        let step = needed.div_ceil(room.max(1)).max(1);
        let mut left = room;
        for id in ids.into_iter().step_by(step) {
            let cost = self.cost([id]);
            if cost > left {
                break;
            }
            left -= cost;
            self.shown.borrow_mut().insert(id);
        }
    }

    /// Bytes that showing these images adds to the page.
    pub(super) fn cost(&self, ids: impl IntoIterator<Item = u32>) -> usize {
        let shown = self.shown.borrow();
        let new: BTreeSet<u32> = ids.into_iter().filter(|id| !shown.contains(id)).collect();
        new.into_iter().map(|id| self.size(id)).sum()
    }

    fn size(&self, id: u32) -> usize {
        let jpeg = self.thumbnails.and_then(|thumbnails| thumbnails.jpeg(id));
        jpeg.map_or(0, |jpeg| base64_length(jpeg.len()) + RULE)
    }

    /// Bytes of all pictures that are shown.
    pub(super) fn bytes(&self) -> usize {
        self.shown.borrow().iter().map(|&id| self.size(id)).sum()
    }

    /// The rules of the style sheet.
    pub(super) fn style(&self) -> String {
        let mut style = String::with_capacity(self.bytes());
        for &id in self.shown.borrow().iter() {
            if let Some(jpeg) = self.thumbnails.and_then(|thumbnails| thumbnails.jpeg(id)) {
                let base64 = base64(jpeg);
                writeln!(style, ".p{id}{{background-image:url(data:image/jpeg;base64,{base64})}}")
                    .expect("writing to a string cannot fail");
            }
        }
        style
    }
}
