//! Whether a request was made at this machine itself: all that a page without users goes by.
//!
//! A connection from loopback is not enough. A page elsewhere can make a browser here ask under another name that leads
//! here, and a proxy on this machine asks for anybody.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderName, Version};

use wardwatch_config::Privacy;

/// What begins the names of headers that a browser, or a program that speaks to us itself, puts down; all others that begin with
/// `x-` are of what stands between.
const OWN: [&str; 7] =
    ["x-csrf-token", "x-requested-with", "x-prometheus-", "x-purpose", "x-moz", "x-client-data", "x-devtools-"];

/// The first words of names of headers that networks of caches and servers before servers put down, `x-` or not.
const BETWEEN: [&str; 15] = [
    "akamai",
    "cdn",
    "cf",
    "client",
    "cloudfront",
    "early",
    "fastly",
    "fly",
    "front",
    "http",
    "remote",
    "ssl",
    "surrogate",
    "true",
    "wl",
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

/// Whether a header is one that no browser sends by itself, but proxies, tunnels and networks of caches: any `X-…` that is not
/// known to be a browser's or a program's own, and names that tell of forwarding, of proxies or of an address.
///
/// Servers take `_` for `-` where they hand names to programs, and so may what asks them.
fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    if let Some(rest) = name.strip_prefix("x-") {
        return rest.is_empty() || !OWN.iter().any(|own| name.starts_with(own));
    }
    let mut words = name.split('-');
    let is_between = words.clone().next().is_some_and(|first| BETWEEN.contains(&first) || first == "via");
    let tells =
        |word: &str| ["forward", "prox", "addr"].iter().any(|start| word.starts_with(start)) || word.ends_with("ip");
    is_between || words.any(tells)
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
            "Forwarded-For",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X_FORWARDED-FOR",
            "HTTP_X_FORWARDED_FOR",
            "HTTP_CLIENT_IP",
            "X-Forwarded-Whatever",
            "X-Original-Forwarded-For",
            "Z-Forwarded-For",
            "X-Real-IP",
            "Via",
            "True-Client-IP",
            "CF-Connecting-IP",
            "CF-Ray",
            "CF-Visitor",
            "CF-IPCountry",
            "CDN-Loop",
            "Fastly-Client-IP",
            "Fastly-FF",
            "Fly-Client-IP",
            "Fly-Request-Id",
            "X-Envoy-External-Address",
            "Proxy-Client-IP",
            "WL-Proxy-Client-IP",
            "WL_Proxy_SSL",
            "X-ProxyUser-Ip",
            "X-Azure-ClientIP",
            "X-Azure-Ref",
            "X-AppEngine-User-IP",
            "X-Remote-IP",
            "X-Host",
            "X-Scheme",
            "Proxy-Connection",
            "Proxy-Authorization",
            "X-Amzn-Trace-Id",
            "X-Request-ID",
            "X-ARR-SSL",
            "X-Vercel-Id",
            "CloudFront-Viewer-Address",
            "Ali-CDN-Real-IP",
            "Remote_Addr",
            "Remote-User",
            "Client-Cert",
            "SSL-Client-Verify",
            "Front-End-Https",
            "Surrogate-Capability",
            "Early-Data",
            "X-",
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

    #[test]
    fn what_browsers_and_programs_on_this_machine_send_by_themselves_is_from_here() {
        for header in [
            // Chrome, Firefox and Safari, when they load a page, a script, events, send a form, go back, or save data.
            "Accept",
            "Accept-Charset",
            "Accept-Encoding",
            "Accept-Language",
            "Access-Control-Request-Headers",
            "Access-Control-Request-Method",
            "Access-Control-Request-Private-Network",
            "Alt-Used",
            "Attribution-Reporting-Eligible",
            "Authorization",
            "Available-Dictionary",
            "Cache-Control",
            "Connection",
            "Content-Length",
            "Content-Type",
            "Cookie",
            "DNT",
            "Device-Memory",
            "Downlink",
            "ECT",
            "If-Modified-Since",
            "If-None-Match",
            "If-Range",
            "Keep-Alive",
            "Last-Event-ID",
            "Origin",
            "Ping-From",
            "Ping-To",
            "Pragma",
            "Priority",
            "Purpose",
            "RTT",
            "Range",
            "Referer",
            "Save-Data",
            "Sec-CH-UA",
            "Sec-CH-UA-Platform",
            "Sec-Fetch-Dest",
            "Sec-Fetch-Site",
            "Sec-GPC",
            "Sec-Purpose",
            "Service-Worker",
            "Service-Worker-Navigation-Preload",
            "TE",
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "Upgrade-Insecure-Requests",
            "User-Agent",
            "Viewport-Width",
            "X-CSRF-Token",
            "X-Client-Data",
            "X-DevTools-Emulate-Network-Conditions-Client-Id",
            "X-Moz",
            "X-Purpose",
            "X-Requested-With",
            // Prometheus and curl.
            "X-Prometheus-Scrape-Timeout-Seconds",
            "Expect",
            "traceparent",
        ] {
            let request = request(&[("host", "localhost"), (header, "")]);
            assert!(is_here(&PLAIN, "127.0.0.1", &request), "{header}");
        }
    }
}
