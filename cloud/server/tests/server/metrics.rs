use http::StatusCode;

use crate::support::Http;

/// The value of a sample.
pub(crate) fn sample(text: &str, name: &str) -> f64 {
    let line =
        text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What Prometheus would read.
pub(crate) async fn metrics(http: &Http) -> String {
    let answer = http.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    String::from_utf8(answer.body.to_vec()).unwrap()
}
