//! The accounts that devices log in with, by the API.

use fedecks_cloud::accounts::{PasswordError, hash_password};
use fedecks_store::{StoreError, check_account_name};
use http::StatusCode;
use tokio::sync::Semaphore;
use warp::reply::Response;

use super::objects::{AccountInfo, Accounts, NewAccount};
use super::request::Request;
use crate::http::problem::{Code, Problem};
use crate::http::response::{empty, json_response, no_content};

/// One at a time: a hash takes 19 MiB and a core for as long as it is made.
static HASHING: Semaphore = Semaphore::const_new(1);

pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    let accounts = request.state.accounts.accounts().await?;
    let accounts = accounts.into_iter().map(AccountInfo::from).collect();
    Ok(json_response(&Accounts { accounts }))
}

pub(super) async fn add(request: Request) -> Result<Response, Problem> {
    let name = request.name();
    check_account_name(name).map_err(|error| Problem::new(Code::InvalidPath, error.to_string()))?;
    let NewAccount { password } = request.json()?;
    let turn = HASHING.acquire().await;
    let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
    drop(turn);
    let hash = match hashed {
        Ok(Ok(hash)) => hash,
        Ok(Err(error)) => return Err(wrong_password(&error)),
        Err(_) => {
            return Err(Problem::for_now(Code::Unavailable, "the password was not hashed", 5));
        }
    };
    match request.state.accounts.add_account(name, &hash, &request.caller.actor()).await {
        Ok(()) => Ok(empty(StatusCode::CREATED)),
        Err(StoreError::Exists { .. }) => {
            Err(Problem::new(Code::AccountExists, "expected a name that is not taken"))
        }
        Err(error) => Err(error.into()),
    }
}

fn wrong_password(error: &PasswordError) -> Problem {
    Problem::new(Code::InvalidBody, format!("password: {error}"))
}

pub(super) async fn remove(request: Request) -> Result<Response, Problem> {
    let (accounts, by) = (&request.state.accounts, request.caller.actor());
    if accounts.remove_account(request.name(), &by).await? {
        Ok(no_content())
    } else {
        Err(Problem::new(Code::AccountNotFound, "no account of this name"))
    }
}
