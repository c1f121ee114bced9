//! Moves the content of a file to a PostgreSQL database: in one transaction of each, so that an attempt that is
//! interrupted leaves nothing, and can be repeated.
//!
//! No server may use the file meanwhile, and nothing else writes to it. When everything was read back from the database
//! and is the same, the file is marked as retired, and then the transaction in the database is committed. If that is
//! interrupted in between, the file is retired and the database empty: neither can be served on, and the next attempt
//! does it all again.

mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::path::Path;

use ring::digest::{Context, Digest, SHA256};

use crate::error::StoreError;
use crate::postgres::{FoundTarget, Import, NotCommitted};
use crate::sqlite::MovedFile;

use rows::Rows;
use tables::{DERIVED, LISTED, TABLES, Table};

/// A file that is moved to a database, see [`Moving::to`].
pub struct Moving {
    file: MovedFile,
    import: Import,
    is_done: bool,
}

/// A table that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedTable {
    /// What its rows are, such as `devices`.
    pub rows: &'static str,
    /// How many rows it has.
    pub count: u64,
    /// How many bytes they have on the way to the database.
    pub bytes: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MovingOutcome {
    /// The file was moved now.
    Moved(Vec<MovedTable>),
    /// An earlier attempt had moved it, and was interrupted before it could say so.
    WasMoved,
}

impl Moving {
    /// Prepares to move a file to the database at a URL, as for [`PostgresStore::open`](crate::PostgresStore::open).
    /// The database has to be empty, or have this file's content by an earlier attempt. Fails with
    /// [`StoreError::InUse`] if a server uses the file or the database. Until this is dropped no server can use the
    /// file, and nothing else can write to it.
    ///
    /// Blocks on the disk, also later: for a program that does nothing else.
    pub async fn to(url: &str, file: &Path) -> Result<Self, StoreError> {
        Self::open(url, file, true).await
    }

    /// Returns what would be moved, and checks the database. Changes nothing, except that a file of an older version is
    /// migrated. A server may use the file. `None` if it was moved already.
    pub async fn plan(url: &str, file: &Path) -> Result<Option<Vec<MovedTable>>, StoreError> {
        let plan = Self::open(url, file, false).await?;
        if plan.is_done {
            return Ok(None);
        }
        let mut tables = Vec::new();
        for table in TABLES {
            let rows = plan.read(table, async |rows| {
                rows.skip_batch();
                Ok(())
            });
            tables.push(moved(table, &rows.await?));
        }
        Ok(Some(tables))
    }

    /// Whether a server uses the file at the moment.
    pub fn is_served(file: &Path) -> bool {
        MovedFile::is_in_use(file)
    }

    async fn open(url: &str, file: &Path, alone: bool) -> Result<Self, StoreError> {
        let file = MovedFile::open(file, alone)?;
        let import = Import::begin(url, alone).await?;
        let mut moving = Self { file, import, is_done: false };
        moving.is_done = moving.check().await?;
        Ok(moving)
    }

    /// Whether the file was moved already.
    async fn check(&self) -> Result<bool, StoreError> {
        let target = self.import.location();
        let retired = self.file.retired();
        if let Some(other) = retired.filter(|other| *other != target) {
            let database = other.to_owned();
            return Err(StoreError::Retired {
                location: self.file.location().to_owned(),
                database,
            });
        }
        match self.import.inspect().await? {
            FoundTarget::Empty => Ok(false),
            FoundTarget::Store { installation, .. }
                if retired.is_some() && installation == self.file.installation()? =>
            {
                Ok(true)
            }
            FoundTarget::Store { server: Some(_), .. } => {
                Err(StoreError::InUse { location: target.to_owned() })
            }
            FoundTarget::Store { .. } => {
                Err(StoreError::Exists { what: "store", name: target.to_owned() })
            }
        }
    }

    /// Moves it. `progress` is called with how much of a table was written so far. When this returns, the database is
    /// complete and on disk, and the file is retired.
    pub async fn run(
        self,
        mut progress: impl FnMut(MovedTable),
    ) -> Result<MovingOutcome, StoreError> {
        if self.is_done {
            return Ok(MovingOutcome::WasMoved);
        }
        let import = &self.import;
        import.make_tables().await?;
        let mut done = Vec::new();
        for table in TABLES {
            import.run(&format!("DELETE FROM {}", table.name)).await?;
            let copy = table.copy_in();
            let rows = self.read(table, async |rows| {
                let Some(batch) = rows.batch() else { return Ok(()) };
                import.copy_in(&copy, batch).await?;
                progress(moved(table, rows));
                Ok(())
            });
            let rows = rows.await?;
            done.push(moved(table, &rows));
            self.compare(table, rows.digest()).await?;
            if let Some(number) = table.numbered {
                self.continue_numbers(table.name, number).await?;
            }
        }
        import.run(DERIVED).await?;
        if import.number(LISTED).await? != 0 {
            return Err(self.differs("list of devices"));
        }
        self.finish().await?;
        Ok(MovingOutcome::Moved(done))
    }

    /// Reads a table of the file, and has each batch of it used.
    async fn read(
        &self,
        table: &Table,
        mut use_batch: impl AsyncFnMut(&mut Rows) -> Result<(), StoreError>,
    ) -> Result<Rows, StoreError> {
        let failed = |error| self.file.failed("read", error);
        let mut rows = Rows::new();
        let mut statement = self.file.read(&table.select())?;
        let mut found = statement.query([]).map_err(failed)?;
        while let Some(row) = found.next().map_err(failed)? {
            rows.push(row, table.columns.iter().map(|(_, kind)| kind)).map_err(failed)?;
            if rows.is_full() {
                use_batch(&mut rows).await?;
            }
        }
        use_batch(&mut rows).await?;
        Ok(rows)
    }

    /// Reads a table back from the database.
    async fn compare(&self, table: &Table, written: Digest) -> Result<(), StoreError> {
        let mut found = Context::new(&SHA256);
        self.import.copy_out(&table.copy_out(), |piece| found.update(piece)).await?;
        if found.finish().as_ref() == written.as_ref() {
            return Ok(());
        }
        Err(self.differs(table.rows))
    }

    fn differs(&self, what: &str) -> StoreError {
        let problem = format!("what was read back of the {what} is not what was written");
        StoreError::failed(self.import.location(), "fill", problem)
    }

    /// The database numbers new rows from the newest number of the file on.
    async fn continue_numbers(&self, table: &str, number: &str) -> Result<(), StoreError> {
        let newest = self.file.newest(table, number)?;
        if newest > 0 {
            let sequence = format!("pg_get_serial_sequence('{table}', '{number}')");
            self.import.number(&format!("SELECT setval({sequence}, {newest})")).await?;
        }
        Ok(())
    }

    /// Retires the file, and completes the database.
    async fn finish(&self) -> Result<(), StoreError> {
        let location = self.import.location();
        self.file.retire(location)?;
        match self.import.commit().await {
            Ok(()) => Ok(()),
            Err(NotCommitted::RolledBack(error)) => {
                self.file.take_back()?;
                Err(error)
            }
            Err(NotCommitted::Unknown(error)) => {
                let problem = format!(
                    "{error}. The database may be complete or empty, and the file is retired: move it again to find \
                     out, which copies it again if necessary"
                );
                Err(StoreError::failed(location, "complete", problem))
            }
        }
    }
}

fn moved(table: &Table, rows: &Rows) -> MovedTable {
    let (count, bytes) = rows.size();
    MovedTable { rows: table.rows, count, bytes }
}
