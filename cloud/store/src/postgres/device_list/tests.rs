//! Tests of what the statements of lists read, as PostgreSQL explains it, and of what keeps that little.

use tokio_postgres::Client;

use super::*;
use crate::conformance::support::{cli, device, until};
use crate::devices::DeviceStore;
use crate::notes::Seen;
use crate::postgres::seen_notes::write_seen;
use crate::postgres::test_server::TestServer;
use crate::postgres::tests::{new_store, open, server};

/// The blocks of an index from its root to a row, with the row and its place in another block.
const LOOKUP: u64 = 5;

/// 20,000 devices, each with a label. One of 200 is blocked.
const FILL: &str = "INSERT INTO devices (id, label, label_lower, first_seen, last_seen, blocked_at)
    SELECT 'gw-' || lpad(n::text, 6, '0'), 'Station ' || n, 'station ' || n, 1, 2,
        CASE WHEN n % 200 = 0 THEN 3 END
    FROM generate_series(0, 19999) AS n ORDER BY n * 7919 % 20000";

struct Fleet {
    client: Client,
    /// Whether the plans are made for the values, or for any.
    mode: &'static str,
}

/// What a statement did.
struct Explained {
    plan: String,
    /// How many blocks it looked at.
    blocks: u64,
}

impl Fleet {
    /// A fleet whose store is closed, so that nothing else reads the database.
    async fn new(server: &TestServer) -> Self {
        let database = server.database().await;
        open(server, &database).await.close().await;
        let client = server.connect(&database).await;
        client.batch_execute(FILL).await.unwrap();
        client.batch_execute("ANALYZE").await.unwrap();
        let fleet = Self { client, mode: "force_custom_plan" };
        // A transaction of the database that ends just now can make it leave something out.
        until(async || {
            for table in ["devices", "devices_listed"] {
                fleet.client.batch_execute(&format!("VACUUM {table}")).await.unwrap();
            }
            let sql = "SELECT relallvisible = relpages FROM pg_class
                WHERE oid = 'devices_listed'::regclass";
            fleet.client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
        fleet
    }

    async fn blocks_of(&self, relation: &str) -> u64 {
        let sql = "SELECT pg_relation_size($1::text::regclass)
            / current_setting('block_size')::bigint";
        let row = self.client.query_one(sql, &[&relation]).await.unwrap();
        row.get::<_, i64>(0).try_into().unwrap()
    }

    async fn explain(&self, sql: &str, values: &[String]) -> Explained {
        let prepare =
            format!("DEALLOCATE ALL; SET plan_cache_mode = {}; PREPARE it AS {sql}", self.mode);
        self.client.batch_execute(&prepare).await.unwrap();
        let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
        let values =
            if values.is_empty() { String::new() } else { format!("({})", values.join(",")) };
        let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING off) EXECUTE it{values}");
        let rows = self.client.query(&explain, &[]).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        // The first line is of the whole statement.
        let counts = lines.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared "));
        let counts = counts.unwrap_or_default().split(' ');
        let counts = counts.filter(|count| count.starts_with("hit=") || count.starts_with("read="));
        let blocks =
            counts.map(|count| count.split('=').next_back().unwrap().parse::<u64>().unwrap());
        Explained { blocks: blocks.sum(), plan: lines.join("\n") }
    }

    async fn page(&self, query: &DeviceQuery) -> Explained {
        let (sql, mut texts) = page(query);
        texts.push(query.limit.to_string());
        self.explain(&sql, &texts).await
    }
}

impl Explained {
    fn check(&self, parts: &[&str], most: u64) {
        let Self { plan, blocks } = self;
        for part in parts {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        for line in plan.lines().filter(|line| line.contains(" on devices ")) {
            assert!(line.contains("Index Scan using devices_pkey"), "whole rows of many: {plan}");
        }
        // At least one, or the number was not found in the plan.
        assert!((1..=most).contains(blocks), "{blocks} blocks, the limit is {most}: {plan}");
    }
}

fn query(limit: u32) -> DeviceQuery {
    DeviceQuery { limit, ..DeviceQuery::default() }
}

#[tokio::test]
async fn lists_read_narrow_indexes_and_the_rows_they_return() {
    let server = server!();
    let mut fleet = Fleet::new(&server).await;
    let index = fleet.blocks_of("devices_listed_pkey").await;
    let all = "Index Only Scan using devices_listed_pkey";
    let blocked = "Index Only Scan using devices_listed_blocked";
    let after = || Some(device("gw-015000"));
    let search = |text: &str| Some(text.to_owned());
    let scope = |text: &str| Some(text.parse::<DevicePattern>().unwrap());
    for mode in ["force_custom_plan", "force_generic_plan"] {
        fleet.mode = mode;
        for (query, scan, most) in [
            (query(100), all, 100 * LOOKUP + 20),
            (query(1000), all, 1000 * LOOKUP + 60),
            (DeviceQuery { after: after(), ..query(1000) }, all, 1000 * LOOKUP + 60),
            (DeviceQuery { scope: scope("gw-0150*"), ..query(1000) }, all, 100 * LOOKUP + 20),
            (
                DeviceQuery { scope: scope("gw-0150*"), after: after(), ..query(1000) },
                all,
                100 * LOOKUP + 20,
            ),
            (DeviceQuery { search: search("station"), ..query(100) }, all, 100 * LOOKUP + 20),
            (DeviceQuery { search: search("nothing"), ..query(100) }, all, index + 20),
            (DeviceQuery { search: search("station 19999"), ..query(100) }, all, index + 20),
            (
                DeviceQuery { search: search("nothing"), after: after(), ..query(100) },
                all,
                index / 3,
            ),
            (DeviceQuery { blocked: Some(false), ..query(100) }, all, 100 * LOOKUP + 20),
            (DeviceQuery { blocked: Some(true), ..query(1000) }, blocked, 100 * LOOKUP + 20),
            (
                DeviceQuery { blocked: Some(true), search: search("nothing"), ..query(100) },
                blocked,
                20,
            ),
        ] {
            let explained = fleet.page(&query).await;
            explained.check(&[scan, "Heap Fetches: 0"], most);
        }
        // A pattern that is more than a prefix may be looked for in the table of the index too.
        let most = index + 100 * LOOKUP + 20;
        fleet.page(&DeviceQuery { scope: scope("*-01*9"), ..query(100) }).await.check(&[], most);
    }
}

#[tokio::test]
async fn counts_and_lookups_of_devices_read_no_whole_rows_of_others() {
    let server = server!();
    let mut fleet = Fleet::new(&server).await;
    let listed = fleet.blocks_of("devices_listed").await;
    let index = fleet.blocks_of("devices_listed_pkey").await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        fleet.mode = mode;
        for (scope, most) in [
            (None, listed.max(index)),
            (Some("*-1*9"), listed.max(index)),
            (Some("gw-*"), listed + index),
            (Some("gw-0150*"), 100 * LOOKUP),
        ] {
            let scope = scope.map(|scope| scope.parse().unwrap());
            let (sql, texts) = counts(scope.as_ref());
            fleet.explain(&sql, &texts).await.check(&["on devices_listed"], most + 20);
        }
        let sql = records("unnest($1::text[]) AS listed");
        for count in [1, 1000] {
            let ids: Vec<_> = (0..count).map(|number| format!("gw-{:06}", number * 19)).collect();
            let explained = fleet.explain(&sql, &[format!("{{{}}}", ids.join(","))]).await;
            let loops = format!("loops={count}");
            explained.check(&["Index Scan using devices_pkey", &loops], count * LOOKUP + 20);
        }
    }
}

/// The number of rows of a table that this transaction has inserted, updated, and updated without changing an index.
const CHANGED: &str =
    "SELECT pg_stat_get_xact_tuples_inserted(it), pg_stat_get_xact_tuples_updated(it),
        pg_stat_get_xact_tuples_hot_updated(it)
    FROM (SELECT $1::text::regclass::oid AS it) AS relation";

#[tokio::test]
async fn a_note_of_a_connection_changes_no_index() {
    let server = server!();
    let store = new_store(&server).await;
    let numbers = || (0..100).map(|number| format!("gw-{:06}", number * 199));
    let changed = store.write(Lane::Later, (), move |tx, ()| {
        Box::pin(async move {
            let mut changed = Vec::new();
            for at in [10, 20] {
                if at == 10 {
                    tx.batch(FILL).await?;
                }
                let ids: Vec<_> = numbers().collect();
                let seen = Seen { generation: 0, at, by_token: Some(0) };
                write_seen(tx, ids.iter().map(|id| (&id[..], seen)).collect()).await?;
                for table in ["devices", "devices_listed"] {
                    let row = tx.query_one(CHANGED, &[&table]).await?;
                    changed.push([0, 1, 2].map(|column| row.get::<_, i64>(column)));
                }
            }
            Ok(changed)
        })
    });
    let expected = [[20_000, 100, 100], [20_000, 0, 0], [20_000, 200, 200], [20_000, 0, 0]];
    assert_eq!(changed.await.unwrap(), expected);
}

#[tokio::test]
async fn a_label_longer_than_any_can_be_stored_and_found() {
    let server = server!();
    let store = new_store(&server).await;
    store.revoke(&device("a"), &cli()).await.unwrap();
    let label: String = std::iter::repeat_n("Ünïcödé 長い ", 2000).collect();
    assert!(store.set_label(&device("a"), Some(&label), &cli()).await.unwrap());
    let query = DeviceQuery { search: Some("ÏCÖDÉ".to_owned()), ..DeviceQuery::default() };
    let page = store.devices_page(&query).await.unwrap();
    assert_eq!(page.iter().map(|device| device.label.as_ref()).collect::<Vec<_>>(), [Some(&label)]);
}
