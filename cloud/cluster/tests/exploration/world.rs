//! The nodes, the database, and what is on the way between them.

use std::time::Duration;

use fedecks_cluster::lease::{Call, OwnLease, Standing};

use crate::database::{Database, NODES};
use crate::rules::{IDLE, Rules, times};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) now: u64,
    pub(crate) database: Database,
    pub(crate) nodes: [Node; NODES],
    /// The first rule that was broken.
    pub(crate) broken: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) lease: OwnLease,
    /// On the way to the database, or waiting there.
    request: Option<Request>,
    /// On the way back.
    answer: Option<Answer>,
    /// A request that the node has given up.
    stray: Option<Request>,
    pub(crate) transaction: Option<Transaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Request {
    Begin,
    /// The second half of `Begin`.
    Take,
    Renew(u64),
    /// Follows `Renew` where several serve, for a node that may declare others dead.
    Declare(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Begun(u64, bool),
    Held,
    /// Whether the node may declare others dead, and whether it leads.
    Renewed(bool, bool),
    Lost,
}

/// An open transaction in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Transaction {
    epoch: u64,
    /// Whether its node believed to lead.
    leads: bool,
    /// Whether COMMIT is on the way.
    committing: bool,
    idle: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Tick,
    /// A node begins the call that is due.
    Call(usize),
    /// The database handles its request.
    Process(usize),
    /// The node gets the answer.
    Receive(usize),
    /// The request or its answer is lost, and the node gives up.
    Lose(usize),
    /// The node gives up, and the request arrives later.
    Delay(usize),
    /// The database handles such a request.
    Stray(usize),
    /// A node begins a transaction.
    Begin(usize),
    /// It sends COMMIT.
    Commit(usize),
    /// The database commits.
    Committed(usize),
    Pause,
    Resume,
    Restart,
    Jump(i64),
}

impl World {
    pub(crate) fn new(rules: Rules) -> Self {
        let node = |at: usize| Node {
            lease: OwnLease::new(times(), clock(at, 0)),
            request: None,
            answer: None,
            stray: None,
            transaction: None,
        };
        let nodes = std::array::from_fn(node);
        Self { rules, now: 0, database: Database::new(rules.several), nodes, broken: None }
    }

    /// Returns false if it cannot happen now.
    pub(crate) fn apply(&mut self, action: Action) -> bool {
        let done = self.perform(action).is_some();
        if done && self.rules.gate && !self.rules.jumps {
            if !self.rules.several && self.serving().len() > 1 {
                self.broken.get_or_insert("two serve");
            }
            if self.leading().len() > 1 {
                self.broken.get_or_insert("two lead");
            }
        }
        done
    }

    fn perform(&mut self, action: Action) -> Option<()> {
        let away = self.database.away;
        match action {
            Action::Tick => self.tick(),
            Action::Call(at) => {
                let now = clock(at, self.now);
                let node = &mut self.nodes[at];
                let (_, call) = node.lease.next_call().filter(|(due, _)| *due <= now)?;
                node.lease.on_calling(now);
                node.request = Some(match call {
                    Call::Renew { epoch } => Request::Renew(epoch),
                    _ => Request::Begin,
                });
            }
            Action::Process(at) => {
                let request = self.nodes[at].request.filter(|_| !away)?;
                let (request, answer) = self.process(at, request)?;
                let node = &mut self.nodes[at];
                (node.request, node.answer) = (request, answer.or(node.answer));
            }
            Action::Stray(at) => {
                let request = self.nodes[at].stray.filter(|_| !away)?;
                self.nodes[at].stray = self.process(at, request)?.0;
            }
            Action::Receive(at) => self.receive(at)?,
            Action::Lose(at) | Action::Delay(at) => {
                let now = clock(at, self.now);
                let node = &mut self.nodes[at];
                let (request, answer) = (node.request, node.answer);
                match action {
                    Action::Delay(_) => node.stray = Some(request?),
                    _ => request.map(drop).or(answer.map(drop))?,
                }
                (node.request, node.answer) = (None, None);
                node.lease.on_failed(now);
            }
            Action::Begin(at) => {
                let epoch = self.writes(at).filter(|_| !away)?;
                if self.nodes[at].transaction.is_some()
                    || (self.rules.lock && !self.database.holds(at, epoch))
                {
                    return None;
                }
                let clock = if self.rules.gate { clock(at, self.now) } else { Duration::ZERO };
                let leads = self.nodes[at].lease.leads(clock);
                let transaction = Transaction { epoch, leads, committing: false, idle: 0 };
                self.nodes[at].transaction = Some(transaction);
            }
            Action::Commit(at) => {
                let epoch = self.writes(at);
                let transaction = self.nodes[at].transaction.as_mut()?;
                if transaction.committing || epoch != Some(transaction.epoch) {
                    return None;
                }
                transaction.committing = true;
            }
            Action::Committed(at) => {
                let node = &mut self.nodes[at];
                let transaction = node.transaction.filter(|it| it.committing && !away)?;
                node.transaction = None;
                if !self.database.holds(at, transaction.epoch) {
                    self.broken.get_or_insert("committed after the lease had ended");
                }
                if transaction.leads && !self.database.leads(transaction.epoch) {
                    self.broken.get_or_insert("committed as the leader while another one leads");
                }
            }
            Action::Pause => {
                (self.rules.outages && !away).then_some(())?;
                self.database.away = true;
            }
            Action::Resume => {
                away.then_some(())?;
                self.database.away = false;
            }
            Action::Restart => {
                self.rules.outages.then_some(())?;
                self.database.away = false;
                self.database.start += 1;
                for node in &mut self.nodes {
                    node.transaction = None;
                    node.stray = None;
                }
            }
            Action::Jump(by) => {
                self.rules.jumps.then_some(())?;
                self.database.ahead += by;
            }
        }
        Some(())
    }

