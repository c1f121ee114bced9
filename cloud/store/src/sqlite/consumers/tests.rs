//! Tests of consumers beyond the contract: the migration.

use rusqlite::Connection;

use crate::consumers::ConsumerStore;
use crate::messages::MessageStore;
use crate::sqlite::store::SqliteStore;
use crate::sqlite::tests::{BEFORE_CLAIMS, new_store};

#[tokio::test]
async fn a_store_of_version_7_keeps_its_log() {
    let (_dir, path, store) = new_store();
    let id = store.installation().await.unwrap();
    drop(store);
    // As that version left it.
    let database = Connection::open(&path).unwrap();
    database.execute_batch(BEFORE_CLAIMS).unwrap();
    database
        .execute_batch(
            "DROP TABLE message_consumers;
             INSERT INTO message_log (device, lane, tag, redelivered, at, raw, bytes, body)
                 VALUES ('kitchen', 0, 1, 0, 1, 1, 1, x'00'), ('kitchen', 0, 2, 0, 1, 1, 1, x'01');
             DELETE FROM message_log WHERE number = 1;
             PRAGMA user_version = 7;",
        )
        .unwrap();
    drop(database);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.installation().await.unwrap(), id);
    let log = store.log_status().await.unwrap();
    assert_eq!((log.first, log.next), (2, 3));
    assert_eq!(store.consumers().await.unwrap(), []);
}
