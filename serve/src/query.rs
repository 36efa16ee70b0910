//! Query parameters.

use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The most images that one search finds.
pub(crate) const MOST: usize = 1000;

/// Query parameters of a search.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchParams {
    pub(crate) run: Option<String>,
    pub(crate) k: Option<usize>,
    pub(crate) crop: Option<String>,
    pub(crate) learner: Option<usize>,
    pub(crate) weights: Option<String>,
    pub(crate) positive: Option<String>,
    pub(crate) negative: Option<String>,
    pub(crate) vector: bool,
}

/// Query parameters of an embedding.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EmbedParams {
    pub(crate) run: Option<String>,
    pub(crate) crop: Option<String>,
}

/// Query parameters of an image.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ImageParams {
    pub(crate) run: Option<String>,
    pub(crate) size: Option<String>,
}

/// The query parameter that most requests have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunParams {
    pub(crate) run: Option<String>,
}

/// The query parameters of a request.
pub(crate) fn params<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parsed = Query::<T>::try_from_uri(uri);
    parsed.map(|Query(params)| params).map_err(|error| Problem::invalid(error.body_text()))
}

/// Numbers with commas between them.
pub(crate) fn numbers<T: FromStr>(name: &str, text: Option<&str>) -> Result<Vec<T>, Problem> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(Vec::new()) };
    let numbers: Result<Vec<T>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers =
        numbers.map_err(|_| Problem::invalid(format!("`{name}` must be numbers with commas between them")))?;
    if numbers.len() > MOST {
        return Err(Problem::invalid(format!("`{name}` must have at most {MOST} numbers")));
    }
    Ok(numbers)
}

/// Left, top, width and height.
pub(crate) fn crop(text: Option<&str>) -> Result<Option<[usize; 4]>, Problem> {
    let numbers: Vec<usize> = numbers("crop", text)?;
    if numbers.is_empty() {
        return Ok(None);
    }
    let wrong = |_| Problem::invalid("`crop` must be four numbers of pixels: left, top, width, height");
    numbers.try_into().map(Some).map_err(wrong)
}
