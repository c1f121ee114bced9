//! `migrate`: moves the store from its file to a PostgreSQL database.

use std::path::{Path, PathBuf};

use clap::Args;
use fedecks_store::{SqliteStore, StoreError};

use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::config::{ConfigError, ConfigSources, Database};
use crate::error::ServerError;

#[derive(Args)]
pub(super) struct Migrate {
    /// The database, such as postgres://fedecks@db.example:5432/fedecks?sslmode=verify-full; it has to be empty
    #[arg(long, value_name = "URL", required_unless_present = "undo_retirement")]
    to: Option<String>,
    /// File with the password of the database: what will be `store_password_file`
    #[arg(long, value_name = "FILE", requires = "to")]
    password_file: Option<PathBuf>,
    /// Print what would be copied, and check the database; a server may run
    #[arg(long, requires = "to")]
    dry_run: bool,
    /// Make the file a store again after it was moved; what has changed in the database since is not in it
    #[arg(long, conflicts_with = "to")]
    undo_retirement: bool,
    #[command(flatten)]
    place: Place,
}

impl Migrate {
    pub(super) fn run(self, output: &mut Output<'_>) -> Result<(), CliError> {
        let Self { to, password_file, dry_run, undo_retirement: _, place } = self;
        let target = to.map(|url| target(&url, password_file)).transpose()?;
        let config = place.load_as_owner()?;
        let Some(file) = config.store.file() else {
            let (command, instead) = ("migrate", "leave `store` as it is until it was moved");
            let example = "fedecks-cloud migrate --to URL".to_owned();
            return Err(CliError::IsDatabase { command, instead, example });
        };
        if matches!(file.try_exists(), Ok(false)) {
            return Err(CliError::NoStore(file.to_owned()));
        }
        match target {
            None => undo(file, output),
            Some(target) => moving::run(file, &target, dry_run, output),
        }
    }
}

fn target(url: &str, password_file: Option<PathBuf>) -> Result<Database, CliError> {
    let has_file = password_file.is_some();
    Database::check(url, password_file, &ConfigSources::default()).map_err(|error| match error {
        ConfigError::Invalid { problem, .. } if has_file && problem.contains("password") => {
            let problem = "the URL has a password already".to_owned();
            CliError::WrongTarget { option: "--password-file", problem }
        }
        ConfigError::Invalid { problem, .. } => {
            let problem = problem.strip_prefix("store: ").unwrap_or(&problem).to_owned();
            CliError::WrongTarget { option: "--to", problem }
        }
        error => error.into(),
    })
}

fn undo(file: &Path, output: &mut Output<'_>) -> Result<(), CliError> {
    let shown = file.display();
    let text = match SqliteStore::undo_retirement(file).map_err(explain)? {
        None => format!("{shown}: is in use as the store, nothing to undo\n"),
        Some(database) => format!(
            "{shown}: is the store again, as it was when it was moved. Let no server run on {database} any more\n"
        ),
    };
    output.print(&text)
}

/// With the exit status that `serve` would have.
fn explain(error: StoreError) -> CliError {
    match error {
        StoreError::InUse { .. } => ServerError::StoreInUse(error).into(),
        StoreError::Missing { .. } | StoreError::Empty { .. } => ServerError::NoStore(error).into(),
        error => ServerError::Store(error).into(),
    }
}

#[cfg(not(feature = "postgres"))]
mod moving {
    //! In place of the above in a program without the feature `postgres`, which cannot move a store.

    use super::{CliError, Database, Output, Path};

    pub(super) fn run(
        _: &Path,
        target: &Database,
        _: bool,
        _: &mut Output<'_>,
    ) -> Result<(), CliError> {
        match *target {}
    }
}

#[cfg(feature = "postgres")]
mod moving {
    //! Moving, and what it prints.

    use std::time::{Duration, Instant};

    use fedecks_store::{MovedTable, Moving, MovingOutcome};

    use super::{CliError, Database, Output, Path, StoreError, explain};
    use crate::cli::output::print_notice;
    use crate::cli::place::start_runtime;

    /// How often something is printed of a table that takes long.
    const INTERVAL: Duration = Duration::from_secs(2);

    pub(super) fn run(
        file: &Path,
        target: &Database,
        dry_run: bool,
        output: &mut Output<'_>,
    ) -> Result<(), CliError> {
        let (url, runtime) = (target.url()?, start_runtime()?);
        let shown = file.display();
        if dry_run {
            let tables = runtime.block_on(Moving::plan(url.expose(), file)).map_err(failed)?;
            if Moving::is_served(file) {
                print_notice("note: a server uses the file; it has to be stopped before");
            }
            return match tables {
                None => output.print(&was_moved(file, target)),
                Some(tables) => {
                    output.print(&table(&tables))?;
                    output.print(&format!("{shown}: can be moved to {target}, which is empty\n"))
                }
            };
        }
        let outcome = runtime.block_on(async {
            let moving = Moving::to(url.expose(), file).await.map_err(failed)?;
            moving.run(progress()).await.map_err(failed)
        })?;
        match outcome {
            MovingOutcome::Moved(tables) => {
                output.print(&table(&tables))?;
                output.print(&format!(
                    "{shown}: moved to {target}, compared, and retired. Now set `store` to it in the configuration, and \
                     start the server\n"
                ))
            }
            _ => output.print(&was_moved(file, target)),
        }
    }

    fn was_moved(file: &Path, target: &Database) -> String {
        format!(
            "{}: was moved to {target} already, completely. Set `store` to it in the configuration, and start the \
             server\n",
            file.display()
        )
    }

    fn table(tables: &[MovedTable]) -> String {
        let line =
            |it: &MovedTable| format!("{}\t{} rows\t{} bytes\n", it.rows, it.count, it.bytes);
        tables.iter().map(line).collect()
    }

    /// Prints how far it is, each time when some time has passed.
    fn progress() -> impl FnMut(MovedTable) {
        let mut last = Instant::now();
        move |it| {
            if last.elapsed() >= INTERVAL {
                last = Instant::now();
                print_notice(&format!("{}: {} rows, {} bytes", it.rows, it.count, it.bytes));
            }
        }
    }

    fn failed(error: StoreError) -> CliError {
        match error {
            StoreError::Exists { .. } | StoreError::Foreign { .. } | StoreError::Newer { .. } => {
                CliError::TargetNotEmpty(error)
            }
            StoreError::Failed { .. } | StoreError::Busy { .. } => CliError::NotMigrated(error),
            error => explain(error),
        }
    }
}
