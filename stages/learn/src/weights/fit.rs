//! How the tensors of a file fit what a model wants.

use std::collections::BTreeMap;
use std::fmt;

use super::NamedTensor;

/// What training code wraps about a model, and hence before the names of its tensors.
const WRAPPERS: [&str; 9] =
    ["state_dict.", "model_state_dict.", "model.", "module.", "backbone.", "encoder.", "teacher.", "student.", "net."];

/// The longest list of names that a message spells out.
const LISTED: usize = 8;

/// What keeps a set of named tensors from being those of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Wanted, but not given.
    pub missing: Vec<String>,
    /// Given, but not wanted.
    pub superfluous: Vec<String>,
    /// Wanted and given, but of another shape.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor that is given in another shape than is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The tensor, as the model calls it.
    pub name: String,
    /// The model's shape.
    pub wanted: Vec<usize>,
    /// The given shape.
    pub found: Vec<usize>,
}

impl Fit {
    /// Whether every wanted tensor is there in its shape, and no other.
    pub fn is_exact(&self) -> bool {
        self.is_complete() && self.superfluous.is_empty()
    }

    /// Whether every wanted tensor is there in its shape.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misshapen = self.misshapen.iter();
        let misshapen = misshapen.map(|m| format!("`{}` is {:?} instead of {:?}", m.name, m.found, m.wanted)).collect();
        let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect();
        let lists: [(&str, Vec<String>); 3] =
            [("missing", quoted(&self.missing)), ("misshapen", misshapen), ("superfluous", quoted(&self.superfluous))];
        let mut separator = "";
        for (what, items) in lists.iter().filter(|(_, items)| !items.is_empty()) {
            let more = if items.len() > LISTED { ", …" } else { "" };
            write!(f, "{separator}{} {what} ({}{more})", items.len(), items[..items.len().min(LISTED)].join(", "))?;
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("all fit") } else { Ok(()) }
    }
}

/// Pairs each wanted name with the tensor of that name.
pub(crate) fn exact<'a, 't>(
    wanted: impl Iterator<Item = (&'a str, &'a [usize])>,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    pair(wanted, tensors.iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
}

/// As [`exact`], but a name that is not wanted as it stands loses the prefixes of wrappers one by one until it is.
pub(crate) fn renamed<'a, 't>(
    wanted: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    let names: std::collections::BTreeSet<_> = wanted.clone().map(|(name, _)| name).collect();
    let unwrap = |given: &str| {
        let mut name = given;
        while !names.contains(name) {
            match WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
                Some(inner) => name = inner,
                None => return given.to_owned(),
            }
        }
        name.to_owned()
    };
    // Of two tensors that come to the same name the first one counts: a file's own order is its author's.
    let mut given = BTreeMap::new();
    for tensor in tensors {
        given.entry(unwrap(&tensor.name)).or_insert(tensor);
    }
    pair(wanted, given)
}

fn pair<'a, 't>(
    wanted: impl Iterator<Item = (&'a str, &'a [usize])>,
    mut given: BTreeMap<String, &'t NamedTensor>,
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    let (mut pairs, mut fit) = (Vec::new(), Fit::default());
    for (name, shape) in wanted {
        match given.remove(name) {
            None => fit.missing.push(name.to_owned()),
            Some(tensor) if tensor.shape == shape => pairs.push((name, tensor)),
            Some(tensor) => fit.misshapen.push(Misshapen {
                name: name.to_owned(),
                wanted: shape.to_vec(),
                found: tensor.shape.clone(),
            }),
        }
    }
    fit.superfluous = given.into_keys().collect();
    (pairs, fit)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
        let count = shape.iter().product::<usize>();
        NamedTensor { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), bytes: vec![0; 4 * count] }
    }

    #[test]
    fn a_misfit_lists_all_three_kinds() {
        let wanted: [(&str, &[usize]); 3] = [("a", &[2]), ("b", &[3, 1]), ("c", &[1])];
        let given = [tensor("module.model.a", &[2]), tensor("b", &[1, 3]), tensor("module.d", &[1])];
        let (pairs, fit) = renamed(wanted.into_iter(), &given);
        assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a"]);
        insta::assert_snapshot!(
            fit,
            @"1 missing (`c`); 1 misshapen (`b` is [1, 3] instead of [3, 1]); 1 superfluous (`module.d`)"
        );
        assert!(!fit.is_complete());
    }

    #[test]
    fn long_lists_are_cut() {
        let fit = Fit { missing: (0..20).map(|i| format!("t{i}")).collect(), ..Fit::default() };
        insta::assert_snapshot!(
            fit,
            @"20 missing (`t0`, `t1`, `t2`, `t3`, `t4`, `t5`, `t6`, `t7`, …)"
        );
    }

    #[test]
    fn a_wanted_name_is_not_unwrapped() {
        let wanted: [(&str, &[usize]); 1] = [("model.a", &[2])];
        let given = [tensor("model.a", &[2])];
        assert!(renamed(wanted.into_iter(), &given).1.is_exact());
    }
}
