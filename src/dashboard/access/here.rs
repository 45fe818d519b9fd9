//! Whether a request was made at this machine itself: all that a page without users goes by.
//!
//! A connection from loopback is not enough. A page elsewhere can make a browser here ask under another name that leads
//! here, and a proxy on this machine asks for anybody.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Version};

use crate::config::Privacy;

/// Headers by which proxies, tunnels and networks of caches say for whom they ask, beside `X-Forwarded-…`.
const FORWARDING: [&str; 14] = [
    "forwarded",
    "forwarded-for",
    "via",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-originating-ip",
    "x-remote-addr",
    "true-client-ip",
    "cf-connecting-ip",
    "cdn-loop",
];

/// Why a request does not count as one that was made at this machine; `None` where it does.
pub(super) fn why_not_here(privacy: &Privacy, peer: Option<IpAddr>, request: &Parts) -> Option<String> {
    if *privacy == Privacy::Proxy {
        return Some(proxied("the job file says `behind_proxy`"));
    }
    if let Some(header) = request.headers.keys().find(|name| is_forwarding(name)) {
        return Some(proxied(&format!("the request has the header `{header}`")));
    }
    if request.version < Version::HTTP_11 {
        // nginx, as it comes, puts down nothing of whom it asks for, and names us as we name ourselves. But it speaks 1.0.
        return Some(proxied("the request is of HTTP/1.0, which proxies speak"));
    }
    let is_loopback = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    if !is_loopback || !is_called_by_loopback(request) {
        let message = "without users, the page is for this machine: call it by http://127.0.0.1 or http://localhost";
        return Some(message.to_owned());
    }
    None
}

fn proxied(by: &str) -> String {
    format!(
        "there are no users yet, and {by}: whoever is behind a proxy could do everything; `wardwatch users add` makes one"
    )
}

fn is_forwarding(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded") || FORWARDING.contains(&name.as_str())
}

/// A page elsewhere can make a browser ask here by another name that leads here (DNS rebinding), but not by these.
fn is_called_by_loopback(request: &Parts) -> bool {
    let is_ours = |authority: &Authority| {
        // Nothing but a name of ours, and a port: neither a user before it nor more of a name behind it.
        let (text, host) = (authority.as_str(), authority.host());
        let is_known = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.eq_ignore_ascii_case(name));
        is_known && text.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let mut hosts = request.headers.get_all(HOST).into_iter().peekable();
    hosts.peek().is_some()
        && hosts.all(|host| host.to_str().is_ok_and(|host| host.parse().is_ok_and(|host| is_ours(&host))))
        && request.uri.authority().is_none_or(is_ours)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const PLAIN: Privacy = Privacy::Plain;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn is_here(privacy: &Privacy, peer: &str, request: &Parts) -> bool {
        why_not_here(privacy, Some(peer.parse().expect("an address")), request).is_none()
    }

    #[test]
    fn names_that_are_ours_are_told_from_those_that_only_lead_here() {
        let check = |host, expected| {
            assert_eq!(is_here(&PLAIN, "127.0.0.1", &request(&[("host", host)])), expected, "{host}");
        };
        check("localhost:8080", true);
        check("LocalHost:8080", true);
        check("127.0.0.1", true);
        check("[::1]:8080", true);
        check("ward.example", false);
        check("127.0.0.1.evil.example", false);
        check("localhost.evil.example:8080", false);
        check("[::1].evil.example", false);
        check("localhost@evil.example", false);
        check("evil.example@localhost", false);
        check("", false);
        assert!(!is_here(&PLAIN, "127.0.0.1", &request(&[])));
        assert!(!is_here(&PLAIN, "127.0.0.1", &request(&[("host", "localhost"), ("host", "ward.example")])));
    }

    #[test]
    fn what_comes_through_a_proxy_is_from_elsewhere_whatever_it_calls_us() {
        for header in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Whatever",
            "X-Real-IP",
            "Via",
            "True-Client-IP",
            "CF-Connecting-IP",
        ] {
            let request = request(&[("host", "localhost"), (header, "")]);
            assert!(!is_here(&PLAIN, "127.0.0.1", &request), "{header}");
        }
        let plain = request(&[("host", "localhost")]);
        assert!(is_here(&PLAIN, "127.0.0.1", &plain) && is_here(&PLAIN, "::1", &plain));
        assert!(is_here(&PLAIN, "::ffff:127.0.0.1", &plain));
        assert!(!is_here(&Privacy::Proxy, "127.0.0.1", &plain), "the job file says that there is one");
        assert!(!is_here(&PLAIN, "192.0.2.1", &plain), "the connection is from elsewhere");
        let mut old = request(&[("host", "localhost")]);
        old.version = Version::HTTP_10;
        assert!(!is_here(&PLAIN, "127.0.0.1", &old), "nginx as it comes");
        let mut absolute = request(&[("host", "localhost")]);
        absolute.uri = "http://ward.example/".parse().expect("an address");
        assert!(!is_here(&PLAIN, "127.0.0.1", &absolute));
    }
}
