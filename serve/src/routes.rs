//! Which request asks the backend what.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::answers::Correction;
use crate::backend::{Backend, ImageRequest, Refusal, SearchRequest, Size};
use crate::body::{Bodies, Received};
use crate::guard::{COOKIE, Guard};
use crate::limits::Limits;
use crate::pool::Pool;
use crate::problem::{Problem, json};
use crate::query::{EmbedParams, ImageParams, MOST, RunParams, SearchParams, crop, numbers, params};
use crate::{assets, openapi};

/// Number of images that a search finds, if the request does not say.
const K: usize = 10;

/// What the page may load and do: only what this server serves, and pictures that the user chose.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";
/// What the report may do: it has its style and script inside, and loads nothing.
const REPORT_POLICY: &str = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                             base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// What all handlers need.
pub(crate) struct App {
    backend: Arc<dyn Backend>,
    guard: Guard,
    pool: Pool,
    bodies: Bodies,
}

type Shared = State<Arc<App>>;
type Answer = Result<Response, Problem>;

/// The requests that are answered.
pub(crate) fn router(backend: Arc<dyn Backend>, guard: Guard, limits: &Limits) -> Router {
    let app = Arc::new(App { backend, guard, pool: Pool::new(limits), bodies: Bodies::new(limits) });
    Router::new()
        .route("/", get(assets::page))
        .route("/app.css", get(assets::style))
        .route("/app.js", get(assets::script))
        .route("/icon.svg", get(assets::icon))
        .route("/favicon.ico", get(assets::icon))
        .route("/report", get(report))
        .route("/openapi.json", get(|| async { json(&openapi::document()) }))
        .route("/healthz", get(|| async { json(&serde_json::json!({ "status": "ok" })) }))
        .route("/api/runs", get(runs))
        .route("/api/state", get(state))
        .route("/api/metrics", get(metrics))
        .route("/api/search", post(search).get(search))
        .route("/api/embed", post(embed))
        .route("/api/image/{id}", get(image))
        .route("/api/labels", get(labels).post(correct))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "There is nothing under this address") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This address has other methods; `/openapi.json` lists them")
        })
        .layer(from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

/// Refuses foreign requests, and adds the headers that keep a browser from doing more than it should.
async fn guarded(State(app): Shared, request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let mut response = match app.guard.check_origin(headers, uri) {
        Err(problem) => problem.into_response(),
        Ok(()) if app.guard.is_invited(request.method(), uri) => enter(&app.guard),
        // Whether the program is alive is no secret.
        Ok(()) if uri.path() == "/healthz" => next.run(request).await,
        Ok(()) => match app.guard.check_token(headers) {
            Err(problem) => problem.into_response(),
            Ok(()) => next.run(request).await,
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Keeps the token of an invitation in a cookie, and leads to the page without it in the address.
fn enter(guard: &Guard) -> Response {
    let token = guard.token.as_deref().unwrap_or_default();
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)]).into_response()
}

/// Asks the backend in the pool.
async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&dyn Backend) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Problem> {
    let backend = Arc::clone(&app.backend);
    Ok(app.pool.run(move || question(backend.as_ref())).await??)
}

async fn runs(State(app): Shared) -> Answer {
    Ok(json(&ask(&app, |backend| backend.runs()).await?))
}

async fn state(State(app): Shared, uri: Uri) -> Answer {
    let RunParams { run } = params(&uri)?;
    Ok(json(&ask(&app, move |backend| backend.state(run.as_deref())).await?))
}

async fn metrics(State(app): Shared, uri: Uri) -> Answer {
    let RunParams { run } = params(&uri)?;
    Ok(json(&ask(&app, move |backend| backend.metrics(run.as_deref())).await?))
}

async fn report(State(app): Shared, uri: Uri) -> Answer {
    let RunParams { run } = params(&uri)?;
    let html = ask(&app, move |backend| backend.report(run.as_deref())).await?;
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, REPORT_POLICY)];
    Ok((headers, html).into_response())
}

