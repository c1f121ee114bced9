//! Tests of kept messages beyond the contract: how statements find their rows.

use rusqlite::Connection;

use super::sql;
use crate::messages::MessageStore;
use crate::sqlite::store::SqliteStore;
use crate::sqlite::tests::new_store;

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let (_dir, path, store) = new_store();
    drop(store);
    let database = Connection::open(path).unwrap();
    for sql in sql::ALL {
        // It has a row for each table with such numbers, which are two.
        if *sql == sql::LAST_LOGGED {
            continue;
        }
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = explain.parameter_count();
        let lines: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let is_bad = |line: &String| {
            line.contains("TEMP B-TREE") || (line.starts_with("SCAN") && *sql != sql::FIRST_LOGGED)
        };
        assert!(!lines.iter().any(is_bad), "{sql}\n{lines:?}");
    }
}

#[tokio::test]
async fn the_installation_stays_the_same_and_is_of_one_store() {
    let (_dir, path, store) = new_store();
    let id = store.installation().await.unwrap();
    drop(store);
    assert_eq!(SqliteStore::open(&path).unwrap().installation().await.unwrap(), id);
    let (_dir, _, other) = new_store();
    assert_ne!(other.installation().await.unwrap(), id);
}
