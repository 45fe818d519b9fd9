//! What pages are dressed in: one style, one script, the icon; all from here, nothing from elsewhere.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use wardwatch_report::{PictureSize, png};

use super::access::secret::digest;
use super::app::App;

const STYLE: &str = include_str!("wardwatch.css");
const SCRIPT: &str = include_str!("wardwatch.js");
const ICON: &str = include_str!("icon.svg");

/// A home screen's entry: the page opens in a window of its own.
const MANIFEST: &str = r##"{
  "name": "wardwatch", "short_name": "Ward", "start_url": "/", "display": "standalone",
  "background_color": "#0F1419", "theme_color": "#0F1419",
  "icons": [
    { "src": "/assets/icon-192.png", "sizes": "192x192", "type": "image/png" },
    { "src": "/assets/icon-512.png", "sizes": "512x512", "type": "image/png" },
    { "src": "/assets/icon.svg", "sizes": "any", "type": "image/svg+xml" }
  ]
}
"##;

/// The files. They may be kept, and are asked for again only as to whether they have changed.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/assets/wardwatch.css", get(async |headers: HeaderMap| file(&headers, "text/css", STYLE)))
        .route("/assets/wardwatch.js", get(async |headers: HeaderMap| file(&headers, "text/javascript", SCRIPT)))
        .route("/assets/icon.svg", get(async |headers: HeaderMap| file(&headers, "image/svg+xml", ICON)))
        .route("/assets/icon-192.png", get(async || icon(192)))
        .route("/assets/icon-512.png", get(async || icon(512)))
        .route(
            "/manifest.webmanifest",
            get(async |headers: HeaderMap| file(&headers, "application/manifest+json", MANIFEST)),
        )
}

fn file(headers: &HeaderMap, kind: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{}\"", &digest(text)[..16]);
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let kept = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
    // A proxy that compresses makes the tag a weak one.
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
    (kept, [(CONTENT_TYPE, kind)], text).into_response()
}

fn icon(width: u32) -> Response {
    match png(ICON, PictureSize { width, dpi: 96 }) {
        Ok(picture) => ([(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, "max-age=86400")], picture).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
