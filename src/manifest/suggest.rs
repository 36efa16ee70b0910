//! The name that was probably meant.

/// Names less alike than this (Jaro-Winkler, 0 to 1) are not offered. `clap` draws the line at 0.7, where `score` is taken
/// for `decode`.
const MIN_LIKENESS: f64 = 0.8;

/// Two letters in the other's place: as like as this, however short the names.
const ONE_SLIP: f64 = 0.9;

/// The candidate most like `name`, where one is like it at all. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let mut best = None;
    let mut best_likeness = MIN_LIKENESS;
    for candidate in candidates {
        let likeness = likeness(&folded, &candidate.to_lowercase());
        if likeness > best_likeness {
            (best, best_likeness) = (Some(candidate), likeness);
        }
    }
    best
}

/// ``Did you mean `nearest`?``, where something is near.
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

fn likeness(name: &str, candidate: &str) -> f64 {
    let alike = strsim::jaro_winkler(name, candidate);
    let is_slip = name.len() > 2 && strsim::osa_distance(name, candidate) == 1;
    if is_slip { alike.max(ONE_SLIP) } else { alike }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_meant() {
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
