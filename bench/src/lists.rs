//! How long the program takes to list, search and count the devices of a large fleet by its API.

use std::path::Path;
use std::time::Duration;

use fedecks_cloud::store::{Actor, DeviceStore, SqliteStore, StoreMonitor, StoreOptions, unix_now};
use fedecks_testing::cloud::keyring;
use fedecks_testing::cloud_process::CloudProgram;
use fedecks_testing::http::Http;
use fedecks_testing::wait::PATIENCE;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use tokio::time::{Instant, sleep};

use crate::client::Target;
use crate::error::{Error, Result};
use crate::fleet::Fleet;
use crate::identity::device_id;
use crate::report::{Measurement, Report};
use crate::server::Kind;
use crate::setting::{ANY_RATE, Setting};
use crate::waiting::STORE;

/// One of this number of devices in the second half is blocked.
const BLOCKED: usize = 500;

/// How many labels are set at the same time.
const AT_ONCE: usize = 32;

/// Requests of each kind before the measured ones.
const WARM_UP: usize = 10;

/// Pings over all connections.
const PINGS_PER_SECOND: u32 = 5_000;

/// What 99 of 100 requests of each kind have to be answered in.
const LIMIT: Duration = Duration::from_millis(50);

/// Lists a fleet whose first devices are connected, by each kind of request in turn.
pub(crate) async fn measure(setting: &Setting<'_>, program: &Path) -> Result<Report> {
    let options = setting.options;
    let program = CloudProgram::configured(program, ANY_RATE);
    generate(options.list_devices, &program.folder.path().join(STORE)).await?;
    let cloud = program.serve(&[]).await;
    let token = cloud.token("bench", &["--role", "read"]).await;
    let target = Target { kind: Kind::Fedecks, address: cloud.address, tls: None };
    let connected = options.connections.min(options.list_devices / 2);
    let mut fleet = Fleet::connect(&target, &keyring(), 0..connected).await?;
    let api = cloud.http().token(&token).json();

    let mut report = Report::default();
    for (metric, expected, path) in requests(options.list_devices, connected) {
        // So that the server does not take them for lost.
        fleet.ping(PINGS_PER_SECOND).await?;
        let mut took = Vec::with_capacity(options.list_requests);
        for number in 0..WARM_UP + options.list_requests {
            let one = ask(&api, &path(number), expected).await?;
            if number >= WARM_UP {
                took.push(one);
            }
        }
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).or(took.last()).copied().unwrap_or_default();
        report.measurements.push(Measurement {
            bench: "lists",
            server: "fedecks-cloud serve",
            metric,
            unit: "ms",
            values: vec![p99.as_secs_f64() * 1e3],
        });
        if options.list_limit && p99 > LIMIT {
            report.failures.push(format!("{metric}: {p99:?}, the limit is {LIMIT:?}"));
        }
    }
    Ok(report)
}

/// Makes the path of the request with this number.
type PathOf = Box<dyn Fn(usize) -> String>;

/// The kinds of requests, with the number of devices in the answer: the pages of the dashboard, and of a program that
/// walks the list.
fn requests(devices: usize, connected: usize) -> Vec<(&'static str, Option<usize>, PathOf)> {
    let fixed = |path: &'static str| -> PathOf { Box::new(move |_| path.to_owned()) };
    let labels = |more: &'static str, of: usize| -> PathOf {
        Box::new(move |number| {
            let label = label(number * 7_919 % of).replace(' ', "%20");
            format!("/devices?limit=100&search={label}{more}")
        })
    };
    vec![
        ("p99_first_page", Some(100), fixed("/devices?limit=100")),
        ("p99_longest_page", Some(500), fixed("/devices?limit=500")),
        ("p99_search_finds_one", Some(1), labels("", devices)),
        ("p99_search_finds_none", Some(0), fixed("/devices?limit=100&search=nothing")),
        ("p99_search_finds_all", Some(100), fixed("/devices?limit=100&search=station")),
        ("p99_connected", Some(100), fixed("/devices?limit=100&connected=true")),
        // Those in front of them are connected, and are examined too.
        ("p99_not_connected", None, fixed("/devices?limit=100&connected=false")),
        ("p99_search_of_connected", Some(1), labels("&connected=true", connected)),
        ("p99_blocked", None, fixed("/devices?limit=100&blocked=true")),
        ("p99_presence", Some(100), fixed("/presence?limit=100")),
        ("p99_counts", None, fixed("/fleet")),
    ]
}

async fn ask(api: &Http, path: &str, expected: Option<usize>) -> Result<Duration> {
    let began = Instant::now();
    let answer = api.get(&format!("/api/v1{path}")).await;
    let took = began.elapsed();
    if answer.status != StatusCode::OK {
        return Err(format!("{path}: {}: {}", answer.status, answer.text()).into());
    }
    let listed = answer.json()["devices"].as_array().map(Vec::len);
    if expected.is_some() && listed != expected {
        return Err(format!("{path}: {listed:?} devices, expected {expected:?}").into());
    }
    Ok(took)
}

fn label(device: usize) -> String {
    format!("Line {} station {device:06}", device % 40)
}

/// Makes a store with this many devices, each with a label. In memory first: the disk would be synced for each label.
async fn generate(devices: usize, path: &Path) -> Result<()> {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let made = folder.path().join("store");
    let store = SqliteStore::open_with(&made, StoreOptions::default())?;
    for number in 0..devices {
        store.seen(&device_id(number)?, 0, unix_now(), true);
    }
    let until = Instant::now() + PATIENCE;
    while store.device_counts(None).await?.known < devices as u64 {
        if Instant::now() > until {
            return Err(format!("not all devices were stored: {:?}", store.stats()).into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let by = Actor::cli();
    let labelled = (0..devices).map(|number| {
        let (store, by) = (&store, &by);
        async move {
            let device = device_id(number)?;
            store.set_label(&device, Some(&label(number)), by).await?;
            // The first half may be connected.
            if number > devices / 2 && number % BLOCKED == 0 {
                store.block(&device, by).await?;
            }
            Ok::<_, Error>(())
        }
    });
    let mut labelled = stream::iter(labelled).buffer_unordered(AT_ONCE);
    while let Some(done) = labelled.next().await {
        done?;
    }
    drop(labelled);
    drop(store);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(SqliteStore::back_up(&made, path)?)
}
