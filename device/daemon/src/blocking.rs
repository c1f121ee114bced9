//! Runs work that waits for the disk outside the event loop.

/// Runs `job` on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    // It can fail only by a panic, which is a bug, or by the end of the runtime, which ends this task as well.
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}
