//! The return types of asynchronous trait methods.

use std::pin::Pin;

use crate::error::StoreError;

/// A boxed future, which a trait behind `dyn` can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer of a store.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;
