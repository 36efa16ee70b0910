//! Matches the tensors of a file to the names and shapes that a model expects.

use std::collections::{BTreeMap, BTreeSet};

use super::named_tensor::NamedTensor;
use super::timm_names;
use crate::fit::{Fit, ShapeMismatch};

/// Prefixes that training code puts before the tensor names of a model that it wraps.
const WRAPPERS: [&str; 9] =
    ["state_dict.", "model_state_dict.", "model.", "module.", "backbone.", "encoder.", "teacher.", "student.", "net."];

/// Layers of published networks and training code that turn features into class scores or projections. A model has its
/// embedding layer in their place.
const HEADS: [&str; 10] =
    ["fc", "_fc", "head", "heads", "classifier", "last_linear", "linear", "logits", "projector", "projection_head"];

/// Parts of a training checkpoint beside the network, by the first part of the name. open-metric-learning saves its loss there.
/// DINO saves its student beside the teacher, which is the published network.
const CHECKPOINT_PARTS: [&str; 12] = [
    "criterion",
    "speaker_loss",
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "lr_scheduler",
    "lr_schedulers",
    "scheduler",
    "scaler",
    "dino_loss",
    "ibot_patch_loss",
    "student",
];

/// The token that stands for hidden patches while DINOv2 and other masked models are trained.
const MASK_TOKEN: &str = "mask_token";

/// Whether a tensor that a model does not expect can be left out without changing what the network computes.
fn may_be_left_out(name: &str) -> bool {
    let mut inner = name;
    loop {
        let first = inner.split('.').next().unwrap_or(inner);
        if inner == MASK_TOKEN || HEADS.contains(&first) || CHECKPOINT_PARTS.contains(&first) {
            return true;
        }
        match WRAPPERS.iter().find_map(|wrapper| inner.strip_prefix(wrapper)) {
            Some(rest) => inner = rest,
            None => return false,
        }
    }
}

/// Pairs each expected name with the tensor of that name.
pub(crate) fn exact<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    pair(expected, tensors.iter().map(|tensor| (tensor.name.clone(), tensor)).collect())
}

/// Like [`exact`], but strips the prefixes of wrappers from a name, one by one, until it is an expected one or timm's name of one.
pub(crate) fn unwrapped<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
    tensors: &'t [NamedTensor],
) -> (Vec<(&'a str, &'t NamedTensor)>, Fit) {
    let names: BTreeSet<_> = expected.clone().map(|(name, _)| name).collect();
    let unwrap = |given: &str| {
        let mut name = given;
        while !names.contains(name) {
            if let Some(own) = timm_names::own(name).filter(|own| names.contains(own.as_str())) {
                return own;
            }
            match WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
                Some(inner) => name = inner,
                None => return given.to_owned(),
            }
        }
        name.to_owned()
    };
    // If two tensors end up with the same name, a student's is not used. Of others the file would have to say which are meant: they are
    // unexpected, unless they are equal.
    let mut given: BTreeMap<String, &NamedTensor> = BTreeMap::new();
    let mut ambiguous = Vec::new();
    let (students, others): (Vec<_>, Vec<_>) = tensors.iter().partition(|tensor| tensor.name.starts_with("student."));
    for tensor in others {
        let first = *given.entry(unwrap(&tensor.name)).or_insert(tensor);
        if (first.dtype, &first.bytes) != (tensor.dtype, &tensor.bytes) {
            ambiguous.push(tensor.name.clone());
        }
    }
    for tensor in students {
        given.entry(unwrap(&tensor.name)).or_insert(tensor);
    }
    let (mut pairs, mut fit) = pair(expected, given);
    let quantised = pairs.extract_if(.., |(_, tensor)| !tensor.dtype.is_float());
    fit.whole_numbers = quantised.map(|(name, _)| name.to_owned()).collect();
    fit.left_out = fit.unexpected.extract_if(.., |name| may_be_left_out(name)).collect();
    fit.unexpected.extend(ambiguous);
    (pairs, fit)
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
    fn heads_and_other_parts_of_checkpoints_are_left_out_but_nothing_else() {
        let expected: [(&str, &[usize]); 1] = [("a", &[2])];
        let names = [
            "student.backbone.a",
            "teacher.backbone.a",
            "teacher.head.mlp.0.weight",
            "optimizer.state.0.exp_avg",
            "criterion.weight",
            "fc.bias",
            "module.classifier.1.weight",
            "mask_token",
            "layer4.2.conv1.weight",
            "register_tokens",
            "headless.weight",
        ];
        let given = names.map(|name| tensor(name, &[2]));
        let (pairs, fit) = unwrapped(expected.into_iter(), &given);
        assert_eq!(pairs[0].1.name, "teacher.backbone.a");
        assert_eq!(fit.unexpected, ["headless.weight", "layer4.2.conv1.weight", "register_tokens"]);
        assert_eq!(fit.left_out.len(), 6);
        assert!(!fit.is_exact() && fit.is_complete());
    }

    #[test]
    fn a_file_with_two_networks_is_refused_unless_they_are_equal() {
        let expected: [(&str, &[usize]); 1] = [("a", &[2])];
        let check = |second: NamedTensor| unwrapped(expected.into_iter(), &[tensor("model.a", &[2]), second]).1;
        assert!(check(tensor("module.a", &[2])).is_exact());
        let other = |name: &str| NamedTensor { bytes: vec![1; 8], ..tensor(name, &[2]) };
        assert_eq!(check(other("module.a")).unexpected, ["module.a"]);
        assert!(check(other("student.a")).is_exact());
    }

    #[test]
    fn whole_numbers_are_no_weights() {
        let expected: [(&str, &[usize]); 2] = [("a", &[2]), ("b", &[2])];
        let quantised = NamedTensor { dtype: DType::U8, bytes: vec![3; 2], ..tensor("a", &[2]) };
        let given = [quantised, tensor("b", &[2])];
        let (pairs, fit) = unwrapped(expected.into_iter(), &given);
        assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b"]);
        assert!(!fit.is_complete());
        insta::assert_snapshot!(fit, @"1 of whole numbers, as in a quantised network, (`a`)");
    }

    #[test]
    fn a_row_fits_a_vector_and_nothing_else_does() {
        assert!(is_same_shape(&[1, 64], &[64]) && is_same_shape(&[1, 3], &[1, 3]));
        assert!(!is_same_shape(&[64], &[1, 64]) && !is_same_shape(&[2, 64], &[64]) && !is_same_shape(&[1], &[]));
    }

    #[test]
    fn names_of_timm_and_of_its_wrappers_are_understood() {
        let expected: [(&str, &[usize]); 2] = [("_conv_stem.weight", &[2]), ("_blocks.1._bn0.bias", &[3])];
        let given = ["model.conv_stem.weight", "model.blocks.1.0.bn1.bias", "model.classifier.weight"];
        let given = [tensor(given[0], &[2]), tensor(given[1], &[3]), tensor(given[2], &[4])];
        let (pairs, fit) = unwrapped(expected.into_iter(), &given);
        assert!(pairs.len() == 2 && fit.is_complete(), "{fit}");
        assert_eq!(fit.left_out, ["model.classifier.weight"]);
    }

    #[test]
    fn an_expected_name_keeps_its_prefix() {
        let expected: [(&str, &[usize]); 1] = [("model.a", &[2])];
        let given = [tensor("model.a", &[2])];
        assert!(unwrapped(expected.into_iter(), &given).1.is_exact());
    }
}
