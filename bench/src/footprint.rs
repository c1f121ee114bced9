use std::path::Path;

use crate::Result;
use crate::report::Measurement;
use crate::runs::Setting;

pub(crate) async fn measure(_setting: &Setting<'_>, _fedecksd: &Path) -> Result<Vec<Measurement>> {
    Err("not yet".into())
}
