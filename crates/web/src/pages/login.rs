//! Logging in and out.

use axum::Form;
use axum::extract::{Extension, FromRequest, Query, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::access::{address, same_site};
use super::super::problem::Problem;
use super::frame::document;
use crate::access;
use crate::access::visitor::Visitor;
use crate::app::App;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Onward {
    next: String,
}

/// What is typed.
#[derive(Debug, Deserialize)]
pub(crate) struct LogIn {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// The form.
pub(crate) async fn log_in_form(Query(onward): Query<Onward>) -> Html<String> {
    Html(form(&onward.next, "").into_string())
}

fn form(next: &str, wrong: &str) -> Markup {
    let body = html! {
        body {
            main {
                form .login method="post" action="/login" {
                    h1 { "wardwatch" }
                    @if !wrong.is_empty() { p .wrong role="alert" { (wrong) } }
                    label { "Name" input name="name" autocomplete="username" required autofocus; }
                    label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                    input type="hidden" name="next" value=(next);
                    button type="submit" { "Log in" }
                }
            }
        }
    };
    document("Log in · wardwatch", &html! {}, &body)
}

/// Logs in and leads on.
pub(crate) async fn log_in(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let from = address(&app, &parts);
    if !same_site(&parts.headers) {
        return Problem::new(StatusCode::FORBIDDEN, "another page must not log you in").into_response();
    }
    let typed = match Form::<LogIn>::from_request(Request::from_parts(parts, body), &()).await {
        Ok(Form(typed)) => typed,
        Err(_) => return Problem::wrong("a log-in has a name and a password").into_response(),
    };
    let LogIn { name, password, next } = typed;
    match access::log_in(&app, from, (name, password), &next).await {
        Ok(response) => response,
        Err(error) => {
            let (status, wait) = error.status();
            let mut response = (status, Html(form(&next, &error.to_string()).into_string())).into_response();
            if let Some(wait) = wait {
                response.headers_mut().insert(RETRY_AFTER, wait.into());
            }
            response
        }
    }
}

/// Logs out.
pub(crate) async fn log_out(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    access::log_out(&app, &visitor, &headers).await
}
