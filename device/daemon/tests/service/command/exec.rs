//! Programs of `listen --exec`: how they end, together with everything that they have started.

use fedecks_protocol::Term;
use nix::sys::signal::{Signal, kill};

use super::fedecks::{Following, run_on};
use super::follow::signal;
use crate::support::process::{gone, id_in, is_gone, write_id};
use crate::support::push;
use crate::support::scene::Scene;

/// A script that starts a process in its background, writes its id, and waits for it.
fn with_child(scene: &Scene, first: &str) -> String {
    let id = write_id("$!", &scene.setup.folder.path().join("id"));
    format!("{first}sleep 600 & {id}; wait")
}

/// Starts `listen --exec sh -- -c script` with these options, and sends a message.
async fn listen(scene: &Scene, options: &[&str], script: &str) -> Following {
    let arguments = [&["listen"], options, &["--exec", "sh", "--", "-c", script]].concat();
    let listening = scene.follow(&arguments).await;
    push(&scene.cloud, Term::Nil).await;
    listening
}

#[tokio::test]
async fn options_after_the_program_are_those_of_listen() {
    let Some(scene) = Scene::connected().await else { return };
    let listening = scene.follow(&["listen", "--exec", "true", "--count", "1"]).await;
    push(&scene.cloud, Term::Nil).await;
    listening.ends(0).await;

    // What was taken for an argument of the program before is refused, with the way to write it.
    for argument in ["-c", "--verbose", "word"] {
        let ended = scene.run(&["listen", "--exec", "sh", argument, "exit 3"]).await;
        ended.fails(2, "-- ");
    }
}

#[tokio::test]
async fn a_missing_program_is_noticed_before_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    std::fs::write(&file, "").unwrap();
    let [file, folder] = [&file, folder.path()].map(|path| path.to_str().unwrap());
    for (program, problem) in [
        ("/nonexistent", "No such file or directory"),
        ("no-such-program", "no such program in PATH"),
        ("/nonexistent -v", "No such file or directory (os error 2); write its arguments after --"),
        (file, "it is not an executable file"),
        (folder, "it is not an executable file"),
        ("", "no such program"),
    ] {
        let expected = format!("--exec {program}: {problem}");
        // It does not need a bus to see that.
        run_on("nonsense", &["listen", "--exec", program]).await.fails(2, &expected);
    }
    run_on("nonsense", &["listen", "--exec", "sh"]).await.fails(3, "no system bus");
}

#[tokio::test]
async fn a_timeout_ends_the_program_and_what_it_has_started() {
    let Some(scene) = Scene::connected().await else { return };
    let options = ["-n", "1", "--exec-timeout", "2s"];
    // What ignores SIGTERM is killed.
    for first in ["", "trap '' TERM; "] {
        let script = with_child(&scene, first);
        let listening = listen(&scene, &options, &script).await;
        let child = id_in(&scene.setup.folder.path().join("id")).await;
        listening.ends_with(1, "sh: killed after 2 s").await;
        gone(child).await;
        std::fs::remove_file(scene.setup.folder.path().join("id")).unwrap();
    }
}

#[tokio::test]
async fn a_program_can_clean_up_before_it_is_killed() {
    let Some(scene) = Scene::connected().await else { return };
    let file = scene.setup.folder.path().join("cleaned");
    let script =
        format!("trap 'echo done > {}; exit' TERM; while :; do sleep 0.1; done", file.display());
    let options = ["-n", "1", "--exec-timeout", "1s"];
    listen(&scene, &options, &script).await.ends_with(1, "sh: killed after 1 s").await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "done\n");
}

#[tokio::test]
async fn a_signal_also_ends_the_program_and_its_children() {
    let Some(scene) = Scene::connected().await else { return };
    let file = scene.setup.folder.path().join("id");
    for (name, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        // A shell has its background ignore SIGINT, which is followed by SIGKILL.
        let listening = listen(&scene, &[], &with_child(&scene, "")).await;
        let child = id_in(&file).await;
        signal(&listening, name);
        listening.ends_with(code, "").await;
        gone(child).await;
        std::fs::remove_file(&file).unwrap();
    }
}

#[tokio::test]
async fn a_killed_command_ends_its_program() {
    let Some(scene) = Scene::connected().await else { return };
    let file = scene.setup.folder.path().join("id");
    let script = format!("{}; exec sleep 600", write_id("$$", &file));
    let mut listening = listen(&scene, &[], &script).await;
    let program = id_in(&file).await;
    listening.child.kill().await.unwrap();
    gone(program).await;
}

#[tokio::test]
async fn what_runs_in_the_background_delays_nothing() {
    let Some(scene) = Scene::connected().await else { return };
    let file = scene.setup.folder.path().join("id");
    // It keeps all pipes of the program, and does not read the message, which is larger than a pipe's buffer.
    let script = format!("sleep 600 <&0 & {}", write_id("$!", &file));
    let arguments = ["listen", "-n", "1", "--exec", "sh", "--", "-c", &script];
    let mut listening = scene.follow(&arguments).await;
    push(&scene.cloud, Term::Bytes(vec![7; 200_000])).await;
    assert_eq!(crate::support::within(listening.child.wait()).await.unwrap().code(), Some(0));
    let background = id_in(&file).await;
    assert!(!is_gone(background));
    kill(background, Signal::SIGKILL).unwrap();
}
