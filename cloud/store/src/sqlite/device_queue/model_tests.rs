//! Random orders of what is done with messages for devices; nothing is miscounted.

use crate::conformance::down_model::World;
use crate::sqlite::store::SqliteStore;

/// The counters are those of the rows.
async fn check_counters(store: &SqliteStore) {
    let counted = store.read(|database| {
        let numbers = |sql: &str| -> rusqlite::Result<[i64; 3]> {
            database.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
        };
        let rows = numbers(
            "SELECT count(sequence), ifnull(sum(bytes) FILTER (WHERE sequence IS NOT NULL), 0),
                 count(*) - count(sequence) FROM down_messages",
        )?;
        let counters = numbers(
            "SELECT ifnull(sum(waiting), 0), (SELECT bytes FROM down_size), ifnull(sum(settled), 0)
             FROM down_devices",
        )?;
        let voids = numbers(
            "SELECT (SELECT count(*) FROM down_voids), (SELECT ifnull(sum(voids), 0) FROM down_streams), 0",
        )?;
        Ok((rows, counters, voids))
    });
    let (rows, counters, [voids, counted, _]) = counted.await.unwrap();
    assert_eq!((rows, voids), (counters, counted));
}

#[tokio::test]
async fn random_orders_lose_and_repeat_nothing() {
    for seed in 0..30 {
        let mut world = World::new(seed, SqliteStore::in_memory().unwrap());
        for _ in 0..400 {
            world.step().await;
            check_counters(&world.store).await;
        }
        for _ in 0..400 {
            world.deliver().await;
        }
        assert!(world.is_settled());
        check_counters(&world.store).await;
    }
}