    fn tick(&mut self) {
        self.now += 1;
        for node in &mut self.nodes {
            if let Some(transaction) = &mut node.transaction {
                transaction.idle += 1;
                // Paused, it looks at its timers only once it continues.
                if transaction.idle >= IDLE && !self.database.away {
                    node.transaction = None;
                }
            }
        }
    }

    /// What remains of a request, and its answer; nothing if it has to wait.
    fn process(
        &mut self,
        at: usize,
        request: Request,
    ) -> Option<(Option<Request>, Option<Answer>)> {
        let now = i64::try_from(self.now).unwrap() + self.database.ahead;
        let answer = match request {
            Request::Begin => {
                self.database.wait(at, now);
                return Some((Some(Request::Take), None));
            }
            Request::Take => {
                let ends = self.database.would_end(at);
                if self.has_open(&ends) {
                    return None;
                }
                let last = self.database.last_epoch;
                let taken = self.database.take(at, now);
                if taken.is_some_and(|epoch| epoch <= last) {
                    self.broken.get_or_insert("an epoch came again");
                }
                let begun = |epoch| Answer::Begun(epoch, self.database.leads(epoch));
                taken.map_or(Answer::Held, begun)
            }
            Request::Renew(epoch) => {
                let renewed = self.database.renew_lease(at, epoch, now);
                let declares = self.rules.several && renewed.is_some_and(|(may, _)| may);
                let next = declares.then_some(Request::Declare(epoch));
                let answer =
                    renewed.map_or(Answer::Lost, |(may, leads)| Answer::Renewed(may, leads));
                return Some((next, Some(answer)));
            }
            Request::Declare(epoch) => {
                if self.database.holds(at, epoch) {
                    let mut ends = self.database.would_end(at);
                    ends.retain(|(other, _)| *other != at);
                    if self.has_open(&ends) {
                        return None;
                    }
                    self.database.declare_dead(at, now);
                }
                return Some((None, None));
            }
        };
        Some((None, Some(answer)))
    }

    /// Whether one of these leases has a transaction for which its end waits.
    fn has_open(&self, ends: &[(usize, u64)]) -> bool {
        let is_open = |(at, epoch): &(usize, u64)| {
            self.nodes[*at].transaction.is_some_and(|it| it.epoch == *epoch)
        };
        self.rules.lock && ends.iter().any(is_open)
    }

    fn receive(&mut self, at: usize) -> Option<()> {
        let now = clock(at, self.now);
        let node = &mut self.nodes[at];
        match node.answer.take()? {
            Answer::Begun(epoch, leads) => node.lease.on_begun(epoch, leads),
            Answer::Held => node.lease.on_held(),
            Answer::Renewed(may_declare, leads) => node.lease.on_renewed(may_declare, leads),
            Answer::Lost => node.lease.on_lost(now),
        }
        Some(())
    }

    /// The epoch under which a node serves, as it believes.
    pub(crate) fn serves(&self, at: usize) -> Option<u64> {
        match self.nodes[at].lease.standing(clock(at, self.now)) {
            Standing::Serves { epoch } => Some(epoch),
            _ => None,
        }
    }

    fn serving(&self) -> Vec<usize> {
        (0..NODES).filter(|at| self.serves(*at).is_some()).collect()
    }

    /// The nodes that lead, as they believe.
    fn leading(&self) -> Vec<usize> {
        (0..NODES).filter(|at| self.nodes[*at].lease.leads(clock(*at, self.now))).collect()
    }

    /// The epoch under which a node serves, for one that may have no clock.
    fn writes(&self, at: usize) -> Option<u64> {
        match self.nodes[at].lease.next_call() {
            Some((_, Call::Renew { epoch })) if !self.rules.gate => Some(epoch),
            _ => self.serves(at),
        }
    }

    /// Has these nodes do at once what is due.
    pub(crate) fn run(&mut self, nodes: &[usize]) {
        for at in nodes {
            // With a call that was lost, and one that follows at once.
            for _ in 0..3 {
                self.apply(Action::Call(*at));
                if self.database.away {
                    self.apply(Action::Lose(*at));
                }
                while self.apply(Action::Process(*at)) {}
                self.apply(Action::Receive(*at));
            }
        }
    }

    /// The same for some ticks.
    pub(crate) fn pass(&mut self, nodes: &[usize], ticks: u64) {
        for _ in 0..ticks {
            self.run(nodes);
            self.apply(Action::Tick);
        }
        self.run(nodes);
    }

    /// From now on nothing goes wrong. Returns who serves in the end, or leads if all serve.
    pub(crate) fn finish(&mut self) -> Option<usize> {
        self.database.away = false;
        for node in &mut self.nodes {
            node.stray = None;
        }
        self.pass(&[0, 1, 2], 20);
        let (serving, leading) = (self.serving(), self.leading());
        self.pass(&[0, 1, 2], 6);
        let (still, leads) = (self.serving(), self.leading());
        let wanted = if self.rules.several { NODES } else { 1 };
        match (&leading[..], &leads[..]) {
            ([one], [same]) if one == same && serving.len() == wanted && still == serving => {
                Some(*one)
            }
            _ => None,
        }
    }
}

/// The clock of a node; each has another one.
pub(crate) fn clock(node: usize, now: u64) -> Duration {
    Duration::from_secs(now + 1000 * node as u64)
}
