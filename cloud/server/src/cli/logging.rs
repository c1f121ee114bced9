//! The log: to standard error, for people or as JSON.

use std::io;

use fedecks_common::log::{self, LogOptions};
use fedecks_common::text;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Writes the log from now on.
pub(super) fn start(options: &Log) -> io::Result<()> {
    let shorten = match options.format {
        LogFormat::Text => log::cut,
        LogFormat::Json => shorten_json,
    };
    let log = log::start(LogOptions {
        queue_bytes: options.queue_bytes,
        limit: options.limit(),
        shorten,
    })?;
    let registry = tracing_subscriber::registry();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || log.writer());
    match options.format {
        LogFormat::Text => registry.with(lines).with(log.layer(options.level)).try_init(),
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true))
            .with(log.layer(options.level))
            .try_init(),
    }
    .map_err(io::Error::other)
}

/// Cuts the texts of a line that is too long, so that it is still JSON.
fn shorten_json(line: &str, length: usize) -> String {
    let Ok(mut json) = serde_json::from_str(line) else { return log::cut(line, length) };
    for longest in [512, 64, 0] {
        cut_texts(&mut json, longest);
        let line = text::escape(&json.to_string()).into_owned();
        if line.len() <= length {
            return line;
        }
    }
    let cut = serde_json::json!({ "cut": log::cut(line, length / 8) });
    text::escape(&cut.to_string()).into_owned()
}

fn cut_texts(json: &mut serde_json::Value, longest: usize) {
    match json {
        serde_json::Value::String(text) if text.len() > longest + "...".len() => {
            let end = (0..=longest).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("...");
        }
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(|value| cut_texts(value, longest));
        }
        serde_json::Value::Object(values) => {
            values.values_mut().for_each(|value| cut_texts(value, longest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_of_json_stays_json() {
        let long = "\"".repeat(5000);
        let line = serde_json::json!({ "level": "INFO", "spans": [{ "error": long }], "n": 1 });
        let short: serde_json::Value =
            serde_json::from_str(&shorten_json(&line.to_string(), 4095)).unwrap();
        assert_eq!((&short["level"], &short["n"]), (&"INFO".into(), &1.into()));
        let error = short["spans"][0]["error"].as_str().unwrap();
        assert_eq!(error, format!("{}...", &long[..512]));

        // Allowed in JSON, but they drive terminals.
        let control = "\u{9b}".repeat(5000);
        let line = serde_json::json!({ "error": control }).to_string();
        for line in [text::escape(&line).into_owned(), line] {
            let short = shorten_json(&line, 4095);
            assert!(short.len() <= 4095 && !short.contains(char::is_control));
            assert!(serde_json::from_str::<serde_json::Value>(&short).is_ok(), "{short}");
        }

        let many: serde_json::Map<_, _> =
            (0..2000).map(|number| (number.to_string(), number.into())).collect();
        let many = serde_json::Value::Object(many).to_string();
        let short = shorten_json(&many, 4095);
        assert!(short.len() <= 4095);
        assert!(serde_json::from_str::<serde_json::Value>(&short).unwrap()["cut"].is_string());
    }
}
