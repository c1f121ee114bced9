//! The application on the device: it sends and listens by the command `fedecks`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fedecks_testing::history::{Answer, Direction, Lane};
use fedecks_testing::inbox::Inbox;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{sleep, timeout};

use crate::keep::Keep;
use crate::pair::FedecksCommand;

/// How long a command that sends may take.
const SEND: Duration = Duration::from_secs(10);

/// Sends a message.
pub(crate) async fn send(command: &FedecksCommand, keep: Keep, lane: Lane, number: u64) -> Answer {
    let mut command = command.with(keep.device_send(lane, number));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    match timeout(SEND, command.output()).await {
        Ok(output) => keep.device_answer(&output.unwrap()),
        Err(_) => Answer::Unknown,
    }
}

/// Receives the messages of a lane until it is dropped. `ready` is called when nothing that is sent from then on is missed.
pub(crate) async fn listen(
    command: FedecksCommand,
    keep: Keep,
    lane: Lane,
    inbox: Arc<Inbox>,
    ready: impl FnOnce(),
) {
    let mut ready = Some(ready);
    loop {
        let mut command = command.with(keep.device_listen(lane));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listens =
            notes.next_line().await.unwrap().is_some_and(|line| line.contains("listening"));
        if let Some(ready) = ready.take_if(|_| listens) {
            ready();
        }
        // Read, so that the command can go on writing.
        let notes = tokio::spawn(async move { while let Ok(Some(_)) = notes.next_line().await {} });
        while let Ok(Some(line)) = lines.next_line().await {
            keep.device_received(&line)
                .into_iter()
                .for_each(|it| it.enter(Direction::Down, &inbox));
        }
        notes.abort();
        // It ends when the bus does, and fails while the service is away at its start.
        sleep(Duration::from_millis(50)).await;
    }
}
