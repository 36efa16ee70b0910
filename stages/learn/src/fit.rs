//! How a set of named tensors fits what a model expects: the result of matching names and shapes.

use std::fmt;

/// Number of names after which a list in a message is cut off.
const LISTED: usize = 8;

/// Differences between the tensors that a model expects and those that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Expected, but not given.
    pub missing: Vec<String>,
    /// Given, but not expected.
    pub unexpected: Vec<String>,
    /// Given and left out: the classifier head of a network, or other parts of a training checkpoint, such as the optimiser.
    pub left_out: Vec<String>,
    /// Expected and given, but with another shape.
    pub mismatched: Vec<ShapeMismatch>,
    /// Expected and given, but as whole numbers, which a quantised network stores in the place of its weights.
    pub whole_numbers: Vec<String>,
}

/// A tensor that was given in another shape than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The tensor's name in the model.
    pub name: String,
    /// The model's shape.
    pub wanted: Vec<usize>,
    /// The given shape.
    pub found: Vec<usize>,
}

impl Fit {
    /// Whether every expected tensor was given in its shape, and no other tensor but those that are left out.
    pub fn is_exact(&self) -> bool {
        self.is_complete() && self.unexpected.is_empty()
    }

    /// Whether every expected tensor was given in its shape, in floating-point numbers.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty() && self.whole_numbers.is_empty()
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mismatched = self.mismatched.iter();
        let mismatched =
            mismatched.map(|m| format!("`{}` is {:?} instead of {:?}", m.name, m.found, m.wanted)).collect();
        let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect();
        let lists: [(&str, Vec<String>); 5] = [
            ("missing", quoted(&self.missing)),
            ("of another shape", mismatched),
            ("of whole numbers, as in a quantised network,", quoted(&self.whole_numbers)),
            ("unexpected", quoted(&self.unexpected)),
            ("left out", quoted(&self.left_out)),
        ];
        let mut separator = "";
        for (what, items) in lists.iter().filter(|(_, items)| !items.is_empty()) {
            let more = if items.len() > LISTED { ", …" } else { "" };
            write!(f, "{separator}{} {what} ({}{more})", items.len(), items[..items.len().min(LISTED)].join(", "))?;
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("all match") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_off() {
        let fit = Fit { missing: (0..20).map(|i| format!("t{i}")).collect(), ..Fit::default() };
        insta::assert_snapshot!(
            fit,
            @"20 missing (`t0`, `t1`, `t2`, `t3`, `t4`, `t5`, `t6`, `t7`, …)"
        );
    }
}
