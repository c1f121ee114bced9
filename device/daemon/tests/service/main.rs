//! The real `fedecksd` with a real cloud and real daemons.

#![cfg(not(fedecks_emulated))] // They need the daemons of this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

mod addresses;
mod balancer;
mod blocked_readers;
mod certificates;
mod check;
mod claims;
mod clock;
mod command;
mod data_partition;
mod data_unit;
mod dbus;
mod disk_copies;
mod disk_queue;
mod health;
mod identity;
mod init_script;
mod late_token;
mod memory;
mod network;
mod provisioning;
mod rollback;
mod second_service;
mod support;
mod tls_refusals;
mod unit;
mod unreachable;
mod volatile_data;
