//! Tests of the messages for devices beyond the contract: how statements find their rows, bounds, older stores.

use rusqlite::Connection;

use super::sql;
use crate::sqlite::tests::new_store;

#[test]
fn every_statement_finds_its_rows_by_an_index() {
    let (_dir, path, store) = new_store();
    drop(store);
    let database = Connection::open(path).unwrap();
    for sql in sql::ALL {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = explain.parameter_count();
        let lines: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let is_bad = |line: &String| line.starts_with("SCAN") || line.contains("TEMP B-TREE");
        assert!(!lines.iter().any(is_bad), "{sql}\n{lines:?}");
    }
}
