//! `/accounts`: the accounts that devices log in with.

use fedecks_cloud::accounts::hash_password;
use fedecks_common::utc;
use fedecks_store::{Role, StoreError, check_account_name};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use warp::reply::Response;

use super::request::Request;
use super::route::{Content, Handler, Route, handler};
use crate::http::caller::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::response::{empty, json_response, no_content};

pub(super) const ROUTES: &[Route] = &[
    Route::new("listAccounts", Method::GET, "/accounts", handler!(list))
        .role(Role::Admin)
        .all_devices()
        .summary("List the accounts that devices log in with")
        .returns::<Accounts>("All accounts")
        .problems(&[Code::StoreUnavailable]),
    Route::new("addAccount", Method::PUT, "/accounts/{name}", handler!(add))
        .role(Role::Admin)
        .all_devices()
        .summary("Add an account")
        .takes::<NewAccount>()
        .success(201, "Added", Content::Nothing)
        .problems(&[Code::StoreUnavailable, Code::AccountExists]),
    Route::new("removeAccount", Method::DELETE, "/accounts/{name}", handler!(remove))
        .role(Role::Admin)
        .all_devices()
        .summary("Remove an account. Devices that logged in with it keep their tokens")
        .returns_nothing("Removed")
        .problems(&[Code::StoreUnavailable, Code::AccountNotFound]),
];

/// All accounts.
#[derive(Debug, Serialize, ToSchema)]
struct Accounts {
    accounts: Vec<Account>,
}

/// An account that devices log in with.
#[derive(Debug, Serialize, ToSchema)]
struct Account {
    name: String,
    #[schema(format = DateTime)]
    created: String,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    /// 8 to 1,024 characters.
    #[schema(min_length = 8, max_length = 1024)]
    password: String,
}

/// One at a time: hashing takes 19 MiB of memory and a whole core.
static HASHING: Semaphore = Semaphore::const_new(1);

async fn list(_: Caller, request: Request) -> Result<Response, Problem> {
    let accounts = request.state.accounts.accounts().await?.into_iter();
    let account =
        |of: fedecks_store::Account| Account { name: of.name, created: utc(of.created_at) };
    Ok(json_response(&Accounts { accounts: accounts.map(account).collect() }))
}

async fn add(caller: Caller, request: Request) -> Result<Response, Problem> {
    let name = request.name();
    check_account_name(name).map_err(|error| Problem::new(Code::InvalidPath, error.to_string()))?;
    let NewAccount { password } = request.json()?;
    let turn = HASHING.acquire().await;
    // The turn belongs to the work: a client that hangs up does not make room for another.
    let hashed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        hash_password(&password)
    })
    .await;
    let hash = hashed
        .map_err(|_| Problem::temporary(Code::Unavailable, "could not hash the password", 5))?
        .map_err(|error| Problem::new(Code::InvalidBody, format!("password: {error}")))?;
    match request.state.accounts.add_account(name, &hash, &caller.actor()).await {
        Ok(()) => Ok(empty(StatusCode::CREATED)),
        Err(StoreError::Exists { .. }) => {
            Err(Problem::new(Code::AccountExists, "expected a name that is not taken"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(caller: Caller, request: Request) -> Result<Response, Problem> {
    if request.state.accounts.remove_account(request.name(), &caller.actor()).await? {
        Ok(no_content())
    } else {
        Err(Problem::new(Code::AccountNotFound, "no account with this name"))
    }
}
