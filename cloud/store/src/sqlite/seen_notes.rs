//! When devices were connected, as the write-behind buffer writes it to their rows.

use fedecks_protocol::DeviceId;
use rusqlite::{Connection, Statement};

use super::columns::{later_of, to_column};
use crate::notes::Seen;

/// How many notes a statement writes, if there are that many. For each statement SQLite opens the table again.
const ROWS: usize = 32;

/// Writes notes. A device that was forgotten since then stays forgotten.
pub(super) fn write_seen(
    tx: &Connection,
    mut notes: Vec<(&DeviceId, Seen)>,
) -> rusqlite::Result<()> {
    let shared = |seen: &Seen| (seen.generation, seen.by_token);
    notes.sort_unstable_by_key(|(device, seen)| (shared(seen), *device));
    for notes in notes.chunk_by(|(_, one), (_, other)| shared(one) == shared(other)) {
        let (many, few) = notes.split_at(notes.len() - notes.len() % ROWS);
        write_rows(tx, many, ROWS)?;
        write_rows(tx, few, 1)?;
    }
    Ok(())
}

/// Writes notes of the same generations, `at_once` with each statement.
fn write_rows(
    tx: &Connection,
    notes: &[(&DeviceId, Seen)],
    at_once: usize,
) -> rusqlite::Result<()> {
    let Some((_, Seen { generation, by_token, .. })) = notes.first() else { return Ok(()) };
    let by_token = by_token.map(to_column);
    let mut statement = tx.prepare_cached(&upsert(at_once, "", "forgotten = 0"))?;
    for notes in notes.chunks(at_once) {
        bind(&mut statement, notes, by_token)?;
        if statement.raw_execute()? == notes.len() {
            continue;
        }
        // Seldom: some were forgotten. Setting this writes the entry of an index, too, so it is done for these alone.
        let back = upsert(at_once, "forgotten = 0,", "forgotten = 0 OR generation <= ?");
        let mut statement = tx.prepare_cached(&back)?;
        let parameter = bind(&mut statement, notes, by_token)?;
        statement.raw_bind_parameter(parameter + 1, to_column(*generation))?;
        statement.raw_execute()?;
    }
    Ok(())
}

/// Notes devices, also sets `set`, and changes those rows for which the condition holds.
fn upsert(rows: usize, set: &str, condition: &str) -> String {
    let rows = vec!["(?, ?, ?)"; rows].join(", ");
    let last_seen = later_of("last_seen", "excluded.last_seen");
    format!(
        "INSERT INTO devices (id, first_seen, last_seen) VALUES {rows}
             ON CONFLICT (id) DO UPDATE
             SET first_seen = min(ifnull(first_seen, excluded.first_seen), excluded.first_seen),
                 last_seen = {last_seen}, {set}
                 came_by_token = came_by_token OR ifnull(? >= generation, 0),
                 nonce = CASE WHEN ? >= generation THEN NULL ELSE nonce END
             WHERE {condition}"
    )
}

/// Binds what both statements begin with, and returns the last parameter's number.
fn bind(
    statement: &mut Statement<'_>,
    notes: &[(&DeviceId, Seen)],
    by_token: Option<i64>,
) -> rusqlite::Result<usize> {
    let mut parameter = 0;
    for (device, Seen { at, .. }) in notes {
        let at = to_column(*at);
        statement.raw_bind_parameter(parameter + 1, device.as_str())?;
        statement.raw_bind_parameter(parameter + 2, at)?;
        statement.raw_bind_parameter(parameter + 3, at)?;
        parameter += 3;
    }
    statement.raw_bind_parameter(parameter + 1, by_token)?;
    statement.raw_bind_parameter(parameter + 2, by_token)?;
    Ok(parameter + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::support::device;

    #[test]
    fn notes_are_written_many_at_once_and_one_by_one() {
        let database = Connection::open_in_memory().unwrap();
        let table =
            "CREATE TABLE devices (id TEXT PRIMARY KEY, first_seen INTEGER, last_seen INTEGER,
            generation INTEGER NOT NULL DEFAULT 0, forgotten INTEGER NOT NULL DEFAULT 0,
            came_by_token INTEGER NOT NULL DEFAULT 0, nonce BLOB) STRICT;
            INSERT INTO devices (id, generation, forgotten) VALUES ('10', 5, 1), ('11', 5, 1);";
        database.execute_batch(table).unwrap();
        let devices: Vec<_> = (0..ROWS + 9).map(|number| device(&number.to_string())).collect();
        // Of the two that were forgotten, one has a newer token.
        let generation = |device: &DeviceId| if device.as_str() == "11" { 5 } else { 0 };
        for at in [100, 200] {
            let seen =
                |device| (device, Seen { generation: generation(device), at, by_token: None });
            write_seen(&database, devices.iter().map(seen).collect()).unwrap();
        }
        let mut query = database
            .prepare("SELECT id FROM devices WHERE first_seen = 100 AND last_seen = 200")
            .unwrap();
        let seen: Vec<String> =
            query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(seen.len(), devices.len() - 1);
        assert!(seen.contains(&"11".into()) && !seen.contains(&"10".into()));
    }
}
