//! The one thread that changes the store. Calls that wait are made together, in one transaction, so that a disk which takes
//! milliseconds to write does not bound the number of labels in a second. None is answered before all are on the disk.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::api::{Answer, Refusal, Shown};
use crate::error::Result;
use crate::store::Store;

type Work = Box<dyn FnOnce(&mut Store) -> Answer<Shown> + Send>;

/// A call that waits for its answer. Clients wait for it, too: there are no more calls than connections.
struct Call {
    work: Work,
    reply: oneshot::Sender<Answer<Shown>>,
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    calls: Sender<Call>,
}

impl Writer {
    /// Starts the thread, which ends when no `Writer` is left.
    pub fn start(store: Store) -> Self {
        let (calls, waiting) = channel();
        std::thread::spawn(move || write(store, &waiting));
        Self { calls }
    }

    /// Answer of a call, once what it changed is on the disk.
    pub async fn answer(&self, work: impl FnOnce(&mut Store) -> Answer<Shown> + Send + 'static) -> Answer<Shown> {
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Box::new(work), reply };
        self.calls.send(call).map_err(|_| Refusal::broken("the store is closed"))?;
        answer.await.map_err(|_| Refusal::broken("the call was not made"))?
    }
}

fn write(mut store: Store, waiting: &Receiver<Call>) {
    while let Ok(first) = waiting.recv() {
        let mut answers = Vec::new();
        let kept = store.begin().and_then(|()| {
            let mut next = Some(first);
            while let Some(Call { work, reply }) = next {
                answers.push((reply, run(work, &mut store)));
                next = waiting.try_recv().ok();
            }
            store.commit()
        });
        deliver(answers, &kept);
    }
}

/// Runs a call. A panic leaves nothing of its change, because its savepoint is rolled back.
fn run(work: Work, store: &mut Store) -> Answer<Shown> {
    catch_unwind(AssertUnwindSafe(|| work(store))).unwrap_or_else(|panic| Err(Refusal::broken(message(&*panic))))
}

fn deliver(answers: Vec<(oneshot::Sender<Answer<Shown>>, Answer<Shown>)>, kept: &Result<()>) {
    for (reply, answer) in answers {
        let answer = match kept {
            Ok(()) => answer,
            Err(error) => Err(Refusal::unavailable(error)),
        };
        // A client that is gone needs no answer.
        let _ = reply.send(answer);
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}
