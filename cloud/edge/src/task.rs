//! The task of a connection: HTTP, and what follows an upgrade. A second task for that would take longer to start.

#[cfg(feature = "serve")]
use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What runs one after the other for a connection: each step is followed by the one that it returns, once it takes no
/// memory any more.
pub struct Task(Pin<Box<dyn Future<Output = Option<Task>> + Send>>);

#[cfg(feature = "serve")]
tokio::task_local! {
    /// What follows the upgrade of the connection that this task serves.
    static NEXT: Cell<Option<Task>>;
}

/// Continues with `next` in the task of the connection whose request is being answered, once it is upgraded. Called
/// within a filter that [`serve`](crate::serve) runs; anywhere else `next` is returned.
#[cfg(feature = "serve")]
pub fn after_upgrade(next: Task) -> Result<(), Task> {
    if NEXT.try_with(|_| ()).is_err() {
        return Err(next);
    }
    NEXT.with(|slot| slot.set(Some(next)));
    Ok(())
}

/// Runs HTTP on a connection, during which [`after_upgrade`] may be called.
#[cfg(feature = "serve")]
pub(crate) fn serving<F: Future>(http: F) -> impl Future<Output = F::Output> {
    NEXT.scope(Cell::new(None), http)
}

/// What follows the upgrade, at the end of what [`serving`] runs.
#[cfg(feature = "serve")]
pub(crate) fn next() -> Option<Task> {
    NEXT.with(Cell::take)
}

impl Task {
    /// A task that begins with this step.
    pub fn new(step: impl Future<Output = Option<Self>> + Send + 'static) -> Self {
        Self(Box::pin(step))
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(next) = ready!(self.0.as_mut().poll(cx)) {
            *self = next;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use super::*;

    #[tokio::test]
    async fn what_was_before_is_freed_when_the_next_begins() {
        let before = Arc::new(());
        let weak = Arc::downgrade(&before);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let http = serving(async move {
            let after = async move {
                sender.send(Weak::strong_count(&weak)).unwrap();
                None
            };
            after_upgrade(Task::new(after)).unwrap();
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&before), 1);
            next()
        });
        tokio::spawn(Task::new(http));
        assert_eq!(receiver.await.unwrap(), 0);
        assert!(after_upgrade(Task::new(async { None })).is_err(), "there is no connection");
    }

    /// With it, tokio's task takes 128 bytes, for as long as the connection.
    #[test]
    fn a_task_is_small() {
        assert_eq!(size_of::<Task>(), 16);
    }
}
