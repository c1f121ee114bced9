//! Every public type of the two libraries can be named through the one crate that a program depends on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests, helpers included.

use std::collections::BTreeSet;
use std::path::Path;

#[expect(unused_imports, reason = "that they can be named is the test")]
mod device {
    use fedecks_device::clock::{Alarm, BootClock};
    use fedecks_device::deliveries::{Deliveries, Delivery, InboxStatus, LaneInUse};
    use fedecks_device::error::{
        AuthError, ClientSendError, CredentialsError, EncodeError, GiveUp, InvalidDeviceId,
        InvalidUrl, LoginError, LogoutError, NotRegistered, ReconnectError, SendError, StartError,
        Stopped, StoreError, TermError, TlsError,
    };
    use fedecks_device::event::{Attempt, FailReason, LostReason, Phase, Stored, Time};
    use fedecks_device::health::{
        ClockHealth, ConnectionHealth, DiskQueueHealth, Failure, FailureHealth, FailureReason,
        InboxHealth, LaneQueueHealth, QueueHealth, StoreHealth, TokenHealth, Traffic,
    };
    use fedecks_device::kept::{
        DiskQueueStatus, Keep, KeepError, Kept, Lane, LaneQueueStatus, Place, QueueStatus,
        SendKeptError, Settled, SkipReason, Tag,
    };
    use fedecks_device::protocol::{
        Ack, AuthRequest, Budget, Capabilities, CloseCode, CloseReason, Content, DecodeError,
        DeliveryFrame, DeliveryOffer, Dialect, DownFrame, EncodedTerm, InstallationId, InvalidTag,
        InvalidToken, IssuedToken, JsonReader, JsonTerm, Limits, LiteralJson, OverBudget, Proof,
        Received, Refusal, RequestFrame, RequestId, Resume, Sequence, Skip, StreamId, Token,
        UndecodableContent, UpFrame, Welcome,
    };
    use fedecks_device::requests::{
        AlreadyAnswering, AnswerError, ClientRequestError, NoReply, NoReplyReason, ReplyError,
        Request, RequestError, Requests,
    };
    use fedecks_device::storage::{AtomicFile, DataDir, TokenStore};
    use fedecks_device::{
        Client, ClientBuilder, CloudUrl, Credentials, DeviceId, Event, Events, Identity, LoggedIn,
        Network, State, Status, Term, TlsOptions, Trust,
    };
}

#[expect(unused_imports, reason = "that they can be named is the test")]
mod cloud {
    use fedecks_cloud::auth::{
        AccessChange, AccessChangeKind, AccessChanges, AccessEvent, ApiTokens, Attempt,
        AuthenticatedBy, CertificateLogin, CertificateName, CertificateRules, Claims,
        FailedLoginLimits, FailedLogins, InvalidApiToken, KeyringError, TokenError,
        TooManyFailures,
    };
    use fedecks_cloud::messaging::backplane::{Backplane, Node, Payload, SubscribedNodes};
    use fedecks_cloud::messaging::{
        BackplaneError, ConnectionId, DeliverError, Effects, HubStats, InProcess, KeepDown,
        KeptContent, KeptMessage, KeptOutcome, LostNode, NoReply, NodeId, Presence, PresenceEvent,
        PresenceEvents, PresenceWatch, PublishError, RequestError, RequestOutcome, SendError,
        SendKeptError, SettledMessage, Subscription, Topic, TopicEvent, WatchEnded,
    };
    use fedecks_cloud::protocol::Refusal;
    use fedecks_cloud::serve::{
        CertificateRefused, CertificateReport, ClientAuth, ClientCertificate, Finding, IpNet,
        LiveCertificate, Peer, RateLimitKey, ServeError, ServeLimits, ServeMonitor, ServeStats,
        Server, Severity, Tls, TlsError, TrustAnchor, Upgrades,
    };
    use fedecks_cloud::session::{Disconnected, SessionError};
    use fedecks_cloud::store::{
        AccessState, Account, AccountStore, Acknowledged, Acknowledgement, Actor, ApiSecret,
        ApiToken, ApiTokenStore, AuditAction, AuditClass, AuditEntry, AuditKept, AuditLimits,
        AuditQuery, AuditRecord, AuditStore, BoxFuture, Cancelled, Clock, ClockSource,
        ConsumerAnswer, ConsumerDevices, ConsumerRecord, ConsumerStore, DeadLetter, DeviceCounts,
        DevicePattern, DeviceQuery, DeviceQueueStore, DeviceRecord, DeviceStore, DownEntry,
        DownLimits, DownMessage, DownRecord, DownRoom, DownSize, DownState, DownStatus, DownWindow,
        DropReason, Dropped, Enqueue, Epoch, ExpiredMessages, Fence, FloorFile, FloorFileError,
        ForgetOutcome, IdempotencyKey, InvalidAccountName, InvalidDevicePattern, InvalidLabel,
        InvalidRole, InvalidTokenName, KnownLogin, KnownLoginStore, Latency, LatencyHistogram,
        LogAcknowledged, LogQuery, LogStatus, LoggedContent, LoggedMessage, ManualClock,
        MessageStore, NewApiToken, NewDown, NewLogged, OpenConsumer, OpenStreams, QueueBudget,
        QueueItem, QueueStatus, QueueStore, Queued, Reservation, Reserved, ReservedItem, Role,
        Roles, Room, Settled, Settlement, SqliteStore, Step, Store, StoreError, StoreFuture,
        StoreMonitor, StoreOptions, StoreStats, StreamPosition, SystemClock,
    };
    use fedecks_cloud::store::{
        Admission, LeaseOutcome, NewNode, NodeLease, NodeRecord, NodeState, NodeStore, Renewal,
    };
    use fedecks_cloud::store::{
        Approval, ClaimId, ClaimQuery, ClaimRecord, ClaimSecret, ClaimState, ClaimStore, ClaimUse,
        InvalidClaimId, InvalidClaimSecret, InvalidRegistrationNonce, NewClaim, RegisteredBy,
        Registration, RegistrationNonce, RegistrationOutcome, RegistrationProof,
        RegistrationRefusal, RegistrationRequest, RegistrationStore, RevokeFilter, RevokedDevices,
    };
    use fedecks_cloud::{
        BuildError, Builder, Decision, Denylist, DeviceId, Fedecks, Handler, Hub, Keyring, Listen,
        Login, Message, Options, Outcome, Published, ServeOptions, Session, Term,
    };
}

