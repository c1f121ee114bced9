//! Which connection of a device is the newest: the database says so by a fence. The time at which connections began, by
//! the clocks of their nodes, decides only while there is no database.

/// When a connection began, by the clock of its node, and the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "two numbers and nothing else")]
pub struct Stamp {
    /// The time.
    pub at: u64,
    /// The node, so that no two stamps are the same.
    pub node: u64,
}

/// What is known of a connection on another node or this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "two values and nothing else")]
pub struct Claim {
    /// When it began.
    pub stamp: Stamp,
    /// Its number among the connections of the device, given by the database: one above the last one. `None` until
    /// it is registered there.
    pub fence: Option<u64>,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closing {
    /// 4409: there is a newer connection, as the database says.
    Replaced,
    /// 1012: there seems to be a newer connection. Should that be wrong, as clocks differ, the device comes back.
    Restart,
}

/// A connection of a device to this node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceConnection {
    claim: Claim,
    /// The last fence that the database gave it.
    last_fence: Option<u64>,
    closing: Option<Closing>,
}

impl DeviceConnection {
    /// One that has just begun, and is not registered in the database.
    pub fn new(stamp: Stamp) -> Self {
        Self { claim: Claim { stamp, fence: None }, last_fence: None, closing: None }
    }

    /// What others learn of it.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The database has registered it. An answer that comes after another fence was given changes nothing.
    pub fn on_registered(&mut self, fence: u64) {
        self.last_fence = self.last_fence.max(Some(fence));
        self.claim.fence = self.last_fence;
    }

    /// Whether it was registered already: then only if it is still the last connection of the device that was, and
    /// otherwise [`DeviceConnection::on_outdated`]. So a node that was stopped replaces no connection that came meanwhile.
    pub fn registers_again(&self) -> bool {
        self.last_fence.is_some()
    }

    /// The lease of the node was lost: it has to be registered again before anything is written.
    pub fn on_lease_lost(&mut self) {
        self.claim.fence = None;
    }

    /// Another copy has taken the place of the database, such as a restored one, which may not know the last fences: it
    /// has to be registered as for the first time.
    pub fn on_database_replaced(&mut self) {
        (self.claim.fence, self.last_fence) = (None, None);
    }

    /// The database has refused a write or a registration, as its fence is not that of the device's last connection.
    pub fn on_outdated(&mut self) -> Closing {
        *self.closing.insert(Closing::Replaced)
    }

    /// There is another connection of the device. Says whether this one is closed; the other one's node judges by
    /// the same rule. While the database can be reached, only fences count: one that has none will get one.
    pub fn on_other(&mut self, other: Claim, database_away: bool) -> Option<Closing> {
        if self.closing.is_none() {
            self.closing = match (self.claim.fence, other.fence) {
                (Some(own), Some(other)) => (own < other).then_some(Closing::Replaced),
                _ if !database_away => None,
                _ => (self.claim.stamp < other.stamp).then_some(Closing::Restart),
            };
        }
        self.closing
    }

    /// The fence with which its messages may be acknowledged and messages for it be reserved; the database checks it
    /// with each write.
    pub fn writes_with(&self) -> Option<u64> {
        self.claim.fence.filter(|_| self.closing.is_none())
    }

    /// Why it has to be closed, if so.
    pub fn closing(&self) -> Option<Closing> {
        self.closing
    }
}