async fn search(State(app): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let params: SearchParams = params(&uri)?;
    let mut request = SearchRequest {
        run: params.run,
        crop: crop(params.crop.as_deref())?,
        positive: numbers("positive", params.positive.as_deref())?,
        negative: numbers("negative", params.negative.as_deref())?,
        k: params.k.unwrap_or(K),
        learner: params.learner,
        weights: params.weights.as_deref().map(|text| numbers("weights", Some(text))).transpose()?,
        with_vector: params.vector,
        ..SearchRequest::default()
    };
    if !(1..=MOST).contains(&request.k) {
        return Err(Problem::invalid(format!("`k` must be between 1 and {MOST}")));
    }
    if request.learner.is_some() && request.weights.is_some() {
        return Err(Problem::invalid("`learner` and `weights` exclude each other"));
    }
    let Received { bytes, place } = app.bodies.read(&headers, body).await?;
    if !bytes.is_empty() {
        match media_type(&headers)? {
            MediaType::Json => request.vector = Some(vector(&bytes)?),
            MediaType::Image => request.image = Some(bytes),
        }
    }
    if request.image.is_none() && request.vector.is_none() && request.positive.is_empty() {
        return Err(Problem::invalid("Send an image or a vector as the body, or name images of the run as `positive`"));
    }
    let found = ask(&app, move |backend| {
        let found = backend.search(&request);
        drop((request, place));
        found
    });
    Ok(json(&found.await?))
}

async fn embed(State(app): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let EmbedParams { run, crop: text } = params(&uri)?;
    let crop = crop(text.as_deref())?;
    let Received { bytes: image, place } = app.bodies.read(&headers, body).await?;
    if let MediaType::Json = media_type(&headers)? {
        return Err(unsupported());
    }
    let embedding = ask(&app, move |backend| {
        let embedding = backend.embed(&ImageRequest { run, image, crop });
        drop(place);
        embedding
    });
    Ok(json(&embedding.await?))
}

async fn image(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer {
    let ImageParams { run, size } = params(&uri)?;
    let id: u32 = id.parse().map_err(|_| Problem::invalid("The id of an image is a number"))?;
    let size = match size.as_deref() {
        None | Some("thumbnail") => Size::Thumbnail,
        Some("full") => Size::Full,
        Some(_) => return Err(Problem::invalid("`size` must be `thumbnail` or `full`")),
    };
    let picture = ask(&app, move |backend| backend.image(run.as_deref(), id, size)).await?;
    // A run's images never change.
    let headers = [(header::CONTENT_TYPE, picture.media_type), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, picture.bytes).into_response())
}

async fn labels(State(app): Shared, uri: Uri) -> Answer {
    let RunParams { run } = params(&uri)?;
    Ok(json(&ask(&app, move |backend| backend.labels(run.as_deref())).await?))
}

async fn correct(State(app): Shared, uri: Uri, headers: HeaderMap, body: Body) -> Answer {
    let RunParams { run } = params(&uri)?;
    let Received { bytes, .. } = app.bodies.read(&headers, body).await?;
    // A foreign page cannot send JSON without asking first, and it is not allowed to.
    let MediaType::Json = media_type(&headers)? else {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "A correction is sent as `application/json`"));
    };
    let correction: Correction = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::invalid(format!("The correction is not valid: {error}")))?;
    let Correction { id, class } = correction;
    Ok(json(&ask(&app, move |backend| backend.correct(run.as_deref(), id, class.as_deref())).await?))
}

/// What a body is.
enum MediaType {
    Json,
    Image,
}

/// What a body is, by its header. Programs that send files often state no type or a wrong one, so only what is certainly no image
/// is refused.
fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let stated = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let stated = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match stated.as_str() {
        "application/json" => Ok(MediaType::Json),
        "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(MediaType::Image),
        image if image.starts_with("image/") => Ok(MediaType::Image),
        _ => Err(unsupported()),
    }
}

fn unsupported() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Send the bytes of an image file as the body, without a form around them, as in `curl --data-binary @photo.jpg`",
    )
}

/// The vector in a JSON body: an array of numbers, or an object with such an array under `vector`.
fn vector(bytes: &[u8]) -> Result<Vec<f32>, Problem> {
    let wrong = || Problem::invalid("A vector is sent as a JSON array of finite numbers");
    let mut value: Value = serde_json::from_slice(bytes).map_err(|_| wrong())?;
    if let Some(inner) = value.get_mut("vector") {
        value = inner.take();
    }
    let numbers: Vec<f32> = serde_json::from_value(value).map_err(|_| wrong())?;
    if numbers.is_empty() || numbers.iter().any(|number| !number.is_finite()) {
        return Err(wrong());
    }
    Ok(numbers)
}

/// Every address with the methods that it answers, for the description.
#[cfg(test)]
pub(crate) const ADDRESSES: [(&str, &[&str]); 9] = [
    ("/healthz", &["get"]),
    ("/report", &["get"]),
    ("/api/runs", &["get"]),
    ("/api/state", &["get"]),
    ("/api/metrics", &["get"]),
    ("/api/search", &["get", "post"]),
    ("/api/embed", &["post"]),
    ("/api/image/{id}", &["get"]),
    ("/api/labels", &["get", "post"]),
];
