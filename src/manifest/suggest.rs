//! Suggests the valid name that is nearest to a misspelt one, and formats lists of names.

/// Names less similar than this (Jaro-Winkler, 0 to 1) are not suggested. `clap` uses 0.7, with which `score` would suggest
/// `decode`.
const MIN_SIMILARITY: f64 = 0.8;

/// Similarity of two names that differ by one edit (a letter inserted, removed, replaced or swapped), however short.
const ONE_EDIT: f64 = 0.9;

/// The candidate most similar to `name`, if any is similar enough. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let mut best = None;
    let mut best_similarity = MIN_SIMILARITY;
    for candidate in candidates {
        let similarity = similarity(&folded, &candidate.to_lowercase());
        if similarity > best_similarity {
            (best, best_similarity) = (Some(candidate), similarity);
        }
    }
    best
}

/// ``Did you mean `nearest`?``, if a candidate is similar enough.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, candidates).map(|nearest| format!("Did you mean `{nearest}`?"))
}

/// The names in backticks: `` `a`, `b` and `c` ``.
pub fn all_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "and")
}

/// The names in backticks: `` `a`, `b` or `c` ``.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "or")
}

fn joined<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

fn similarity(name: &str, candidate: &str) -> f64 {
    let similarity = strsim::jaro_winkler(name, candidate);
    let is_one_edit = name.len() > 2 && strsim::osa_distance(name, candidate) == 1;
    if is_one_edit { similarity.max(ONE_EDIT) } else { similarity }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        for (name, expected) in [
            ("mergin", Some("margin")),
            ("Margin", Some("margin")),
            ("epoch", Some("epochs")),
            ("lerning_rate", Some("learning_rate")),
            ("pre", Some("per")),
            ("x", None),
            ("score", None),
        ] {
            let candidates = ["margin", "epochs", "learning_rate", "per", "decode"];
            assert_eq!(nearest(name, candidates), expected, "{name}");
        }
    }
}
