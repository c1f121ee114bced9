//! The description of the API, as programs that generate clients from it need it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fedecks_store::Role;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{Server, problem};

const PATH: &str = "/api/v1/openapi.json";

const MANUAL: &str = include_str!("../../../../docs/cloud.md");

async fn description() -> Value {
    let server = Server::start().await;
    server.http_as(Role::ALL).await.get(PATH).await.json()
}

/// Each operation, with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            all.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    all
}

/// Each media type of a request, a response or a webhook, with its schema.
fn bodies(value: &Value, found: &mut Vec<(String, Value)>) {
    if let Some(content) = value["content"].as_object() {
        for (media_type, described) in content {
            found.push((media_type.clone(), described["schema"].clone()));
        }
    }
    match value {
        Value::Object(object) => object.values().for_each(|value| bodies(value, found)),
        Value::Array(list) => list.iter().for_each(|value| bodies(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each property of a schema, by its name.
fn properties<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    if let Some(properties) = value["properties"].as_object() {
        found.extend(properties.iter().map(|(name, schema)| (name.as_str(), schema)));
    }
    match value {
        Value::Object(object) => object.values().for_each(|value| properties(value, found)),
        Value::Array(list) => list.iter().for_each(|value| properties(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_description_is_readable_without_a_token() {
    let server = Server::start().await;
    let stranger = server.http();
    let answer = stranger.get(PATH).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.json();
    assert_eq!(document["paths"][PATH]["get"]["security"], serde_json::json!([]));
    // It is the same for everyone, and does not tell what runs here.
    let other = Server::with("[limits]\nfailed_logins_per_address = 3\n").await;
    let reader = other.http_as(&[Role::Read]).await;
    assert_eq!(reader.get(PATH).await.body, answer.body);
    assert!(!answer.text().contains(env!("CARGO_PKG_VERSION")));
    let head = stranger.ask(Method::HEAD, PATH, "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    // A wrong token is not examined, so it is not a failed login either.
    for _ in 0..20 {
        assert_eq!(other.http().token("fdk_wrong").get(PATH).await.status, StatusCode::OK);
    }
    assert_eq!(problem(&other.http().get("/api/v1/token").await), "401 unauthorized");
    // All else remains hidden.
    for (method, path) in [
        (Method::POST, PATH),
        (Method::DELETE, PATH),
        (Method::GET, "/api/v1/openapi.json/"),
        (Method::GET, "/api/v1/openapi.yaml"),
        (Method::GET, "/api/v1/devices"),
    ] {
        let answer = stranger.ask(method.clone(), path, "").await;
        assert_eq!(problem(&answer), "401 unauthorized", "{method} {path}");
    }
    let unknown = stranger.get("/api/v1/openapi.json?format=yaml").await;
    assert_eq!(problem(&unknown), "400 invalid-query");
}

#[tokio::test]
async fn every_operation_has_a_unique_id_and_a_described_tag() {
    let document = description().await;
    let tags: HashSet<_> = document["tags"]
        .as_array()
        .map(|tags| {
            let named = tags.iter().filter(|tag| tag["description"].is_string());
            named.map(|tag| tag["name"].as_str().unwrap()).collect()
        })
        .unwrap_or_default();
    let mut ids = HashSet::new();
    let webhooks = document["webhooks"].as_object().into_iter().flatten();
    let webhooks = webhooks.map(|(kind, webhook)| (kind.clone(), &webhook["post"]));
    for (name, operation) in operations(&document).into_iter().chain(webhooks) {
        let id = operation["operationId"].as_str();
        let id = id.unwrap_or_else(|| panic!("{name} has no operationId"));
        assert!(id.chars().all(|c| c.is_ascii_alphabetic()), "{name}: {id}");
        assert!(ids.insert(id), "{name}: {id} is there twice");
        let operation_tags = operation["tags"].as_array().unwrap();
        assert_eq!(operation_tags.len(), 1, "{name}");
        assert!(tags.contains(operation_tags[0].as_str().unwrap()), "{name}: {operation_tags:?}");
    }
}

#[tokio::test]
async fn every_body_is_a_named_schema() {
    let document = description().await;
    let mut found = Vec::new();
    bodies(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for (media_type, schema) in found {
        if ["application/octet-stream", "text/csv", "text/event-stream"]
            .contains(&media_type.as_str())
        {
            continue;
        }
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#'));
        let name = name.unwrap_or_else(|| panic!("{media_type}: {schema} has no name"));
        assert!(document.pointer(name).is_some(), "{name}");
    }
    // Nothing in them is an object without a name either.
    let mut found = Vec::new();
    properties(&document, &mut found);
    for (name, schema) in found {
        for schema in [schema, &schema["items"]] {
            assert!(schema.get("properties").is_none(), "{name}: {schema}");
        }
    }
    assert_eq!(document["components"]["schemas"]["Problem"]["type"], "object");
}

#[tokio::test]
async fn every_time_count_and_id_has_its_format() {
    let document = description().await;
    let mut found = Vec::new();
    properties(&document, &mut found);
    let mut times = BTreeSet::new();
    for (name, schema) in found {
        let is_time = ["at", "time", "since", "began", "created", "expires"].contains(&name)
            || name.ends_with("_seen")
            || name.ends_with("_since");
        if is_time {
            assert_eq!(schema["format"], "date-time", "{name}: {schema}");
            times.insert(name);
        }
        for schema in [schema, &schema["items"]] {
            let types = &schema["type"];
            if types == "integer" {
                assert!(schema["format"].is_string(), "{name}: {schema}");
            }
        }
        if name == "bytes" {
            assert_eq!(schema["contentEncoding"], "base64", "{schema}");
        }
    }
    let expected = [
        "at",
        "began",
        "blocked_since",
        "connected_since",
        "created",
        "expires",
        "first_seen",
        "last_seen",
        "revoked_since",
        "since",
        "time",
    ];
    assert_eq!(times.into_iter().collect::<Vec<_>>(), expected);
    for (name, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().unwrap() {
            let schema = &parameter["schema"];
            if parameter["in"] == "path" {
                assert!(schema["$ref"].is_string(), "{name}: {schema}");
            }
            let described = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described, "{name}: {parameter}");
        }
    }
}

#[tokio::test]
async fn events_and_webhooks_are_described_by_their_kinds() {
    let document = description().await;
    let kinds = document["components"]["schemas"]["EventKind"]["enum"].as_array().unwrap();
    let kinds: BTreeSet<_> = kinds.iter().map(|kind| kind.as_str().unwrap()).collect();
    let of = |name: &str| {
        let schema = &document["components"]["schemas"][name];
        assert_eq!(schema["discriminator"]["propertyName"], "kind", "{name}");
        let mapping = schema["discriminator"]["mapping"].as_object().unwrap();
        let mut named = BTreeMap::new();
        for (kind, reference) in mapping {
            let reference = reference.as_str().unwrap();
            let event = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
            assert_eq!(event["properties"]["kind"]["const"], *kind, "{event}");
            assert!(event["description"].as_str().unwrap().len() > 10, "{event}");
            named.insert(kind.as_str(), reference.to_owned());
        }
        assert_eq!(schema["oneOf"].as_array().unwrap().len(), named.len());
        named
    };
    let events = of("DeviceEvent");
    assert_eq!(events.keys().copied().collect::<BTreeSet<_>>(), kinds);
    let mut streamed = of("StreamEvent");
    assert!(streamed.remove("gap").is_some() && streamed.remove("heartbeat").is_some());
    assert_eq!(streamed, events);

    let webhooks = document["webhooks"].as_object().unwrap();
    assert_eq!(webhooks.keys().map(String::as_str).collect::<BTreeSet<_>>(), kinds);
    for (kind, webhook) in webhooks {
        let operation = &webhook["post"];
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(*body, events[kind.as_str()]);
        let headers = operation["parameters"].as_array().unwrap().iter();
        let headers: Vec<_> = headers.map(|header| header["name"].as_str().unwrap()).collect();
        let expected =
            ["webhook-id", "webhook-timestamp", "webhook-signature", "fedecks-dropped-events"];
        assert_eq!(headers, expected);
        assert!(operation["responses"]["410"].is_object(), "{kind}");
        assert_eq!(operation["security"], serde_json::json!([]));
    }
}

#[tokio::test]
async fn the_manual_names_every_request_and_parameter() {
    let document = description().await;
    let from = MANUAL.find("| request | ").expect("docs/cloud.md has no table of requests");
    let table = &MANUAL[from..from + MANUAL[from..].find("\n\n").unwrap()];
    let mut described = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let name = name.replace("/api/v1", "").replace("{id}", "ID").replace("{name}", "NAME");
        let name = name.replace("{message}", "MESSAGE").replace("{consumer}", "CONSUMER");
        let name = name.replace("{claim}", "CLAIM");
        let row = table.lines().find(|line| line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("docs/cloud.md does not name {name}"));
        for parameter in operation["parameters"].as_array().unwrap() {
            let parameter_name = parameter["name"].as_str().unwrap();
            let is_named = row.contains(&format!("`{parameter_name}`"));
            assert!(parameter["in"] == "path" || is_named, "{name}: {parameter_name}");
        }
        described.insert(name);
    }
    for cell in table.split('`').filter(|cell| cell.contains(" /")) {
        assert!(described.contains(cell), "docs/cloud.md names {cell}, which does not exist");
    }
}
