//! The name that was probably meant.

/// Names less alike than this (Jaro-Winkler, 0 to 1) are not offered: `clap` draws the line for options about here too.
const MIN_LIKENESS: f64 = 0.7;

/// The candidate most like `name`, where one is like it at all. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let mut best = None;
    let mut best_likeness = MIN_LIKENESS;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&folded, &candidate.to_lowercase());
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
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
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
            ("xyz", None),
        ] {
            assert_eq!(nearest(name, ["margin", "epochs", "learning_rate", "beta"]), expected, "{name}");
        }
    }
}