/// Of sources that both libraries consist of: the types that occur in no signature of theirs.
const INTERNAL: [&str; 53] = [
    // The core's, which its driver needs.
    "Action",
    "AddressHistory",
    "AskId",
    "AuthHeader",
    "Candidate",
    "Config",
    "Connection",
    "DefaultRoute",
    "DeliveryKey",
    "DialError",
    "DiskLimits",
    "FoundStream",
    "KeepId",
    "KeptDelivery",
    "LoginId",
    "LogoutId",
    "Manager",
    "NetworkDebouncer",
    "NewContent",
    "NewKept",
    "Nonce",
    "Notice",
    "Observation",
    "Outgoing",
    "Positions",
    "QuestionId",
    "QueueDone",
    "QueueEntry",
    "QueueItem",
    "QueueJob",
    "QueueLost",
    "QueueOpened",
    "QueueUsage",
    "QueuedMessage",
    "Routes",
    "SendId",
    "UnexpectedFrame",
    "Unreachable",
    // Of the accept loop, which the gateway takes connections from.
    "Socket",
    "Task",
    "UpgradeHandler",
    "UpgradeHead",
    "UpgradedSocket",
    // With the feature `postgres`.
    "LeaseGate",
    "MovedTable",
    "Moving",
    "MovingOutcome",
    "PostgresOptions",
    "PostgresStore",
    "PostgresUrl",
    // With the feature `accounts`.
    "AccountHandler",
    "RegistrationObserver",
    "PasswordError",
];

#[test]
fn every_public_type_is_named_here() {
    let here = include_str!("names.rs");
    let words: BTreeSet<&str> = here.split(|c: char| !c.is_alphanumeric()).collect();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut types = BTreeSet::new();
    for folder in [
        "device/client",
        "device/core",
        "protocol",
        "cloud/gateway",
        "cloud/edge",
        "cloud/store",
    ] {
        public_types(&checkout.join(folder).join("src"), &mut types);
    }
    assert!(
        types.contains("Client") && types.contains("Fedecks"),
        "{types:?}"
    );
    let missing: Vec<_> = types
        .iter()
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "named neither as reachable nor as internal: {missing:?}"
    );
    for name in INTERNAL {
        assert!(types.contains(name), "{name} is no longer a public type");
    }
}

fn public_types(folder: &Path, types: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            public_types(&path, types);
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["pub", "struct" | "enum" | "trait" | "type", name, ..] = words[..] {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                types.insert(name.to_owned());
            }
        }
    }
}
