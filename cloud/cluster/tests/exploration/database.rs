//! The table of nodes in the database, as the store in PostgreSQL has it.

use crate::rules::{DEAD, PAUSE, WATCH};

pub(crate) const NODES: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) away: bool,
    pub(crate) start: u8,
    /// What its clock is ahead.
    pub(crate) ahead: i64,
    pub(crate) rows: [Option<Row>; NODES],
    pub(crate) last_epoch: u64,
    /// Whether several nodes serve together.
    pub(crate) several: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) serves: bool,
    pub(crate) epoch: u64,
    pub(crate) renewed: i64,
    pub(crate) steady: i64,
    pub(crate) start: u8,
}

impl Database {
    pub(crate) fn new(several: bool) -> Self {
        Self { away: false, start: 0, ahead: 0, rows: [None; NODES], last_epoch: 0, several }
    }

    fn renew(&mut self, node: usize, now: i64) {
        let start = self.start;
        let new = Row { serves: false, epoch: 0, renewed: now, steady: now, start };
        let row = self.rows[node].get_or_insert(new);
        if row.start != start || !(row.renewed..=row.renewed + PAUSE).contains(&now) {
            row.steady = now;
        }
        (row.renewed, row.start) = (now, start);
    }

    fn may_declare(&self, node: usize) -> bool {
        self.rows[node].is_some_and(|it| it.start == self.start && it.renewed >= it.steady + WATCH)
    }

    /// The node waits for a lease.
    pub(crate) fn wait(&mut self, node: usize, now: i64) {
        self.renew(node, now);
    }

    pub(crate) fn holds(&self, node: usize, epoch: u64) -> bool {
        self.rows[node].is_some_and(|row| row.serves && row.epoch == epoch)
    }

    /// Whether no lease has a lower epoch.
    pub(crate) fn leads(&self, epoch: u64) -> bool {
        !self.rows.iter().flatten().any(|row| row.serves && row.epoch < epoch)
    }

    /// Returns whether the node may declare others dead and whether it leads, or nothing if the lease has ended.
    pub(crate) fn renew_lease(
        &mut self,
        node: usize,
        epoch: u64,
        now: i64,
    ) -> Option<(bool, bool)> {
        self.holds(node, epoch).then(|| {
            self.renew(node, now);
            (self.may_declare(node), self.leads(epoch))
        })
    }

    fn not_in_future(&mut self, now: i64) {
        for row in self.rows.iter_mut().flatten() {
            row.renewed = row.renewed.min(now);
        }
    }

    /// The node, which has this lease, declares others dead.
    pub(crate) fn declare_dead(&mut self, node: usize, now: i64) {
        self.not_in_future(now);
        for (at, _) in self.would_end(node) {
            if at != node {
                self.rows[at].as_mut().unwrap().serves = false;
            }
        }
    }

    /// The epochs that the node would end by taking a lease, or all but its own by declaring others dead.
    pub(crate) fn would_end(&self, node: usize) -> Vec<(usize, u64)> {
        let Some(own) = self.rows[node] else { return Vec::new() };
        let is_expired = |row: &Row| row.renewed < own.renewed - DEAD && self.may_declare(node);
        let rows = self.rows.iter().enumerate().filter_map(|(at, row)| Some((at, (*row)?)));
        rows.filter(|(at, row)| row.serves && (*at == node || is_expired(row)))
            .map(|(at, row)| (at, row.epoch))
            .collect()
    }

    /// Takes the lease, unless another node has it and they serve alone.
    pub(crate) fn take(&mut self, node: usize, now: i64) -> Option<u64> {
        self.declare_dead(node, now);
        let mut others = self.rows.iter().enumerate().filter(|(at, _)| *at != node);
        if !self.several && others.any(|(_, row)| row.is_some_and(|row| row.serves)) {
            return None;
        }
        self.last_epoch += 1;
        let row = self.rows[node].as_mut().unwrap();
        (row.serves, row.epoch) = (true, self.last_epoch);
        Some(self.last_epoch)
    }
}
