//! The D-Bus service on a real dbus-daemon, called by gdbus and busctl.

mod availability;
mod calls;
mod deliveries;
mod introspection;
mod kept;
mod policy;
mod signals;

use std::process::Output;

use crate::support::USER;
use crate::support::bus::{Bus, User};

/// The account as gdbus takes it.
pub(crate) fn credentials(password: &str) -> String {
    format!("{{'username': <'{USER}'>, 'password': <'{password}'>}}")
}

/// Calls a method of the interface, or of another one if its name is complete.
async fn gdbus(bus: &Bus, user: User, method: &str, arguments: &[&str]) -> Output {
    let method = match method.contains('.') {
        true => method.to_owned(),
        false => format!("org.fedecks.Device1.{method}"),
    };
    let mut words = vec!["gdbus", "call", "--system", "--dest", "org.fedecks.Device1"];
    words.extend(["--object-path", "/org/fedecks/Device1", "--method", &method]);
    words.extend(arguments);
    bus.run_as(user, &words).await
}

/// The result of a call by a member of the group.
async fn call(bus: &Bus, method: &str, arguments: &[&str]) -> String {
    result(gdbus(bus, User::Member, method, arguments).await)
}

/// The error of a call by this user.
pub(crate) async fn call_error(bus: &Bus, user: User, method: &str, arguments: &[&str]) -> String {
    error(gdbus(bus, user, method, arguments).await)
}

async fn busctl(bus: &Bus, verb: &str, arguments: &[&str]) -> String {
    let address = format!("--address={}", bus.address());
    let object = ["org.fedecks.Device1", "/org/fedecks/Device1", "org.fedecks.Device1"];
    let words = [&["busctl", &address, verb], &object[..], arguments].concat();
    result(bus.run_as(User::Root, &words).await)
}

fn result(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn error(output: Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}
