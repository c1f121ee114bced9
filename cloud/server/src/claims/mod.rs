//! Claims, with which devices register themselves: how they are made, and what the production line gets. What they
//! permit is decided by the store.

mod order;
mod sheet;
mod url;

pub(crate) use order::{ClaimDevices, ClaimOrder, InvalidOrder};
pub(crate) use sheet::{csv, csv_line, qr_text};
pub(crate) use url::{InvalidUrl, check_url};
