//! In place of `database` in a program without the feature `postgres`: there is none to open.

use super::open::OpenStore;
use crate::config::{Config, Database};
use crate::error::ServerError;

pub(super) async fn open_for_server(
    _: &Config,
    place: &Database,
) -> Result<OpenStore, ServerError> {
    match *place {}
}

pub(super) async fn open(_: &Config, place: &Database) -> Result<OpenStore, ServerError> {
    match *place {}
}

pub(super) fn check_settings(place: &Database) -> Result<(), ServerError> {
    match *place {}
}

pub(super) async fn check(place: &Database) -> Result<(), ServerError> {
    match *place {}
}

pub(super) async fn make_if_missing(place: &Database) -> Result<bool, ServerError> {
    match *place {}
}
