//! Methods at all paths: what a path does not have is refused with the list of what it has (RFC 9110, 15.5.6).

use std::collections::BTreeSet;

use fedecks_store::Role;
use http::Method;

use crate::support::{Server, problem};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

fn list(text: &str) -> BTreeSet<String> {
    text.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn a_refused_method_is_answered_with_the_allowed_ones() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let mut paths = vec![
        ("/".to_owned(), list("GET, HEAD")),
        ("/assets/app.js".to_owned(), list("GET, HEAD")),
        ("/healthz".to_owned(), list("GET, HEAD")),
        ("/readyz".to_owned(), list("GET, HEAD")),
        ("/metrics".to_owned(), list("GET, HEAD")),
        ("/session".to_owned(), list("GET, HEAD, POST, DELETE")),
    ];
    let document = http.get("/api/v1/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let mut allowed: BTreeSet<_> =
            operations.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".to_owned());
        }
        paths.push((path.replace("{id}", "kitchen-1").replace("{name}", "arthur"), allowed));
    }
    assert!(paths.len() > 15, "{paths:?}");
    let mut refused = 0;
    for (path, allowed) in paths {
        for method in METHODS.iter().filter(|method| !allowed.contains(**method)) {
            let answer = http.ask(Method::from_bytes(method.as_bytes()).unwrap(), &path, "").await;
            if *method == "HEAD" {
                assert_eq!(answer.status, 405, "HEAD {path}");
            } else {
                assert_eq!(problem(&answer), "405 method-not-allowed", "{method} {path}");
            }
            let named = answer.headers.get("allow").map(|value| value.to_str().unwrap());
            assert_eq!(named.map(list), Some(allowed.clone()), "{method} {path}");
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused}");
}
