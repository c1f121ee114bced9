//! The HTTP API, as programs see it.

use fedecks_protocol::JsonTerm;
use fedecks_store::Role::{self, Read};
use fedecks_testing::USER;
use fedecks_testing::device::Device;
use fedecks_testing::http::Http;
use fedecks_testing::wait::until;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Server, problem};

async fn everything(server: &Server) -> Http {
    server.http_as(Role::ALL).await
}

/// This member of each element.
fn each(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[member].as_str().unwrap().to_owned()).collect()
}

/// A device as soon as the store has it, about a second after it connected.
async fn in_the_store(http: &Http, path: &str) -> Value {
    until(async || {
        let seen = http.get(path).await.json();
        seen["first_seen"].is_string().then_some(seen)
    })
    .await
}

#[tokio::test]
async fn requests_without_a_token_get_401_whatever_they_ask_for() {
    let server = Server::start().await;
    let http = server.http();
    for path in ["/api", "/api/v1/devices", "/api/v1/openapi", "/api/v1/nothing"] {
        let answer = http.get(path).await;
        assert_eq!(problem(&answer), "401 unauthorized", "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"fedecks\"");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for header in ["Bearer fdk_wrong", "Bearer", "Basic dTpw", ""] {
        let answer = http.clone().header("authorization", header).get("/api/v1/devices").await;
        assert_eq!(problem(&answer), "401 unauthorized", "{header:?}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_rate_limited_and_the_right_one_is_not() {
    let server = Server::with("[limits]\nfailed_logins_per_address = 3\n").await;
    let wrong = server.http().token("fdk_wrong");
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(problem(&wrong.get("/api/v1/devices").await));
    }
    assert_eq!(codes[..3], ["401 unauthorized"; 3]);
    assert!(codes[3..].iter().any(|code| code.starts_with("429 ")), "{codes:?}");
    let right = everything(&server).await;
    assert_eq!(right.get("/api/v1/devices").await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_role_allows_what_it_names_and_nothing_else() {
    let server = Server::start().await;
    let _device = server.device("kitchen-1").await;
    let document = everything(&server).await.get("/api/v1/openapi.json").await.json();
    let mut checked = Vec::new();
    for role in Role::ALL.iter().copied() {
        let http = server.http_as(&[role]).await.json();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let Some(takes) = operation["description"].as_str() else { continue };
                let Some((_, takes)) = takes.split_once("Requires the role `") else { continue };
                if takes.starts_with(&format!("{}`", role.as_str())) {
                    checked.push(role);
                    continue;
                }
                let path = path.replace("{id}", "kitchen-1").replace("{name}", "arthur");
                let method = method.to_ascii_uppercase().parse::<Method>().unwrap();
                let answer = http.ask(method.clone(), &path, "{}").await;
                assert_eq!(problem(&answer), "403 role-missing", "{role:?} {method} {path}");
            }
        }
    }
    checked.dedup();
    assert_eq!(checked, Role::ALL);
}

#[tokio::test]
async fn a_device_can_be_labelled_disconnected_blocked_and_forgotten() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut device = server.device("kitchen-1").await;
    let path = "/api/v1/devices/kitchen-1";
    let seen = in_the_store(&http, path).await;
    assert_eq!((&seen["connected"], &seen["label"]), (&json!(true), &Value::Null));

    let change = http.clone().json();
    let labelled = change.ask(Method::PATCH, path, r#"{"label":"Küche"}"#).await;
    assert_eq!(labelled.json()["label"], "Küche");
    let found = http.get("/api/v1/devices?search=k%C3%BCche&connected=true").await.json();
    assert_eq!(each(&found["devices"], "id"), ["kitchen-1"]);
    for (body, code) in [
        ("{\"label\":\" \"}", "422 invalid-body"),
        ("{}", "422 invalid-body"),
        ("{\"label\":1}", "422 invalid-body"),
        ("{\"name\":\"x\"}", "422 invalid-body"),
        ("{", "400 invalid-json"),
        ("", "400 invalid-json"),
    ] {
        let answer = change.ask(Method::PATCH, path, body).await;
        assert_eq!(problem(&answer), code, "{body}");
    }

    let post = async |what: &str| http.post(&format!("{path}/{what}"), "").await;
    assert_eq!(post("disconnect").await.status, StatusCode::NO_CONTENT);
    device.until_lost().await;
    device.until_connected().await;
    assert_eq!(post("block").await.status, StatusCode::NO_CONTENT);
    device.until_lost().await;
    assert_eq!(post("block").await.status, StatusCode::NO_CONTENT);
    assert_eq!(http.get(path).await.json()["blocked"], true);
    let forgotten = http.ask(Method::DELETE, path, "").await;
    assert_eq!(problem(&forgotten), "409 device-blocked");
    assert_eq!(post("unblock").await.status, StatusCode::NO_CONTENT);
    assert_eq!(post("revoke").await.status, StatusCode::NO_CONTENT);
    assert_eq!(http.ask(Method::DELETE, path, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(problem(&http.get(path).await), "404 device-not-found");

    let audit = http.get("/api/v1/audit?device=kitchen-1").await.json();
    let actions = each(&audit["entries"], "action");
    for action in ["device-labelled", "device-blocked", "device-unblocked", "device-revoked"] {
        assert!(actions.iter().any(|one| one == action), "{actions:?}");
    }
}

#[tokio::test]
async fn a_message_of_json_reaches_the_device_or_is_refused() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut device = server.device("kitchen-1").await;
    let path = "/api/v1/devices/kitchen-1/messages";
    let json = http.clone().json();
    let text = r#"{"fan":{"$atom":"on"},"speed":[1,2.5,null]}"#;
    assert_eq!(json.post(path, text).await.status, StatusCode::ACCEPTED);
    let received = device.message().await;
    assert_eq!(serde_json::to_string(&JsonTerm(&received)).unwrap(), text);

    for (content_type, body, code) in [
        ("application/json", "{\"$int\":1}", "422 invalid-body"),
        ("application/json", "not JSON", "400 invalid-json"),
        ("text/plain", "hello", "415 unsupported-media-type"),
        ("", "hello", "415 unsupported-media-type"),
    ] {
        let answer = http.clone().header("content-type", content_type).post(path, body).await;
        assert_eq!(problem(&answer), code, "{content_type} {body}");
    }
    let big = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    assert_eq!(problem(&json.post(path, big).await), "413 message-too-big");
    // A frame of 200 KB, but 6.4 MB in the device's memory.
    let heavy = format!("[{}null]", "null,".repeat(200_000));
    assert_eq!(problem(&json.post(path, heavy).await), "413 message-too-big");
    let bigger = vec![b' '; 9 * 1024 * 1024];
    assert_eq!(problem(&json.post(path, bigger).await), "413 body-too-big");
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(problem(&json.post(path, deep).await), "400 invalid-json");

    in_the_store(&http, "/api/v1/devices/kitchen-1").await;
    device.client.shutdown().await;
    let gone = until(async || {
        let answer = json.post(path, "1").await;
        (answer.status != StatusCode::ACCEPTED).then_some(answer)
    })
    .await;
    assert_eq!(problem(&gone), "409 device-not-connected");
}

#[tokio::test]
async fn devices_out_of_scope_answer_as_if_they_did_not_exist() {
    let server = Server::start().await;
    let _device = server.device("shop-1").await;
    let token = server.add_token("site", Role::ALL, Some("site-*")).await;
    let http = server.http().token(&token).json();
    for (method, path) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::GET, "/presence"),
        (Method::POST, "/messages"),
        (Method::POST, "/disconnect"),
        (Method::POST, "/revoke"),
        (Method::POST, "/block"),
        (Method::POST, "/unblock"),
    ] {
        let ask = async |id: &str| {
            let path = format!("/api/v1/devices/{id}{path}");
            http.ask(method.clone(), &path, r#"{"label":null}"#).await
        };
        let unseen = ask("shop-1").await;
        assert_eq!(problem(&unseen), "404 device-not-found", "{method} {path}");
        for id in ["shop-2", "site-1", "not%20an%20id"] {
            assert_eq!(ask(id).await.body, unseen.body, "{method} {path} {id}");
        }
    }
    assert_eq!(http.get("/api/v1/presence").await.json()["connected"], 0);
    assert_eq!(http.get("/api/v1/devices").await.json()["devices"], json!([]));
    let none = json!({"known": 0, "connected": 0, "blocked": 0});
    assert_eq!(http.get("/api/v1/fleet").await.json(), none);
    for path in ["/api/v1/accounts", "/api/v1/audit"] {
        assert_eq!(problem(&http.get(path).await), "403 limited-to-devices");
    }
}

#[tokio::test]
async fn a_page_continues_after_the_last_one_while_devices_change() {
    let server = Server::start().await;
    let http = everything(&server).await;
    for number in 0..25 {
        server.revoke_device(&format!("device-{number:02}")).await;
    }
    let _connected = server.device("device-30").await;
    in_the_store(&http, "/api/v1/devices/device-30").await;
    let mut all = Vec::new();
    let mut path = "/api/v1/devices?limit=10".to_owned();
    for page in 0.. {
        let answer = http.get(&path).await.json();
        all.extend(each(&answer["devices"], "id"));
        if page == 0 {
            http.ask(Method::DELETE, "/api/v1/devices/device-03", "").await;
            server.revoke_device("device-095").await;
        }
        let Some(next) = answer["next"].as_str() else { break };
        path = format!("/api/v1/devices?limit=10&cursor={next}");
    }
    let mut expected: Vec<_> = (0..25).map(|number| format!("device-{number:02}")).collect();
    expected.insert(10, "device-095".into());
    expected.push("device-30".into());
    assert_eq!(all, expected);

    let gone = http.get("/api/v1/devices?connected=false&limit=500").await.json();
    assert_eq!(gone["devices"].as_array().unwrap().len(), 25);
    let here = http.get("/api/v1/devices?connected=true").await.json();
    assert_eq!(here["devices"][0]["id"], "device-30");
    let presence = http.get("/api/v1/presence").await.json();
    assert_eq!(presence["connected"], 1);
    assert_eq!(presence["devices"][0]["id"], "device-30");

    assert_eq!(http.ask(Method::POST, "/api/v1/devices/device-07/block", "").await.status, 204);
    let counts = json!({"known": 26, "connected": 1, "blocked": 1});
    assert_eq!(http.get("/api/v1/fleet").await.json(), counts);
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_the_reason() {
    let server = Server::start().await;
    let http = everything(&server).await;
    for (path, named) in [
        ("/api/v1/devices?limit=0", "limit is \"0\", expected 1 to 500"),
        ("/api/v1/devices?limit=many", "limit is \"many\""),
        ("/api/v1/devices?connected=yes", "connected is \"yes\", expected true or false"),
        ("/api/v1/devices?cursor=%25", "cursor is \"%\""),
        ("/api/v1/devices?limit=1&limit=2", "query parameter limit is given more than once"),
        ("/api/v1/devices?sort=id", "unknown parameter \"sort\", expected search, connected"),
        ("/api/v1/token?x=1", "unknown parameter \"x\", expected none"),
        ("/api/v1/events?kind=messages", "kind is \"messages\", expected one of connected"),
        ("/api/v1/events?device=a/b", "device is \"a/b\""),
        ("/api/v1/audit?class=changes", "class is \"changes\", expected one of access, devices"),
        ("/api/v1/audit?device=a%20b", "device is \"a b\", expected a device id"),
    ] {
        let answer = http.get(path).await;
        assert_eq!(problem(&answer), "400 invalid-query", "{path}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{path}: {detail}");
    }
    let answer = http.post("/api/v1/devices", "").await;
    assert_eq!(problem(&answer), "405 method-not-allowed");
    assert_eq!(answer.headers["allow"], "GET, HEAD");
    assert_eq!(problem(&http.get("/api/v1/nothing").await), "404 not-found");
    assert_eq!(problem(&http.get("/api/v1/devices/%ff").await), "400 invalid-path");
}

#[tokio::test]
async fn accounts_are_added_listed_and_removed() {
    let server = Server::start().await;
    let http = everything(&server).await.json();
    let path = "/api/v1/accounts/arthur";
    let add =
        |password: &str| http.ask(Method::PUT, path, json!({ "password": password }).to_string());
    assert_eq!(problem(&add("short").await), "422 invalid-body");
    assert_eq!(add("where is the tea").await.status, StatusCode::CREATED);
    assert_eq!(problem(&add("where is the tea").await), "409 account-exists");
    let listed = http.get("/api/v1/accounts").await.json();
    assert_eq!(each(&listed["accounts"], "name"), ["arthur", USER]);
    let mut device = Device::start(server.address, "kitchen-1").await;
    device.try_login("arthur", "where is the tea").await.unwrap();
    device.until_connected().await;
    assert_eq!(http.ask(Method::DELETE, path, "").await.status, StatusCode::NO_CONTENT);
    let again = http.ask(Method::DELETE, path, "").await;
    assert_eq!(problem(&again), "404 account-not-found");
}

#[tokio::test]
async fn the_event_stream_has_messages_refusals_and_resumes_by_id() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let mut stream = http.events("/api/v1/events?device=kitchen-*").await;
    let device = server.device("kitchen-1").await;
    let _other = server.device("hall-1").await;
    let registered = stream.next().await;
    assert_eq!(
        (&registered["kind"], &registered["by"]),
        (&json!("registered"), &json!("account:marvin"))
    );
    let connected = stream.next().await;
    assert_eq!(connected["kind"], "connected");
    device.client.send(&"hello").await.unwrap();
    let event = stream.next().await;
    assert_eq!((&event["kind"], &event["message"]), (&json!("message"), &json!("hello")));

    // Resumed after an event, by its id.
    device.client.send(&"again").await.unwrap();
    assert_eq!(stream.next().await["message"], "again");
    let id = event["id"].as_str().unwrap();
    let mut resumed =
        http.clone().header("last-event-id", id).events("/api/v1/events?kind=message").await;
    assert_eq!(resumed.next().await["message"], "again");
    // A browser repeats the first URL and gives the newer id in the header.
    let path = format!("/api/v1/events?kind=message&after={}", connected["id"].as_str().unwrap());
    let mut resumed = http.clone().header("last-event-id", id).events(&path).await;
    assert_eq!(resumed.next().await["message"], "again");
    let mut lost = http.events("/api/v1/events?after=0-1").await;
    assert_eq!(lost.next().await["kind"], "gap");

    // Refusals are events too.
    let mut refused = http.events("/api/v1/events?kind=refused").await;
    server.refuse_login("cellar-1").await;
    let event = refused.next().await;
    assert_eq!(event["device"], "cellar-1");
    assert_eq!(event["reason"], "bad-credentials");
    assert_eq!(event["by"], "account:marvin");
}

#[tokio::test]
async fn a_stream_has_the_tokens_devices_and_ends_with_the_token() {
    let server = Server::start().await;
    let token = server.add_token("site", &[Read], Some("site-*")).await;
    let http = server.http().token(&token);
    assert_eq!(http.get("/api/v1/token").await.json()["name"], "site");
    let mut stream = http.events("/api/v1/events?kind=connected&kind=message").await;
    let unseen = server.device("shop-1").await;
    let seen = server.device("site-1").await;
    assert_eq!(stream.next().await["device"], "site-1");
    unseen.client.send(&1).await.unwrap();
    seen.client.send(&2).await.unwrap();
    assert_eq!(stream.next().await["message"], 2);
    server.revoke_token("site", &token).await;
    // Another token of its name does not keep it open.
    server.add_token("site", &[Read], None).await;
    seen.client.send(&3).await.unwrap();
    assert!(stream.ended().await);
}

#[tokio::test]
async fn labels_and_names_take_no_marks_of_direction() {
    let server = Server::start().await;
    let http = everything(&server).await.json();
    let _device = server.device("kitchen-1").await;
    in_the_store(&http, "/api/v1/devices/kitchen-1").await;
    let label = r#"{"label":"ab\u202ec"}"#;
    let refused = http.ask(Method::PATCH, "/api/v1/devices/kitchen-1", label).await;
    assert_eq!(problem(&refused), "422 invalid-body");
    let named = http.ask(Method::PUT, "/api/v1/accounts/ab%E2%80%AEc", r#"{"password":"p"}"#).await;
    assert_eq!(problem(&named), "400 invalid-path");
    for answer in [refused, named] {
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("character 3 is U+202E"), "{detail}");
    }
}

#[tokio::test]
async fn a_device_that_has_just_connected_is_not_missing() {
    let server = Server::start().await;
    let http = everything(&server).await;
    let _device = server.device("kitchen-1").await;
    let path = "/api/v1/devices/kitchen-1";
    assert_eq!(http.get(path).await.status, StatusCode::OK);
    let forgotten = until(async || {
        let answer = http.ask(Method::DELETE, path, "").await;
        (answer.status != StatusCode::SERVICE_UNAVAILABLE).then_some(answer.status)
    });
    assert_eq!(forgotten.await, StatusCode::NO_CONTENT);
}
