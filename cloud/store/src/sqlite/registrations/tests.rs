//! Tests of registrations beyond the contract: the migration.

use rusqlite::Connection;

use crate::conformance::support::device;
use crate::devices::DeviceStore;
use crate::registrations::{
    RegistrationOutcome, RegistrationProof, RegistrationRefusal, RegistrationRequest,
    RegistrationStore,
};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::tests::{BEFORE_CLAIMS, new_store};

#[tokio::test]
async fn devices_of_version_8_keep_their_tokens_and_ids() {
    let (_dir, path, store) = new_store();
    drop(store);
    // As that version left it: one device that was seen, one that was revoked, one that was forgotten.
    let database = Connection::open(&path).unwrap();
    database.execute_batch(BEFORE_CLAIMS).unwrap();
    database
        .execute_batch(
            "INSERT INTO devices (id, first_seen, last_seen, generation, change, label, forgotten) VALUES
                 ('seen', 10, 20, 0, NULL, 'Pump', 0), ('revoked', 10, 20, 7, 1, NULL, 0),
                 ('forgotten', NULL, NULL, 9, 2, NULL, 1);
             PRAGMA user_version = 8;",
        )
        .unwrap();
    drop(database);
    let store = SqliteStore::open(&path).unwrap();
    let seen = store.device(&device("seen")).await.unwrap().unwrap();
    assert_eq!((seen.label.as_deref(), seen.last_seen), (Some("Pump"), Some(20)));
    assert_eq!((seen.generation, seen.registration), (0, None), "its tokens are good");
    let revoked = store.device(&device("revoked")).await.unwrap().unwrap();
    assert_eq!((revoked.generation, revoked.registration), (7, None));
    for (id, expected) in
        [("seen", None), ("revoked", None), ("forgotten", Some(9)), ("new", Some(0))]
    {
        let request = RegistrationRequest {
            device: device(id),
            proof: RegistrationProof::Account("marvin".to_owned()),
            nonce: None,
            address: None,
            at: 30,
            in_use: false,
            may_reregister: false,
        };
        let outcome = store.register(&request).await.unwrap();
        let generation = match outcome {
            RegistrationOutcome::Registered { returned: false, generation, .. } => Some(generation),
            RegistrationOutcome::Refused(RegistrationRefusal::IdTaken) => None,
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!(generation, expected, "{id}");
    }
}
