//! The page: HTML, style and script of its own, without a framework.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file of the page.
fn asset(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub(crate) async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("page/index.html"))
}

pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("page/app.css"))
}

pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page/app.js"))
}

pub(crate) async fn icon() -> Response {
    asset("image/svg+xml", include_str!("page/icon.svg"))
}
