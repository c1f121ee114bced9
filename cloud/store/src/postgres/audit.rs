//! Reads the audit log in PostgreSQL.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{address, device_id, get, to_column, unsigned};
use super::failure::Failure;
use super::lanes::Lane;
use super::store::PostgresStore;
use crate::audit::{AuditAction, AuditEntry, AuditQuery, AuditRecord, AuditStore};
use crate::boxed::StoreFuture;

impl AuditStore for PostgresStore {
    fn audit_later(&self, entry: AuditEntry) {
        self.shared.notes.audit(entry);
    }

    fn audit_page<'a>(&'a self, query: &'a AuditQuery) -> StoreFuture<'a, Vec<AuditRecord>> {
        if query.by.as_ref().is_some_and(|by| by.contains('\0')) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.read(Lane::Read, query.clone(), |tx, query| {
            Box::pin(async move {
                let AuditQuery { before, class, device, by, limit } = query;
                let before = before.map_or(i64::MAX, to_column);
                let limit = i64::from((*limit).min(AuditQuery::MAX));
                let class = class.map(|class| i16::from(class.number()));
                let device = device.as_ref().map(|device| device.as_str());
                let mut values: Vec<&(dyn ToSql + Sync)> = vec![&before, &limit];
                let mut sql =
                    "SELECT sequence, at, actor, action, device, detail, address FROM audit
                    WHERE sequence < $1"
                        .to_owned();
                let filters: [(&str, Option<&(dyn ToSql + Sync)>); 3] = [
                    ("device", device.as_ref().map(|device| device as _)),
                    ("actor", by.as_ref().map(|by| by as _)),
                    ("class", class.as_ref().map(|class| class as _)),
                ];
                for (column, value) in filters {
                    let Some(value) = value else { continue };
                    values.push(value);
                    sql.push_str(&format!(" AND {column} = ${}", values.len()));
                }
                sql.push_str(" ORDER BY sequence DESC LIMIT $2");
                tx.query(&sql, &values).await?.iter().map(record).collect()
            })
        })
    }

    fn expire_audit(&self, now: u64) -> StoreFuture<'_, usize> {
        let log = self.shared.log;
        self.write(Lane::Bulk, (), move |tx, ()| Box::pin(log.expire(tx, now)))
    }
}

fn record(row: &Row) -> Result<AuditRecord, Failure> {
    let action: &str = get(row, 3)?;
    let unknown = || Failure::damaged(format!("{action:?} is not an action of the audit log"));
    let has_device = get::<Option<&str>>(row, 4)?.is_some();
    Ok(AuditRecord {
        sequence: unsigned(row, 0)?,
        at: unsigned(row, 1)?,
        by: get(row, 2)?,
        address: address(row, 6)?,
        action: AuditAction::from_word(action).ok_or_else(unknown)?,
        device: has_device.then(|| device_id(row, 4)).transpose()?,
        detail: get(row, 5)?,
    })
}
