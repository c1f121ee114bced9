//! `fedecks queue`: shows the messages that are kept, in both directions.

use fedecks_common::utc;
use fedecks_protocol::Term;

use crate::arguments::Queue;
use crate::failure::Failure;
use crate::output::Colors;
use crate::summary::{bytes, number, plain};
use crate::{bus, output};

pub(crate) async fn queue(arguments: Queue) -> Result<(), Failure> {
    let device = bus::proxy(&bus::connect().await?).await?;
    let health = device.get_health().await?.into_term();
    let part = |key: &str| health.get(key).cloned().unwrap_or(Term::Nil);
    let (queue, inbox) = (part("queue"), part("inbox"));
    if arguments.json {
        let parts = vec![("queue".into(), queue), ("inbox".into(), inbox)];
        return output::line(output::json(&Term::Map(parts))?);
    }
    match text(&queue, &inbox, Colors::of_stdout()) {
        Some(text) => output::line(text),
        None => {
            Err(Failure::Failed("fedecksd is of another version; see: fedecks queue --json".into()))
        }
    }
}

/// `None` if something is missing.
fn text(queue: &Term, inbox: &Term, colors: Colors) -> Option<String> {
    let Term::List(lanes) = queue.get("lanes")? else { return None };
    let mut lines: Vec<String> = lanes.iter().map(lane).collect::<Option<_>>()?;
    let count = |of: &Term, key: &str| of.get(key).and_then(number);
    let disk = queue.get("disk")?;
    let mut parts = Vec::new();
    if count(disk, "bytes")? > 0 {
        parts.push(format!("{} in files", bytes(count(disk, "bytes")?)));
    }
    if count(disk, "damaged")? > 0 {
        parts.push(colors.yellow(&format!("{} pieces were damaged", count(disk, "damaged")?)));
    }
    if let Some(error) = disk.get("error").and_then(plain) {
        parts.push(colors.red(&error));
    }
    if !parts.is_empty() {
        lines.push(format!("disk    {}", parts.join("; ")));
    }
    if count(queue, "lost")? > 0 {
        let lost = format!("{} since the start of the service", count(queue, "lost")?);
        lines.push(format!("lost    {}", colors.yellow(&lost)));
    }
    if count(inbox, "messages")? > 0 {
        let (messages, size) = (count(inbox, "messages")?, bytes(count(inbox, "bytes")?));
        lines.push(format!("inbox   {messages} from the cloud wait for an application ({size})"));
    }
    if lines.is_empty() {
        lines.push("nothing waits".to_owned());
    }
    Some(lines.join("\n"))
}

fn lane(lane: &Term) -> Option<String> {
    let count = |key: &str| lane.get(key).and_then(number);
    let name = plain(lane.get("lane")?)?;
    let mut parts = Vec::new();
    if count("in_memory")? > 0 {
        parts.push(format!("{} in memory ({})", count("in_memory")?, bytes(count("bytes")?)));
    }
    if count("on_disk")? > 0 {
        parts.push(format!("{} on disk", count("on_disk")?));
    }
    if let Some(oldest) = count("oldest_at") {
        parts.push(format!("the oldest of {}", utc(oldest)));
    }
    Some(format!("{name:<7} {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(queue: &str, inbox: &str) -> Option<String> {
        let json = |text| serde_json::from_str::<fedecks_protocol::JsonTerm>(text).unwrap().0;
        text(&json(queue), &json(inbox), Colors::none())
    }

    #[test]
    fn everything_that_waits_has_a_line() {
        let queue = r#"{"messages":6,"bytes":2000,"lost":2,
            "disk":{"messages":3,"bytes":262144,"damaged":1,"error":"full\u001b[2J"},
            "lanes":[{"lane":"urgent","in_memory":1,"bytes":200,"on_disk":0},
            {"lane":"normal","in_memory":2,"bytes":1800,"on_disk":3,"oldest_at":1700000000}]}"#;
        let expected = "\
urgent  1 in memory (200 bytes)
normal  2 in memory (1.7 KiB), 3 on disk, the oldest of 2023-11-14T22:13:20Z
disk    256.0 KiB in files; 1 pieces were damaged; full\u{fffd}[2J
lost    2 since the start of the service
inbox   4 from the cloud wait for an application (90 bytes)";
        assert_eq!(shown(queue, r#"{"messages":4,"bytes":90}"#).unwrap(), expected);
    }

    #[test]
    fn an_empty_queue_says_so() {
        let queue =
            r#"{"messages":0,"bytes":0,"lost":0,"disk":{"bytes":0,"damaged":0},"lanes":[]}"#;
        assert_eq!(shown(queue, r#"{"messages":0,"bytes":0}"#).unwrap(), "nothing waits");
        assert_eq!(shown("{}", "{}"), None);
    }
}
