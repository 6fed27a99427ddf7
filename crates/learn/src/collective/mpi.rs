//! Ranks that are processes, by MPI.
//!
//! Messages go from point to point, and are waited for by asking, so that a rank which does not answer is known by its number
//! and machine. MPI cannot take back what was sent: where a rank fails, all processes are ended.

use std::cell::Cell;
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mpi::environment::{Universe, processor_name};
use mpi::request::{Request, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};
use mpi::{Tag, Threading};

use super::{Collective, Traffic};
use crate::{Error, Result};

/// Tag of the messages of the work.
const WORK: Tag = 0;

/// Tag of the messages by which the ranks end, which no rank at work takes for its own.
const END: Tag = 1;

/// A rank that is a process.
pub struct Mpi {
    rank: usize,
    /// Machine of each rank.
    machines: Vec<String>,
    deadline: Duration,
    traffic: Cell<Traffic>,
    world: SimpleCommunicator,
    /// Ends MPI in order when it is dropped; there until this rank is.
    universe: Option<Universe>,
}

impl Mpi {
    /// Joins the processes that were started together. A rank waits for another at most as long as the deadline; then all are
    /// ended.
    ///
    /// # Errors
    /// A second call in a process, or variables of Slurm or torchrun that tell another rank.
    pub fn join(deadline: Duration) -> Result<Self> {
        let begin = || mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) = within(deadline, "not all ranks have begun", begin)
            .ok_or_else(|| Error::Training("MPI was begun in this process before".into()))?;
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let machines = vec![String::new(); size];
        let mut own = Self { rank, machines, deadline, traffic: Cell::default(), world, universe: Some(universe) };
        let name = processor_name().unwrap_or_else(|_| "a machine without a name".into());
        let names = own.all_gather(name.as_bytes())?;
        own.machines = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let checked = super::start::check_variables(rank, size, &|name| std::env::var(name).ok());
        let told = own.all_gather(checked.err().map(|error| error.to_string()).unwrap_or_default().as_bytes())?;
        match told.iter().position(|told| !told.is_empty()) {
            Some(rank) => Err(Error::Config(format!("{}: {}", own.name(rank), String::from_utf8_lossy(&told[rank])))),
            None => Ok(own),
        }
    }

    /// Sends and receives messages with a tag until all is done.
    fn send_and_receive(&self, parts: &[&[u8]], received: &mut [&mut [u8]], tag: Tag) {
        let until = Instant::now() + self.deadline;
        let others = |rank: &usize| *rank != self.rank;
        scope(|scope| {
            let process = |rank: usize| self.world.process_at_rank(rank as i32);
            let mut waiting = Vec::new();
            for (from, buffer) in received.iter_mut().enumerate().filter(|(from, _)| others(from)) {
                waiting.push((from, process(from).immediate_receive_into_with_tag(scope, &mut **buffer, tag)));
            }
            let mut sending = Vec::new();
            for (to, part) in parts.iter().enumerate().filter(|(to, _)| others(to)) {
                sending.push((to, process(to).immediate_send_with_tag(scope, *part, tag)));
            }
            let mut pause = Pause::default();
            loop {
                let before = waiting.len() + sending.len();
                waiting = unfinished(waiting);
                sending = unfinished(sending);
                match waiting.len() + sending.len() {
                    0 => break,
                    left if left < before => pause = Pause::default(),
                    _ if Instant::now() < until => pause.wait(),
                    _ => {
                        let mut missing: Vec<usize> = waiting.iter().map(|(rank, _)| *rank).collect();
                        missing.extend(sending.iter().map(|(rank, _)| *rank));
                        missing.sort_unstable();
                        missing.dedup();
                        self.end_late(&missing)
                    }
                }
            }
        });
    }

    /// Ends all processes because of ranks that did not answer.
    fn end_late(&self, missing: &[usize]) -> ! {
        let names: Vec<String> = missing.iter().map(|rank| self.name(*rank)).collect();
        // Nobody may be there to read it.
        let _ = writeln!(
            std::io::stderr(),
            "error: {}: no answer for {} s from {}; all ranks are ended. The last checkpoint is whole; go on with --resume. \
             A longer train.deadline waits longer",
            self.name(self.rank),
            self.deadline.as_secs_f64(),
            names.join(", ")
        );
        self.world.abort(1)
    }
}

/// Does what MPI waits for other ranks in, for ever if one of them hangs; ends this process if it takes longer than the deadline.
fn within<T>(deadline: Duration, late: &'static str, work: impl FnOnce() -> T) -> T {
    let (over, wait) = channel::<()>();
    std::thread::spawn(move || {
        if wait.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            // Nobody may be there to read it.
            let _ = writeln!(
                std::io::stderr(),
                "error: {late} after {} s; this one is ended, and mpirun ends the others. A longer train.deadline waits longer",
                deadline.as_secs_f64()
            );
            // The main thread is inside MPI, which a process that ends in order would wait for.
            std::process::abort();
        }
    });
    let result = work();
    drop(over);
    result
}

/// Requests that are not done yet.
fn unfinished<'a, B: ?Sized, S: mpi::request::Scope<'a>>(
    requests: Vec<(usize, Request<'a, B, S>)>,
) -> Vec<(usize, Request<'a, B, S>)> {
    requests.into_iter().filter_map(|(rank, request)| Some((rank, request.test().err()?))).collect()
}

/// Pause between two looks at the messages: none at first, where an answer takes microseconds, and longer the longer it takes.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn wait(&mut self) {
        self.0 += 1;
        match self.0 {
            0..200 => std::thread::yield_now(),
            looks => std::thread::sleep(Duration::from_micros(u64::from(looks - 150).min(1000))),
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.machines.len()
    }

    fn name(&self, rank: usize) -> String {
        format!("rank {rank} on {}", self.machines[rank])
    }

    fn local_size(&self) -> usize {
        self.machines.iter().filter(|machine| **machine == self.machines[self.rank]).count()
    }

    fn transfer(&self, parts: &[&[u8]], received: &mut [&mut [u8]]) -> Result<()> {
        if let Some(part) = parts.iter().find(|part| i32::try_from(part.len()).is_err()) {
            return Err(Error::Training(format!(
                "{} bytes for another rank are more than an MPI message holds (2 GiB); fewer rollout.episodes send less",
                part.len()
            )));
        }
        Traffic::count(&self.traffic, self.rank, parts, || self.send_and_receive(parts, received, WORK));
        Ok(())
    }

    fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }

    fn abort(&self) {
        self.world.abort(1)
    }
}

impl Drop for Mpi {
    /// Ends all processes if this one panics: the others would wait for it. Otherwise waits until all end.
    ///
    /// MPI itself does not look again at a rank that has come to its end before the others; so each rank answers once more when
    /// all are there.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.abort(101)
        }
        let nothing = vec![&[][..]; self.size()];
        for _ in ["all are there", "and answer"] {
            let mut received: Vec<_> = nothing.iter().map(|_| &mut [][..]).collect();
            self.send_and_receive(&nothing, &mut received, END);
        }
        within(self.deadline, "not all ranks have ended", || self.universe.take());
    }
}
