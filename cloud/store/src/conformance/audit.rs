//! The contract of the audit log.

use super::accounts::accounts;
use super::api_tokens::api_tokens;
use super::devices::devices;
use super::support::{device, is_recent, until};
use crate::accounts::AccountStore;
use crate::api_tokens::ApiTokenStore;
use crate::audit::{Actor, AuditAction, AuditClass, AuditEntry, AuditQuery, AuditStore};
use crate::devices::DeviceStore;

/// Tests the contract of [`AuditStore`] on an empty store: runs [`accounts`], [`devices`] and
/// [`api_tokens`], checks the lines that they left in the log, then adds one without a change.
pub async fn audit<S>(store: &S)
where
    S: AccountStore + DeviceStore + ApiTokenStore + AuditStore,
{
    accounts(store).await;
    devices(store).await;
    api_tokens(store).await;

    let all = store.audit_page(&AuditQuery::default()).await.unwrap();
    let oldest = all.last().unwrap();
    assert_eq!(oldest.action, AuditAction::AccountAdded);
    assert_eq!((oldest.by.as_str(), oldest.detail.as_deref()), ("cli", Some("marvin")));
    assert!(is_recent(oldest.at));
    assert!(all.windows(2).all(|pair| pair[0].sequence > pair[1].sequence));
    for record in &all {
        let detail = record.detail.as_deref().unwrap_or_default();
        assert!(!detail.contains("fdk_"), "{record:?}");
    }

    let of_device = AuditQuery { device: Some(device("passing")), ..AuditQuery::default() };
    let page = store.audit_page(&of_device).await.unwrap();
    let actions: Vec<_> = page.iter().map(|record| record.action).collect();
    let expected = [
        AuditAction::DeviceForgotten,
        AuditAction::DeviceUnblocked,
        AuditAction::DeviceBlocked,
        AuditAction::DeviceLabelled,
    ];
    assert_eq!(actions, expected, "calls that changed nothing are not logged");

    let address = [192, 0, 2, 1].into();
    let by = Actor::token("ci").from_address(address);
    store.audit_later(AuditEntry {
        at: 90,
        by,
        action: AuditAction::MessageSent,
        device: Some(device("passing")),
        detail: Some("x".repeat(1000)),
    });
    let one = AuditQuery { limit: 1, ..of_device.clone() };
    let latest = until(async || {
        let latest = store.audit_page(&one).await.unwrap().remove(0);
        (latest.action == AuditAction::MessageSent).then_some(latest)
    })
    .await;
    assert_eq!((latest.by.as_str(), latest.at), ("token:ci", 90));
    assert_eq!(latest.address, Some(address));
    assert_eq!(latest.detail.unwrap().len(), 256);
    let before = AuditQuery { before: Some(latest.sequence), ..of_device.clone() };
    assert_eq!(store.audit_page(&before).await.unwrap(), page);

    for (class, by, device_id, expected) in [
        (Some(AuditClass::Messages), None, None, vec![AuditAction::MessageSent]),
        (Some(AuditClass::Logins), None, None, vec![]),
        (None, Some("token:ci"), None, vec![AuditAction::MessageSent]),
        (Some(AuditClass::Devices), Some("token:ci"), Some("passing"), vec![]),
        (Some(AuditClass::Devices), Some("cli"), Some("passing"), expected.to_vec()),
    ] {
        let (by, device) = (by.map(str::to_owned), device_id.map(device));
        let query = AuditQuery { class, by, device, ..AuditQuery::default() };
        let found = store.audit_page(&query).await.unwrap();
        let actions: Vec<_> = found.iter().map(|record| record.action).collect();
        assert_eq!(actions, expected, "{query:?}");
    }

    // The message is from 1970, and all else from now.
    assert_eq!(store.expire_audit(90).await.unwrap(), 0);
    store.block(&device("newest"), &Actor::cli()).await.unwrap();
    assert_eq!(store.expire_audit(crate::time::unix_now()).await.unwrap(), 1);

    // Lines of a clock that was ahead do not keep those that follow.
    let ahead = crate::time::unix_now() + 1_000_000_000;
    for at in std::iter::repeat_n(ahead, 600).chain([1]) {
        store.audit_later(AuditEntry {
            at,
            by: Actor::token("ci"),
            action: AuditAction::MessageSent,
            device: None,
            detail: None,
        });
    }
    // The newest line of all stays.
    let mut count = 0;
    let expired = until(async || {
        count += 1;
        store.block(&device(&format!("newest-{count}")), &Actor::cli()).await.unwrap();
        let expired = store.expire_audit(crate::time::unix_now()).await.unwrap();
        (expired > 0).then_some(expired)
    })
    .await;
    assert_eq!(expired, 1);
}
