//! Threads that call environments.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Answer, Call, Reply};
use crate::{Env, Result};

/// Maximum number of threads. They wait most of the time.
const MAX_THREADS: usize = 64;

/// A few threads that take calls in their order.
pub(super) struct Workers {
    calls: Sender<(usize, Box<dyn Env>, Call)>,
    answers: Receiver<Answered>,
}

/// An environment after a call; or what it panicked with.
struct Answered {
    slot: usize,
    outcome: thread::Result<(Box<dyn Env>, Result<Reply>)>,
}

impl Workers {
    /// Threads for so many environments. They end with this value, after the calls that they are in.
    pub fn new(environments: usize) -> Self {
        let (calls, taken) = channel::<(usize, Box<dyn Env>, Call)>();
        let (given, answers) = channel();
        let taken = Arc::new(Mutex::new(taken));
        for _ in 0..environments.min(MAX_THREADS) {
            let (taken, given) = (Arc::clone(&taken), given.clone());
            thread::spawn(move || {
                // The lock is held while this thread waits for a call, and not in the call.
                let next = || taken.lock().ok()?.recv().ok();
                while let Some((slot, mut env, call)) = next() {
                    let outcome = catch_unwind(AssertUnwindSafe(move || {
                        let reply = call.answer(&mut *env);
                        (env, reply)
                    }));
                    if given.send(Answered { slot, outcome }).is_err() {
                        return;
                    }
                }
            });
        }
        Self { calls, answers }
    }

    /// Hands an environment to a thread.
    pub fn call(&self, slot: usize, env: Box<dyn Env>, call: Call) {
        self.calls.send((slot, env, call)).expect("the threads end after the sender");
    }

    /// The next environment that has answered; `None` if none has and `waits` is false.
    pub fn answer(&self, waits: bool) -> Option<(Box<dyn Env>, Answer)> {
        let answered = if waits { self.answers.recv().ok() } else { self.answers.try_recv().ok() };
        let Answered { slot, outcome } = answered?;
        match outcome {
            Ok((env, reply)) => Some((env, Answer { slot, reply })),
            Err(panic) => resume_unwind(panic),
        }
    }
}
