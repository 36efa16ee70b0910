//! Matches the tensors of a file to the names and shapes that a model expects.

use std::collections::{BTreeMap, BTreeSet};

use super::named_tensor::NamedTensor;
use crate::fit::{Fit, ShapeMismatch};

/// Prefixes that training code puts before the tensor names of a model that it wraps.
const WRAPPERS: [&str; 9] =
    ["state_dict.", "model_state_dict.", "model.", "module.", "backbone.", "encoder.", "teacher.", "student.", "net."];

/// Pairs each expected name with the tensor of that name.
pub(crate) fn exact<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    pair(expected, tensors.iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
}

/// Like [`exact`], but strips the prefixes of wrappers from a name, one by one, until it is an expected one.
pub(crate) fn unwrapped<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    let names: BTreeSet<_> = expected.clone().map(|(name, _)| name).collect();
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
    // If two tensors end up with the same name, the first one in the file is used.
    let mut given = BTreeMap::new();
    for tensor in tensors {
        given.entry(unwrap(&tensor.name)).or_insert(tensor);
    }
    pair(expected, given)
}

fn pair<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    mut given: BTreeMap<String, &'t NamedTensor>,
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    let (mut pairs, mut fit) = (Vec::new(), Fit::default());
    for (name, shape) in expected {
        match given.remove(name) {
            None => fit.missing.push(name.to_owned()),
            Some(tensor) if is_same_shape(&tensor.shape, shape) => pairs.push((name, tensor)),
            Some(tensor) => fit.mismatched.push(ShapeMismatch {
                name: name.to_owned(),
                wanted: shape.to_vec(),
                found: tensor.shape.clone(),
            }),
        }
    }
    fit.unexpected = given.into_keys().collect();
    (pairs, fit)
}

/// Whether two shapes are equal, apart from a first axis of length 1: PyTorch 0.3 wrote the vectors of batch-norms as rows.
fn is_same_shape(found: &[usize], wanted: &[usize]) -> bool {
    found == wanted || matches!(found.split_first(), Some((1, rest)) if rest == wanted && !rest.is_empty())
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
    fn all_three_kinds_of_difference_are_listed() {
        let expected: [(&str, &[usize]); 3] = [("a", &[2]), ("b", &[3, 1]), ("c", &[1])];
        let given = [tensor("module.model.a", &[2]), tensor("b", &[1, 3]), tensor("module.d", &[1])];
        let (pairs, fit) = unwrapped(expected.into_iter(), &given);
        assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a"]);
        insta::assert_snapshot!(
            fit,
            @"1 missing (`c`); 1 of another shape (`b` is [1, 3] instead of [3, 1]); 1 unexpected (`module.d`)"
        );
        assert!(!fit.is_complete());
    }

    #[test]
    fn a_row_fits_a_vector_and_nothing_else_does() {
        assert!(is_same_shape(&[1, 64], &[64]) && is_same_shape(&[1, 3], &[1, 3]));
        assert!(!is_same_shape(&[64], &[1, 64]) && !is_same_shape(&[2, 64], &[64]) && !is_same_shape(&[1], &[]));
    }

    #[test]
    fn an_expected_name_keeps_its_prefix() {
        let expected: [(&str, &[usize]); 1] = [("model.a", &[2])];
        let given = [tensor("model.a", &[2])];
        assert!(unwrapped(expected.into_iter(), &given).1.is_exact());
    }
}
