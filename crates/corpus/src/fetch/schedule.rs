use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::request::Robots;
use crate::error::Result;

/// An address to ask for.
pub(super) struct Job {
    pub url: Url,
    /// Redirects that led to it.
    pub redirects: u32,
    /// Requests that were not answered.
    pub attempts: u32,
}

/// Outcome of a job.
pub(super) enum Outcome {
    Done,
    /// The address is to be asked again, after a pause that its host asks for.
    Again(Option<Duration>),
    Redirect(Url),
}

/// The addresses of all hosts.
pub(super) struct Schedule {
    hosts: HashMap<String, Host>,
    seen: HashSet<String>,
    pause: Duration,
    done: usize,
}

#[derive(Default)]
struct Host {
    queue: VecDeque<Job>,
    /// `None` while a request is on its way.
    state: Option<Ready>,
}

struct Ready {
    /// Time from which the host may be asked.
    from: Instant,
    robots: Robots,
}

/// Longest pause that a server may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

impl Job {
    pub fn new(url: Url) -> Self {
        Self { url, redirects: 0, attempts: 0 }
    }
}

impl Schedule {
    pub fn new(pause: Duration) -> Self {
        Self { hosts: HashMap::new(), seen: HashSet::new(), pause, done: 0 }
    }

    /// Adds a job, unless its address was added before or is answered already.
    pub fn add(&mut self, job: Job, is_answered: impl Fn(&str) -> bool) {
        if !self.seen.insert(job.url.as_str().to_string()) {
            return;
        }
        if is_answered(job.url.as_str()) {
            self.done += 1;
            return;
        }
        let ready = Ready { from: Instant::now(), robots: Robots::default() };
        let host =
            self.hosts.entry(host_of(&job.url)).or_insert_with(|| Host { queue: VecDeque::new(), state: Some(ready) });
        host.queue.push_back(job);
    }

    /// Does all jobs on so many threads, one at a time of each host, with the pause between them.
    ///
    /// # Errors
    /// The first of `work`, after which no job is begun.
    pub fn run(
        self,
        threads: usize,
        on_progress: &(dyn Fn(usize, usize) + Sync),
        work: impl Fn(&Job, &mut Robots) -> Result<Outcome> + Sync,
    ) -> Result<()> {
        let schedule = Mutex::new((self, Ok(())));
        let changed = Condvar::new();
        let thread = || {
            let mut guard = schedule.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(next) = guard.0.next().filter(|_| guard.1.is_ok()) {
                let (host, mut job, mut robots) = match next {
                    Next::Job(host, job, robots) => (host, job, robots),
                    Next::Wait(time) => {
                        let waited = changed.wait_timeout(guard, time.unwrap_or(MAX_PAUSE));
                        guard = waited.unwrap_or_else(PoisonError::into_inner).0;
                        continue;
                    }
                };
                drop(guard);
                let outcome = work(&job, &mut robots);
                guard = schedule.lock().unwrap_or_else(PoisonError::into_inner);
                let (schedule, failed) = &mut *guard;
                let mut pause = schedule.pause.max(robots.pause().unwrap_or_default());
                schedule.done += 1;
                match outcome {
                    Ok(Outcome::Done) => {}
                    Ok(Outcome::Redirect(url)) => {
                        schedule.add(Job { redirects: job.redirects + 1, ..Job::new(url) }, |_| false);
                    }
                    Ok(Outcome::Again(asked)) => {
                        schedule.done -= 1;
                        pause = pause.max(asked.unwrap_or_default());
                        job.attempts += 1;
                        schedule.hosts.entry(host.clone()).or_default().queue.push_back(job);
                    }
                    Err(error) => *failed = Err(error),
                }
                let from = Instant::now() + pause.min(MAX_PAUSE.max(schedule.pause));
                schedule.hosts.entry(host).or_default().state = Some(Ready { from, robots });
                on_progress(schedule.done, schedule.seen.len());
                changed.notify_all();
            }
            changed.notify_all();
        };
        std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(thread))));
        schedule.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Takes the job of the host that has waited longest. `None` if nothing is left, nor can come of a request on its way.
    fn next(&mut self) -> Option<Next> {
        let now = Instant::now();
        let is_asked = self.hosts.values().any(|host| host.state.is_none());
        let waiting = self.hosts.iter().filter(|(_, host)| !host.queue.is_empty());
        let first = waiting.filter_map(|(name, host)| Some((host.state.as_ref()?.from, name))).min();
        let Some((from, name)) = first else { return is_asked.then_some(Next::Wait(None)) };
        if from > now {
            return Some(Next::Wait(Some(from - now)));
        }
        let name = name.clone();
        let host = self.hosts.get_mut(&name)?;
        let job = host.queue.pop_front()?;
        let robots = host.state.take()?.robots;
        Some(Next::Job(name, job, robots))
    }
}

enum Next {
    Job(String, Job, Robots),
    /// For so long, or until a request ends.
    Wait(Option<Duration>),
}

/// Name and port of a host.
fn host_of(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}
