//! Writes lines of the audit log. Reading them is in `audit`.

use std::collections::BTreeMap;

use fedecks_protocol::DeviceId;

use super::call::Tx;
use super::columns::{get, text, to_column};
use super::failure::Failure;
use crate::audit::{AuditClass, AuditEntry, AuditLimits};

#[derive(Debug, Clone, Copy)]
pub(super) struct AuditLog {
    pub(super) limits: AuditLimits,
}

/// How many old lines are deleted at a time, besides as many as are added, so that nothing waits for it.
const STEP: i64 = 500;

const ADD: &str = "INSERT INTO audit
        (sequence, class, number, at, actor, address, action, device, detail)
    SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[],
        $6::text[], $7::text[], $8::text[], $9::text[])";

const TRIM: &str = "DELETE FROM audit WHERE sequence IN
    (SELECT sequence FROM audit WHERE class = $1 AND number <= $2 ORDER BY number LIMIT $3)";

/// The first lines of a class, in order, as far as they are older than `$2`; at most [`STEP`]. Lines of a clock that
/// was ahead of `$4` are passed over, or they would keep all that follow. The newest line of all stays.
const DELETE_OLD: &str = "DELETE FROM audit WHERE sequence IN (
    SELECT sequence FROM
        (SELECT sequence, at FROM audit WHERE class = $1 AND at <= $4 ORDER BY sequence LIMIT $3)
        AS first
    WHERE at < $2 AND sequence < (SELECT max(sequence) FROM audit))";

impl AuditLog {
    /// Adds lines, in the transaction of the change that they are about, and deletes the first ones of their class if
    /// there are too many. It is the last step of a transaction: from here to its end, all others that add lines wait.
    pub(super) async fn add(self, tx: &Tx, entries: &[AuditEntry]) -> Result<(), Failure> {
        let mut counts = BTreeMap::<u8, (AuditClass, i64)>::new();
        for entry in entries {
            let class = entry.action.class();
            counts.entry(class.number()).or_insert((class, 0)).1 += 1;
        }
        let mut lines = Lines::default();
        let (mut sequence, mut numbers) = reserve(tx, &counts).await?;
        for entry in entries {
            sequence += 1;
            let class = entry.action.class().number();
            let number = numbers.entry(class).or_default();
            *number += 1;
            lines.push(entry, (sequence, class, *number));
        }
        lines.insert(tx).await?;
        for (number, (class, count)) in counts {
            let keep = i64::from(self.limits.of(class).lines.max(1));
            let newest = numbers.get(&number).copied().unwrap_or_default();
            if newest > keep {
                // At least as many as were added, or the log would grow.
                let most = STEP + count;
                tx.execute(TRIM, &[&i16::from(number), &(newest - keep), &most]).await?;
            }
        }
        Ok(())
    }

    /// Deletes some of the lines that are too old, and returns how many.
    pub(super) async fn expire(self, tx: &Tx, now: u64) -> Result<usize, Failure> {
        let mut deleted = 0;
        for class in AuditClass::ALL {
            let before = to_column(now.saturating_sub(self.limits.of(*class).age.as_secs()));
            let number = i16::from(class.number());
            deleted += tx.execute(DELETE_OLD, &[&number, &before, &STEP, &to_column(now)]).await?;
        }
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }
}

/// Takes numbers for the lines of each class. Returns those before the first: of all lines, and of each class.
async fn reserve(
    tx: &Tx,
    counts: &BTreeMap<u8, (AuditClass, i64)>,
) -> Result<(i64, BTreeMap<u8, i64>), Failure> {
    let mut sets = String::new();
    for (class, (_, count)) in counts {
        sets.push_str(&format!(", of_class[{class}] = of_class[{class}] + {count}"));
    }
    let total: i64 = counts.values().map(|(_, count)| count).sum();
    let sql = format!(
        "UPDATE audit_lines SET newest = newest + {total}{sets} RETURNING newest, of_class"
    );
    // Too many different statements to be kept prepared, except for those of single lines.
    let row = if total == 1 { tx.query_one(&sql, &[]).await? } else { tx.query_once(&sql).await? };
    let of_class: Vec<i64> = get(&row, 1)?;
    let mut before = BTreeMap::new();
    for (class, (_, count)) in counts {
        let newest = of_class.get(usize::from(*class) - 1).copied();
        before.insert(*class, newest.unwrap_or_default() - count);
    }
    Ok((get::<i64>(&row, 0)? - total, before))
}

/// The columns of new lines.
#[derive(Default)]
struct Lines {
    sequences: Vec<i64>,
    classes: Vec<i16>,
    numbers: Vec<i64>,
    times: Vec<i64>,
    actors: Vec<String>,
    addresses: Vec<Option<String>>,
    actions: Vec<&'static str>,
    devices: Vec<Option<String>>,
    details: Vec<Option<String>>,
}

impl Lines {
    fn push(&mut self, entry: &AuditEntry, (sequence, class, number): (i64, u8, i64)) {
        self.sequences.push(sequence);
        self.classes.push(class.into());
        self.numbers.push(number);
        self.times.push(to_column(entry.at));
        self.actors.push(text(entry.by.as_str()).into_owned());
        self.addresses.push(entry.by.address().map(|address| address.to_string()));
        self.actions.push(entry.action.as_str());
        self.devices.push(entry.device.as_ref().map(DeviceId::to_string));
        self.details.push(entry.kept_detail().map(|detail| text(detail).into_owned()));
    }

    async fn insert(&self, tx: &Tx) -> Result<(), Failure> {
        let Self { sequences, classes, numbers, times, actors, addresses, .. } = self;
        let Self { actions, devices, details, .. } = self;
        tx.execute(
            ADD,
            &[sequences, classes, numbers, times, actors, addresses, actions, devices, details],
        )
        .await
        .map(drop)
    }
}
