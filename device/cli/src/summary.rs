//! Formats the health for people, as printed by `fedecks status`.

use fedecks_common::text::is_control;
use fedecks_common::utc;
use fedecks_protocol::Term;

use crate::failure::Failure;
use crate::output::{self, Colors};
use crate::refusal::last as refusal_in;

type Render = fn(&Health<'_>, &Term) -> Option<String>;
/// The known keys in the order of their lines, with labels. Unknown keys, from a newer service, follow as
/// JSON.
const LINES: [(&str, &str, Render); 20] = [
    ("state", "state", state),
    ("next_attempt_in_ms", "next attempt", |_, wait| Some(format!("in {}", ms(number(wait)?)))),
    ("last_failure", "last failure", failure),
    ("last_refusal", "last refusal", refusal),
    ("attempts", "attempts", attempts),
    ("token", "token", token),
    ("network", "network", network),
    ("store", "store", store),
    ("clock", "clock", clock),
    ("traffic", "traffic", traffic),
    ("queue", "queue", queue),
    ("inbox", "inbox", inbox),
    ("round_trip_ms", "round trip", |_, took| Some(format!("{:.1} ms", float(took)?))),
    ("provisioning", "provisioning", provisioning),
    ("configuration", "configuration", configuration),
    ("log_lines_missing", "log", log),
    ("device_id_from", "device id", |_, from| Some(format!("from the {}", plain(from)?))),
    ("url", "cloud", |_, url| plain(url)),
    ("uptime_s", "uptime", |_, seconds| Some(duration(number(seconds)?))),
    ("version", "version", |_, version| plain(version)),
];

/// Included in the line of another key.
const INCLUDED: [&str; 5] =
    ["device_id", "state_for_s", "connected_since", "failures", "network_source"];

struct Health<'a> {
    health: &'a Term,
    colors: Colors,
}

/// Several lines, without a final line break. Values that are absent, nil or not worth a line are left out.
pub(crate) fn of(health: &Term, colors: Colors) -> Result<String, Failure> {
    let Term::Map(entries) = health else {
        return Err(Failure::Failed(format!("the health is {}", health.kind())));
    };
    let this = Health { health, colors };
    let device = health.get("device_id").and_then(plain).unwrap_or_default();
    let mut lines = vec![colors.bold(&device)];
    let mut line = |label: &str, text: &str| lines.push(format!("  {label:<14}{text}"));
    for (key, label, render) in LINES {
        match health.get(key) {
            None | Some(Term::Nil) => {}
            // A value of unexpected form is shown as JSON.
            Some(value) => match render(&this, value) {
                Some(text) if text.is_empty() => {}
                Some(text) => line(label, &text),
                None => line(label, &shown(&output::json(value)?)),
            },
        }
    }
    let mut others = Vec::new();
    for (key, value) in entries {
        let key = key.as_str().unwrap_or_default();
        let known = INCLUDED.contains(&key) || LINES.iter().any(|(known, ..)| *known == key);
        if !known && *value != Term::Nil {
            others.push((shown(key).replace('_', " "), shown(&output::json(value)?)));
        }
    }
    others.sort();
    for (key, value) in others {
        line(&(key + " "), &value);
    }
    Ok(lines.join("\n"))
}

fn state(this: &Health<'_>, state: &Term) -> Option<String> {
    let word = plain(state)?;
    let mut text = match word.as_str() {
        "connected" => this.colors.green(&word),
        "unregistered" | "late" | "closed" => this.colors.red(&word),
        _ => this.colors.yellow(&word),
    };
    if let Some(seconds) = this.health.get("state_for_s").and_then(number) {
        text = format!("{text} for {}", duration(seconds));
    }
    if let Some(since) = this.health.get("connected_since").and_then(number) {
        text = format!("{text}, since {}", utc(since));
    }
    let age = |key: &str| number(this.health.get(key)?.get("ago_s")?);
    let waits = refusal_in(this.health).filter(|refusal| refusal.waits());
    if let Some(refusal) = waits.filter(|_| age("last_refusal") == age("last_failure")) {
        if matches!(word.as_str(), "waiting" | "dialing" | "offline") {
            let device = this.health.get("device_id").and_then(plain).unwrap_or_default();
            text.push_str(&format!("; {}", refusal.explain(&device)));
        }
    }
    if word == "unregistered" {
        text.push_str("; waiting for: fedecks login");
    }
    if word == "late" {
        text.push_str("; token late: login (fedecks login) or operator of the cloud needed");
    }
    Some(text)
}

fn attempts(this: &Health<'_>, attempts: &Term) -> Option<String> {
    let attempts = number(attempts)?;
    Some(match this.health.get("failures").and_then(number) {
        None | Some(0) => attempts.to_string(),
        Some(failures) => {
            format!("{attempts}, {}", this.colors.yellow(&format!("{failures} failed in a row")))
        }
    })
}

fn failure(_: &Health<'_>, failure: &Term) -> Option<String> {
    Some(format!(
        "{} ago: {}",
        duration(number(failure.get("ago_s")?)?),
        plain(failure.get("reason")?)?
    ))
}

