//! Work that waits for the disk, away from the event loop.

/// What the job gives, done on a thread that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    // Only a panic, which is a bug, or the end of the runtime, which ends this as well, are errors.
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}
