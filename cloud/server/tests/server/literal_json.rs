//! Messages of JSON that is data as it is, without the escapes for what JSON lacks; and the way back.

use fedecks_protocol::{JsonTerm, Term};
use fedecks_store::Role;
use http::StatusCode;
use serde_json::Value;

use crate::support::{Server, problem};

const PATH: &str = "/api/v1/devices/kitchen-1/messages";

/// The term that has what the JSON has, and nothing else.
fn data(json: &Value) -> Term {
    match json {
        Value::Null => Term::Nil,
        Value::Bool(value) => Term::Bool(*value),
        Value::Number(number) => Term::Int(number.as_i64().unwrap().into()),
        Value::String(text) => Term::from(text.as_str()),
        Value::Array(list) => Term::List(list.iter().map(data).collect()),
        Value::Object(object) => Term::Map(
            object.iter().map(|(key, value)| (Term::from(key.as_str()), data(value))).collect(),
        ),
    }
}

#[tokio::test]
async fn literal_json_reaches_the_device_as_it_is_and_returns() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let mut device = server.device("kitchen-1").await;
    let mut events = http.events("/api/v1/events?kind=sent").await;
    for text in [
        r##"{"$ref":"#/definitions/fan"}"##,
        r#"{"$int":"7"}"#,
        r#"{"$map":[[1,2]]}"#,
        r#"{"a":[{"$bytes":{"$atom":"x"}},{"$":null}]}"#,
        r#"{"$a":1,"b":"$c"}"#,
        r#"[true]"#,
    ] {
        let expected = data(&serde_json::from_str(text).unwrap());
        let literal = http.post(&format!("{PATH}?literal=true"), text).await;
        assert_eq!(literal.status, StatusCode::ACCEPTED, "{text}: {literal:?}");
        assert_eq!(device.message().await, expected, "{text}");
        // What people read has the escapes, and is the same message when it is sent with them.
        let shown = events.next().await["message"].clone();
        assert_eq!(shown, serde_json::to_value(JsonTerm(&expected)).unwrap(), "{text}");
        let again = http.post(PATH, shown.to_string()).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{text}: {again:?}");
        assert_eq!(device.message().await, expected, "{text}");
        events.next().await;
    }
}

#[tokio::test]
async fn an_unknown_escape_is_refused_with_a_way_out() {
    let server = Server::start().await;
    let http = server.http_as(Role::ALL).await.json();
    let _device = server.device("kitchen-1").await;
    let hint = "; literal=true in the query takes JSON as it is, without escapes";
    for (query, body, code, named, hinted) in [
        ("", r#"{"$ref":1}"#, "422 invalid-body", "unknown escape \"$ref\"", true),
        ("?literal=false", r#"[{"$int":7}]"#, "422 invalid-body", "$int must be a string", true),
        // It would not help.
        ("", r#"[{"$ref":1},{"a":1,"a":2}]"#, "422 invalid-body", "unknown escape", false),
        ("", r#"{"a":1,"a":2}"#, "422 invalid-body", "duplicate key \"a\"", false),
        ("?literal=true", r#"{"a":1,"a":2}"#, "422 invalid-body", "duplicate key \"a\"", false),
        ("?literal=true", "{\"$ref\":", "400 invalid-json", "EOF while parsing", false),
        (
            "?literal=yes",
            "1",
            "400 invalid-query",
            "literal is \"yes\", expected true or false",
            false,
        ),
        ("?literal", "1", "400 invalid-query", "literal is \"\", expected true or false", false),
        ("?literal=true&literal=true", "1", "400 invalid-query", "more than once", false),
        (
            "?raw=true",
            "1",
            "400 invalid-query",
            "unknown parameter \"raw\", expected literal",
            false,
        ),
    ] {
        let answer = http.post(&format!("{PATH}{query}"), body).await;
        assert_eq!(problem(&answer), code, "{query} {body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{query} {body}: {detail}");
        assert_eq!(detail.contains(hint), hinted, "{query} {body}: {detail}");
    }
    // The limits are the same.
    let literal = format!("{PATH}?literal=true");
    let heavy = format!("[{}null]", "null,".repeat(200_000));
    assert_eq!(problem(&http.post(&literal, heavy).await), "413 message-too-big");
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(problem(&http.post(&literal, deep).await), "422 message-too-deep");

    let document = http.get("/api/v1/openapi.json").await.json();
    let post = &document["paths"]["/api/v1/devices/{id}/messages"]["post"];
    let parameters = post["parameters"].as_array().unwrap();
    let literal = parameters.iter().find(|one| one["name"] == "literal").unwrap();
    assert_eq!(literal["schema"]["type"], "boolean");
    assert!(literal["description"].as_str().unwrap().contains("$"), "{literal}");
}
