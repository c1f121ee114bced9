//! What an asynchronous method of a trait returns.

use std::pin::Pin;

/// A future in a box, which is what a trait behind `dyn` can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