fn refusal(this: &Health<'_>, refusal: &Term) -> Option<String> {
    failure(this, refusal).map(|text| this.colors.red(&text))
}

fn token(this: &Health<'_>, token: &Term) -> Option<String> {
    let mut text = format!("valid until {}", utc(number(token.get("expires_at")?)?));
    if token.get("is_late") == Some(&Term::Bool(true)) {
        let warning = "late: the cloud says that it has expired; kept and tried again";
        text = format!("{text}, {}", this.colors.red(warning));
    }
    if token.get("is_stored") == Some(&Term::Bool(false)) {
        let warning = "not stored, a reboot would require a new login";
        text = format!("{text}, {}", this.colors.red(warning));
    }
    Some(text)
}

fn network(this: &Health<'_>, network: &Term) -> Option<String> {
    let word = colored(this, &plain(network)?, "up");
    Some(match this.health.get("network_source").and_then(plain) {
        Some(source) if source == "none" => format!("{word}, not watched"),
        Some(source) => format!("{word}, according to {source}"),
        None => word,
    })
}

fn store(this: &Health<'_>, store: &Term) -> Option<String> {
    let mut text = colored(this, &plain(store.get("state")?)?, "ok");
    if let Some(directory) = store.get("directory").and_then(plain) {
        text = format!("{text}, {directory}");
    }
    if let Some(error) = store.get("error").and_then(plain) {
        text = format!("{text}: {error}");
    }
    Some(text)
}

fn clock(this: &Health<'_>, clock: &Term) -> Option<String> {
    let state = plain(clock.get("state")?)?;
    let text =
        format!("{}, {}", colored(this, &state, "plausible"), utc(number(clock.get("now")?)?));
    Some(match clock.get("floor").and_then(number) {
        Some(floor) if state != "plausible" => {
            format!("{text}; the time is at least {}", utc(floor))
        }
        _ => text,
    })
}

/// Nothing while nothing waits and nothing was lost.
fn queue(this: &Health<'_>, queue: &Term) -> Option<String> {
    let count = |name: &str| queue.get(name).and_then(number);
    let (messages, bytes, lost) = (count("messages")?, count("bytes")?, count("lost")?);
    if messages == 0 && lost == 0 {
        return Some(String::new());
    }
    let waiting = format!("{messages} kept messages wait, {bytes} bytes");
    Some(match lost {
        0 => waiting,
        lost => format!("{waiting}; {}", this.colors.yellow(&format!("{lost} lost"))),
    })
}

fn inbox(_: &Health<'_>, inbox: &Term) -> Option<String> {
    let count = |name: &str| inbox.get(name).and_then(number);
    Some(match (count("messages")?, count("bytes")?) {
        (0, _) => String::new(),
        (messages, bytes) => {
            format!("{messages} kept messages wait for the application, {bytes} bytes")
        }
    })
}

