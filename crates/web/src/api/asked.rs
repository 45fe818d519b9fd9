//! How requests ask, and lists are answered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// Items of one answer, where the request does not say how many.
pub(crate) const USUAL: usize = 100;

/// The most that it may ask for.
pub(crate) const MOST: usize = 1_000;

/// A page of a longer list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T: ToSchema> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// What to ask for as `after` to get more; absent where there is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// How many items are wanted.
pub(crate) fn how_many(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted {
        None => Ok(USUAL),
        Some(count @ 1..=MOST) => Ok(count),
        Some(count) => Err(Problem::wrong(&format!("limit is 1 to {MOST}, not {count}"))),
    }
}

/// A query that cannot be read is a problem like others.
pub(crate) fn read<T>(
    query: Result<axum::extract::Query<T>, axum::extract::rejection::QueryRejection>,
) -> Result<T, Problem> {
    query.map(|query| query.0).map_err(|error| Problem::wrong(&error.body_text()))
}

/// So is a body.
pub(crate) fn body<T>(body: Result<axum::Json<T>, axum::extract::rejection::JsonRejection>) -> Result<T, Problem> {
    body.map(|body| body.0).map_err(|error| Problem::new(error.status(), &error.body_text()))
}

/// And a part of the path.
pub(crate) fn part<T>(
    path: Result<axum::extract::Path<T>, axum::extract::rejection::PathRejection>,
) -> Result<T, Problem> {
    path.map(|path| path.0).map_err(|error| Problem::wrong(&error.body_text()))
}
