use std::mem::take;
use std::sync::Mutex;

use rayon::prelude::*;

/// A pool of threads: calls a function with each number below a count, on as many threads at once.
pub(crate) type Pool = fn(usize, &(dyn Fn(usize) + Sync));

/// Threads that work on one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads {
    count: usize,
    pool: Pool,
}

impl Threads {
    /// At most so many, of rayon's pool.
    pub fn of_rayon(count: usize) -> Self {
        Self { count, pool: on_rayon }
    }

    /// At most so many, of another pool.
    #[cfg(feature = "libtorch")]
    pub fn of_pool(count: usize, pool: Pool) -> Self {
        Self { count, pool }
    }

    /// Maximum number of threads.
    pub fn count(self) -> usize {
        self.count
    }

    /// The calling thread alone.
    pub fn one(self) -> Self {
        Self { count: 1, ..self }
    }

    /// Calls a function with each part. A thread takes parts that follow each other, as in libtorch's own operations, so that it
    /// finds in its caches what it wrote before.
    pub fn for_each<P: Send>(self, parts: impl ExactSizeIterator<Item = P>, work: impl Fn(P) + Sync) {
        self.for_each_with(parts, |(): &mut (), part| work(part));
    }

    /// The same, with memory that all parts of a thread share.
    pub fn for_each_with<P: Send, M: Default>(
        self,
        mut parts: impl ExactSizeIterator<Item = P>,
        work: impl Fn(&mut M, P) + Sync,
    ) {
        let share = parts.len().div_ceil(self.count).max(1);
        if share >= parts.len() {
            let mut memory = M::default();
            return parts.for_each(|part| work(&mut memory, part));
        }
        let mut shares: Vec<Mutex<Vec<P>>> = Vec::with_capacity(self.count);
        while parts.len() > 0 {
            shares.push(Mutex::new(parts.by_ref().take(share).collect()));
        }
        (self.pool)(shares.len(), &|number| {
            let mut memory = M::default();
            let parts = take(&mut *shares[number].lock().expect("a share has one thread"));
            parts.into_iter().for_each(|part| work(&mut memory, part));
        });
    }
}

/// The pool of rayon.
pub(crate) fn on_rayon(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().with_max_len(1).for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_worked_on_once() {
        for (count, threads) in [(0, 2), (1, 2), (5, 1), (5, 2), (5, 3), (9, 4)] {
            let mut parts = vec![0; count];
            Threads::of_rayon(threads).for_each(parts.iter_mut().enumerate(), |(number, part)| *part += number + 1);
            assert_eq!(parts, (1..=count).collect::<Vec<_>>(), "{count} parts on {threads} threads");
        }
    }

    #[test]
    fn parts_of_a_thread_follow_each_other_and_share_memory() {
        let mut parts = [0; 7];
        Threads::of_rayon(3).for_each_with(parts.iter_mut(), |before: &mut usize, part| {
            *before += 1;
            *part = *before;
        });
        assert_eq!(parts, [1, 2, 3, 1, 2, 3, 1]);
    }
}