fn traffic(_: &Health<'_>, traffic: &Term) -> Option<String> {
    let of = |key| traffic.get(key).and_then(number);
    Some(format!(
        "sent {} ({}), received {} ({})",
        messages(of("messages_sent")?),
        bytes(of("bytes_sent")?),
        messages(of("messages_received")?),
        bytes(of("bytes_received")?)
    ))
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

/// The sources of credentials for the first login, without those that are absent for no special reason.
fn provisioning(this: &Health<'_>, sources: &Term) -> Option<String> {
    let Term::List(sources) = sources else { return None };
    let (mut shown, mut looked) = (Vec::new(), Vec::new());
    for source in sources {
        let state = plain(source.get("state")?)?;
        let reason = source.get("reason").and_then(plain);
        let (kind, place) = (plain(source.get("kind")?)?, plain(source.get("place")?)?);
        if state == "absent" && reason.is_none() {
            looked.push(format!("{kind} {place}"));
            continue;
        }
        let mut text = format!("{kind} {place}: {state}");
        if let Some(reason) = reason {
            text = format!("{text}, {reason}");
        }
        if state != "absent" && source.get("is_there") == Some(&Term::Bool(true)) {
            text = format!("{text}, {}", this.colors.yellow("still there"));
        }
        shown.push(text);
    }
    Some(match shown.is_empty() {
        true => format!("none; looked for {}", looked.join(" and ")),
        false => shown.join("; "),
    })
}

/// What is wrong with the configuration.
fn configuration(this: &Health<'_>, problems: &Term) -> Option<String> {
    let Term::List(problems) = problems else { return None };
    let problems: Vec<_> = problems.iter().map(plain).collect::<Option<_>>()?;
    Some(this.colors.red(&problems.join("; ")))
}

fn colored(this: &Health<'_>, word: &str, good: &str) -> String {
    if word == good { this.colors.green(word) } else { this.colors.yellow(word) }
}

/// A string, sanitized for a terminal.
pub(crate) fn plain(term: &Term) -> Option<String> {
    term.as_str().map(shown)
}

/// Replaces control characters: errors may quote untrusted data, which must not control the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

pub(crate) fn number(term: &Term) -> Option<u64> {
    term.as_int()?.try_into().ok()
}

fn float(term: &Term) -> Option<f64> {
    if let Term::Float(number) = term { Some(*number) } else { None }
}

fn ms(milliseconds: u64) -> String {
    if milliseconds < 10_000 {
        format!("{milliseconds} ms")
    } else {
        duration(milliseconds / 1_000)
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "bytes";
    let mut shown = count;
    let mut tenths = 0;
    for bigger in UNITS {
        if shown < 1024 {
            break;
        }
        tenths = shown % 1024 * 10 / 1024;
        shown /= 1024;
        unit = bigger;
    }
    if unit == "bytes" { format!("{shown} bytes") } else { format!("{shown}.{tenths} {unit}") }
}

fn log(this: &Health<'_>, missing: &Term) -> Option<String> {
    match number(missing)? {
        0 => Some(String::new()),
        missing => Some(this.colors.red(&format!("{missing} lines are missing"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(json: &str) -> Term {
        serde_json::from_str::<fedecks_protocol::JsonTerm>(json).unwrap().0
    }

    #[test]
    fn every_known_value_has_a_line() {
        let health = health(
            r#"{"version":"0.1.0","device_id":"kitchen-1","url":"wss://cloud.example/","uptime_s":100000,
            "state":"connected","state_for_s":3725,"connected_since":1700000000,
            "next_attempt_in_ms":null,"attempts":7,"failures":2,
            "last_failure":{"ago_s":70,"reason":"reset\u001b[2J by peer"},"last_refusal":null,
            "token":{"expires_at":1702419200,"is_stored":false},"network":"up","network_source":"netlink",
            "store":{"state":"failing","directory":"/data","error":"disk full"},
            "clock":{"state":"behind","now":60,"floor":1700000000},
            "traffic":{"messages_sent":1,"messages_received":4,"bytes_sent":1023,"bytes_received":5000000},
            "queue":{"messages":2,"bytes":400,"lost":1},"inbox":{"messages":3,"bytes":120},
            "round_trip_ms":12.345,"device_id_from":"machine-id",
            "provisioning":[{"kind":"credential","place":"/run/c","state":"absent","is_there":false},
            {"kind":"file","place":"/boot/p.toml","state":"used","is_there":true,"reason":"read-only"}],
            "configuration":["f.toml, line 7: newer: unknown key, ignored","two"],"log_lines_missing":3,
            "new_thing":{"a":1}}"#,
        );
        let expected = "\
kitchen-1
  state         connected for 1 h 2 min, since 2023-11-14T22:13:20Z
  last failure  1 min 10 s ago: reset\u{fffd}[2J by peer
  attempts      7, 2 failed in a row
  token         valid until 2023-12-12T22:13:20Z, not stored, a reboot would require a new login
  network       up, according to netlink
  store         failing, /data: disk full
  clock         behind, 1970-01-01T00:01:00Z; the time is at least 2023-11-14T22:13:20Z
  traffic       sent 1 message (1023 bytes), received 4 messages (4.7 MiB)
  queue         2 kept messages wait, 400 bytes; 1 lost
  inbox         3 kept messages wait for the application, 120 bytes
  round trip    12.3 ms
  provisioning  file /boot/p.toml: used, read-only, still there
  configuration f.toml, line 7: newer: unknown key, ignored; two
  log           3 lines are missing
  device id     from the machine-id
  cloud         wss://cloud.example/
  uptime        1 d 3 h
  version       0.1.0
  new thing     {\"a\":1}";
        assert_eq!(of(&health, Colors::none()).unwrap(), expected);
    }

    #[test]
    fn a_login_that_waits_says_for_what() {
        let with = |failed: u64| {
            let health = health(&format!(
                r#"{{"device_id":"d","state":"waiting","last_failure":{{"ago_s":{failed},"reason":"x"}},
                "last_refusal":{{"ago_s":3,"reason":"approval-pending"}}}}"#
            ));
            of(&health, Colors::none()).unwrap().lines().nth(1).unwrap().to_owned()
        };
        let expected = "  state         waiting; an operator has to approve this device; in the cloud: \
                        fedecks-cloud device approve d";
        assert_eq!(with(3), expected);
        // Something else has failed since.
        assert_eq!(with(1), "  state         waiting");
    }

    #[test]
    fn a_late_token_says_what_to_do() {
        let health = health(
            r#"{"device_id":"d","state":"late","state_for_s":70,"next_attempt_in_ms":200000,"log_lines_missing":0,
            "token":{"expires_at":1702419200,"is_stored":true,"is_late":true}}"#,
        );
        let expected = "\
d
  state         late for 1 min 10 s; token late: login (fedecks login) or operator of the cloud needed
  next attempt  in 3 min 20 s
  token         valid until 2023-12-12T22:13:20Z, late: the cloud says that it has expired; kept and tried again";
        assert_eq!(of(&health, Colors::none()).unwrap(), expected);
    }

    #[test]
    fn a_value_of_unexpected_form_is_shown_as_json() {
        let health = health(r#"{"state":"waiting","next_attempt_in_ms":"soon","token":7}"#);
        let lines = of(&health, Colors::none()).unwrap();
        assert_eq!(lines, "\n  state         waiting\n  next attempt  \"soon\"\n  token         7");
    }
}
