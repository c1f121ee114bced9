//! `fedecks request` and `fedecks requests`: questions of both ends, and programs that answer them.

use std::time::Duration;

use fedecks_cloud::messaging::{NoReply, RequestError};
use fedecks_dbus::{Device1Error, Device1Proxy, Variant};
use fedecks_protocol::{NoReplyReason, Term};

use crate::support::process::{gone, id_in, write_id};
use crate::support::scene::Scene;
use crate::support::within;

const LONG: Duration = Duration::from_secs(60);

async fn ask(scene: &Scene, question: impl Into<Term>) -> Result<Term, RequestError> {
    ask_within(scene, question, LONG).await
}

async fn ask_within(
    scene: &Scene,
    question: impl Into<Term>,
    timeout: Duration,
) -> Result<Term, RequestError> {
    let device = scene.cloud.hub.list().await.unwrap()[0].device.clone();
    within(scene.cloud.hub.request_term(&device, &question.into(), timeout)).await
}

fn no_reply(reason: NoReplyReason, text: &str) -> RequestError {
    RequestError::NoReply(NoReply::new(reason, text))
}

#[tokio::test]
async fn the_cloud_answers_the_command() {
    let Some(scene) = Scene::connected().await else { return };
    let answered = scene.run(&["request", r#""time?""#]).await.succeeds();
    assert_eq!(answered.stdout, "\"noon\"\n");
    let input = scene.run_with(&["request", "-", "--timeout", "5s"], r#""time?""#).await;
    assert_eq!(input.succeeds().stdout, "\"noon\"\n");
    scene.run(&["request", r#""fail""#]).await.fails(5, "failed: out of order");
    scene.run(&["request", "1"]).await.fails(5, "unhandled");
    scene.run(&["request", "1", "--timeout", "0s"]).await.fails(2, "from 1s to 10m");
    scene.run(&["request", "1", "--timeout", "11m"]).await.fails(2, "from 1s to 10m");
    scene.run(&["request", r#""hang""#, "--timeout", "1s"]).await.fails(8, "no answer in time");
}

#[tokio::test]
async fn without_a_connection_nothing_is_asked() {
    let Some(scene) = Scene::unregistered().await else { return };
    scene.run(&["request", "1"]).await.fails(7, "not connected");
}

#[tokio::test]
async fn a_program_answers_the_cloud() {
    let Some(scene) = Scene::connected().await else { return };
    assert_eq!(ask(&scene, 1).await, Err(no_reply(NoReplyReason::Unhandled, "")));
    let id = scene.setup.folder.path().join("id");
    let hang = format!("sleep 600 & {}; wait", write_id("$!", &id));
    let script = format!(
        "read question; case $question in \
         1) echo nonsense ;; \
         2) echo first >&2; echo 'the paper is out' >&2; exit 3 ;; \
         3) {hang} ;; \
         *) echo \"$question\" ;; esac"
    );
    let arguments = ["requests", "--exec", "sh", "--", "-c", &script];
    let mut answering = scene.follow(&arguments).await;
    assert_eq!(ask(&scene, "echo").await, Ok(Term::from("echo")));
    let failed = no_reply(NoReplyReason::Failed, "the paper is out");
    assert_eq!(ask(&scene, 2).await, Err(failed));
    assert_eq!(answering.notes().await, "fedecks: the paper is out");

    // The program is ended when no one waits any longer.
    let timed_out = ask_within(&scene, 3, Duration::from_secs(1)).await;
    assert_eq!(timed_out, Err(RequestError::TimedOut));
    gone(id_in(&id).await).await;
    assert_eq!(ask(&scene, "echo").await, Ok(Term::from("echo")));

    // It prints something else than JSON.
    let Err(RequestError::NoReply(refused)) = ask(&scene, 1).await else { panic!("answered") };
    assert!(refused.text.contains("the answer is not valid JSON"), "{refused}");

    // Another one is refused as long as this one is on the bus.
    scene.run(&arguments).await.fails(1, "answers the requests");
    answering.child.kill().await.unwrap();
    let free = async {
        while ask(&scene, 1).await != Err(no_reply(NoReplyReason::Unhandled, "")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(free).await;
    let again = scene.follow(&arguments).await;
    assert_eq!(ask(&scene, "echo").await, Ok(Term::from("echo")));
    drop(again);
}

#[tokio::test]
async fn a_program_answers_over_d_bus() {
    let Some(scene) = Scene::connected().await else { return };
    let connection = scene.bus.connect().await;
    let device = Device1Proxy::new(&connection).await.unwrap();
    assert_eq!(within(device.next_request(0)).await.unwrap().0, 0);
    let answered = async {
        let (id, message, details) = device.next_request(20).await.unwrap();
        assert_eq!(message.term(), &Term::from("led?"));
        assert!(matches!(details.get("timeout_ms"), Some(Term::Int(1..=60_000))));
        let other = scene.bus.connect().await;
        let stranger = Device1Proxy::new(&other).await.unwrap();
        let on = Variant::new(Term::from("on")).unwrap();
        let refused = stranger.reply_to_request(id, &on).await;
        assert!(matches!(refused, Err(Device1Error::InvalidArgument(_))), "{refused:?}");
        let refused = stranger.next_request(0).await;
        assert!(matches!(refused, Err(Device1Error::Busy(_))), "{refused:?}");
        device.reply_to_request(id, &on).await.unwrap();
        let again = device.reply_to_request(id, &on).await;
        assert!(matches!(again, Err(Device1Error::InvalidArgument(_))), "{again:?}");
    };
    let (answer, ()) = within(async { tokio::join!(ask(&scene, "led?"), answered) }).await;
    assert_eq!(answer, Ok(Term::from("on")));
    let refused = async {
        let (id, _, _) = device.next_request(20).await.unwrap();
        device.refuse_request(id, "no led").await.unwrap();
    };
    let (answer, ()) = within(async { tokio::join!(ask(&scene, "led?"), refused) }).await;
    assert_eq!(answer, Err(no_reply(NoReplyReason::Failed, "no led")));
}
