//! Why a request has no answer, as RFC 9457 writes it for programs. Pages show the same words.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use wardwatch_report::ReportError;
use wardwatch_store::StoreError;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status.
    status: u16,
    /// What the status is called.
    title: String,
    /// What is wrong, and what would be right.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: &str) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: detail.to_owned(),
        }
    }

    /// Nobody can say yet who is here.
    pub(super) fn not_read_yet() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the ward has not been read yet; ask again in a second")
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn wrong(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The visitor may not do this.
    pub(super) fn forbidden(role: wardwatch_model::terms::Role) -> Self {
        Self::new(StatusCode::FORBIDDEN, &format!("this takes the role \"{}\"", role.name()))
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // What the database says may tell more than a visitor should know.
        tracing::warn!(%error, "the page cannot read the store");
        let what = match error {
            StoreError::Unavailable(_) => "the store does not answer",
            _ => "the store answers that this cannot be done",
        };
        let detail = format!("{what}, so nothing was read or changed; the log says why");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, &detail)
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::NoPatient { .. } | ReportError::NoReadings { .. } | ReportError::NoTable { .. } => {
                Self::not_found(&error.to_string())
            }
            ReportError::Store(error) => error.into(),
            error => {
                tracing::warn!(%error, "no chart");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the chart cannot be drawn; the job's log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status(), [(header::CONTENT_TYPE, kind)], text).into_response()
    }
}
