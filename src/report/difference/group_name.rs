//! Names of groups of runs in tables.

use std::collections::BTreeSet;
use std::fmt;

/// The name of a group of runs: `sop/3`, `sop/1-3`, `sop/1,4:evaluate@2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupName {
    /// Name of the runs, or of the first of them if they have several.
    pub runs: String,
    /// Their numbers, such as `1-3`.
    pub numbers: String,
    /// The node, if only one is compared.
    pub node: Option<String>,
}

impl GroupName {
    /// The name of a group with these run numbers.
    pub(super) fn new(runs: &str, mut numbers: Vec<u32>, node: Option<&str>) -> Self {
        numbers.sort_unstable();
        let ranges = numbers.chunk_by(|one, next| one + 1 == *next).map(|range| match range {
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => unreachable!("a chunk is never empty"),
        });
        let numbers = ranges.collect::<Vec<_>>().join(",");
        Self { runs: runs.to_owned(), numbers, node: node.map(str::to_owned) }
    }

    /// The shortest names that tell these groups apart: the names of the runs, these with their numbers, the nodes, or the
    /// full names.
    pub(super) fn shortened<'a>(names: impl Iterator<Item = &'a Self> + Clone) -> Vec<String> {
        let forms: [fn(&Self) -> String; 3] = [
            |name| name.runs.clone(),
            |name| format!("{}/{}", name.runs, name.numbers),
            |name| name.node.clone().unwrap_or_default(),
        ];
        let short = forms.into_iter().map(|form| names.clone().map(form).collect::<Vec<_>>()).find(|short| {
            let distinct: BTreeSet<&String> = short.iter().filter(|name| !name.is_empty()).collect();
            distinct.len() == short.len()
        });
        short.unwrap_or_else(|| names.map(ToString::to_string).collect())
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.runs, self.numbers)?;
        self.node.iter().try_for_each(|node| write!(formatter, ":{node}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let check = |names: &[(&str, &[u32], Option<&str>)], expected: &[&str]| {
            let name =
                |(runs, numbers, node): &(&str, &[u32], Option<&str>)| GroupName::new(runs, numbers.to_vec(), *node);
            let names: Vec<_> = names.iter().map(name).collect();
            assert_eq!(GroupName::shortened(names.iter()), expected);
        };
        check(&[("a", &[1, 2], Some("end")), ("b", &[1, 2], Some("end"))], &["a", "b"]);
        check(&[("a", &[1, 2, 4], Some("end")), ("a", &[3], Some("end"))], &["a/1-2,4", "a/3"]);
        check(&[("a", &[1], Some("start")), ("a", &[1], Some("end"))], &["start", "end"]);
        check(&[("a", &[1], Some("end")), ("a", &[2], Some("end")), ("a", &[1], None)], &["a/1:end", "a/2:end", "a/1"]);
    }
}
