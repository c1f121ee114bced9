//! `fedecks queue`: what waits, by lane and place.

use serde_json::{Value, json};

use crate::support::scene::Scene;
use crate::support::{kept_is, push_kept, until};
use fedecks_cloud::store::DownState;

#[tokio::test]
async fn what_waits_is_shown_by_lane_and_place() {
    let Some(scene) = Scene::unregistered().await else { return };
    assert_eq!(scene.run(&["queue"]).await.succeeds().stdout, "nothing waits\n");
    for number in ["1", "2"] {
        scene.run(&["send", "--keep", "memory", number]).await.succeeds();
    }
    scene.run(&["send", "--keep", "disk", "--sync", "--lane", "urgent", "3"]).await.succeeds();
    let json = scene.run(&["queue", "--json"]).await.succeeds().stdout;
    let shown: Value = serde_json::from_str(&json).unwrap();
    let queue = &shown["queue"];
    assert_eq!((&queue["messages"], &queue["lost"]), (&json!(3), &json!(0)));
    assert_eq!(shown["inbox"], json!({"messages": 0, "bytes": 0}));
    let [urgent, normal] = &queue["lanes"].as_array().unwrap()[..] else { panic!("{json}") };
    for (lane, name, in_memory, on_disk) in [(urgent, "urgent", 0, 1), (normal, "normal", 2, 0)] {
        assert_eq!(lane["lane"], name, "{json}");
        assert_eq!((&lane["in_memory"], &lane["on_disk"]), (&json!(in_memory), &json!(on_disk)));
        assert!(lane["oldest_at"].as_u64().unwrap() > 1_700_000_000, "{json}");
    }
    assert_eq!(queue["bytes"], normal["bytes"]);
    let text = scene.run(&["queue"]).await.succeeds().stdout;
    assert!(text.starts_with("urgent  1 on disk, the oldest of 20"), "{text}");
    assert!(text.contains("\nnormal  2 in memory (") && text.contains("\ndisk    "), "{text}");
}

#[tokio::test]
async fn what_waits_for_an_application_is_shown_until_it_is_taken() {
    let Some(scene) = Scene::connected().await else { return };
    let id = push_kept(&scene.cloud, "hi").await;
    let shown = until(async || {
        let text = scene.run(&["queue"]).await.succeeds().stdout;
        (text != "nothing waits\n").then_some(text)
    })
    .await;
    assert!(shown.starts_with("inbox   1 from the cloud wait for an application ("), "{shown}");
    scene.run(&["listen", "--ack", "-n", "1"]).await;
    kept_is(&scene.cloud, id, DownState::Delivered).await;
    assert_eq!(scene.run(&["queue"]).await.succeeds().stdout, "nothing waits\n");
}
