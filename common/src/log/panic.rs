//! A panic is a line of the log. The standard library's own hook writes to standard error directly, and would wait
//! for its reader.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};
use std::thread;

use super::process_log;

pub(super) fn hook() {
    set_hook(Box::new(|info| {
        log(info);
        if cfg!(panic = "abort") {
            // The process ends right after this.
            process_log::flush();
        } else {
            log_backtrace();
        }
    }));
}

fn log(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = info.location().map(|location| location.to_string());
    tracing::error!(
        thread = current.name(),
        location,
        "panicked: {}",
        text.unwrap_or("with a value that is not text")
    );
}

/// If RUST_BACKTRACE is set.
fn log_backtrace() {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(process_log::print);
    }
}
