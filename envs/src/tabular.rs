//! Games small enough to solve exactly: a table of what every action in every state leads to.
//!
//! It knows numbers of states and actions, and nothing of grids, text or environments. Values are exact, by
//! backward induction over the turns (R. Bellman, *Dynamic Programming*, 1957), so the limit of turns is part of
//! the problem: the best action may depend on how many turns are left.

use palestra_datasets::End;

/// One thing that an action can lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// How likely it is; the outcomes of an action sum to 1.
    pub probability: f64,
    /// The next state.
    pub next: usize,
    /// The reward.
    pub reward: f32,
    /// How the episode ends, where it does.
    pub end: Option<End>,
}

/// The rules of a game with few states: a Markov decision process with a limit of turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Tabular {
    /// The number of actions, the same in every state.
    pub actions: usize,
    /// The states that an episode may start in, each equally likely.
    pub starts: Vec<usize>,
    /// The most turns of an episode, at least 1.
    pub limit: u32,
    /// What each action leads to, at `state * actions + action`.
    pub outcomes: Vec<Vec<Outcome>>,
}

/// The best way to play a [`Tabular`] game.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The mean return of the best policy.
    pub optimal_return: f64,
    states: usize,
    best: Vec<u8>, // [turn, state]
}

impl Plan {
    /// The best action in a state on a turn, counted from 0. Among equals it is the one that ends the game sooner.
    pub fn action(&self, turn: u32, state: usize) -> usize {
        self.best[turn as usize * self.states + state].into()
    }
}

impl Tabular {
    /// The number of states.
    pub fn states(&self) -> usize {
        self.outcomes.len() / self.actions
    }

    /// What an action in a state can lead to.
    pub fn outcomes(&self, state: usize, action: usize) -> &[Outcome] {
        &self.outcomes[state * self.actions + action]
    }

    /// The best policy and its mean return.
    pub fn solve(&self) -> Plan {
        self.solve_among(&|_, _| true)
    }

    /// The policy that takes the best of the actions `allowed(state, action)`, each of them judged by what it is worth
    /// to a player that is allowed everything afterwards; with that player's mean return. Where nothing is allowed, it
    /// takes action 0.
    pub fn solve_among(&self, allowed: &dyn Fn(usize, usize) -> bool) -> Plan {
        let (states, turns) = (self.states(), self.limit as usize);
        let mut best = vec![0; turns * states];
        let mut value = vec![Ahead::default(); states];
        for turn in (0..turns).rev() {
            let after = value.clone();
            for state in 0..states {
                let (mut free, mut chosen) = (None, None);
                for action in 0..self.actions {
                    let ahead = self.ahead(state, action, &after);
                    let is_best = |best: Option<Ahead>| best.is_none_or(|best| ahead.better_than(best));
                    if is_best(free) {
                        free = Some(ahead);
                    }
                    if allowed(state, action) && is_best(chosen) {
                        chosen = Some(ahead);
                        best[turn * states + state] = action as u8;
                    }
                }
                value[state] = free.unwrap_or_default();
            }
        }
        Plan { optimal_return: self.mean_over_starts(&value), states, best }
    }

    /// The states in which an episode can wait for an action, in ascending order.
    pub fn reachable(&self) -> Vec<usize> {
        let mut seen = vec![false; self.states()];
        let mut waiting = self.starts.clone();
        while let Some(state) = waiting.pop() {
            if !std::mem::replace(&mut seen[state], true) {
                let outcomes = (0..self.actions).flat_map(|action| self.outcomes(state, action));
                waiting.extend(outcomes.filter(|outcome| outcome.end.is_none()).map(|outcome| outcome.next));
            }
        }
        (0..self.states()).filter(|&state| seen[state]).collect()
    }

    /// The exact mean return of choosing every action with equal probability.
    pub fn random_return(&self) -> f64 {
        self.exact_return(&|_, _| 1.0 / self.actions as f64)
    }

    /// The exact mean return of a policy that knows only the state: `policy(state, action)` is how likely it takes the
    /// action there.
    pub fn exact_return(&self, policy: &dyn Fn(usize, usize) -> f64) -> f64 {
        self.discounted_return(1.0, policy)
    }

    /// As [`exact_return`](Self::exact_return), with the reward of turn t (from 0) counted `gamma^t` times.
    pub fn discounted_return(&self, gamma: f64, policy: &dyn Fn(usize, usize) -> f64) -> f64 {
        let mut value = vec![Ahead::default(); self.states()];
        for _ in 0..self.limit {
            let after: Vec<Ahead> = value.iter().map(|ahead| Ahead { total: gamma * ahead.total, ..*ahead }).collect();
            for (state, value) in value.iter_mut().enumerate() {
                *value = Ahead::default();
                for action in 0..self.actions {
                    value.add(policy(state, action), self.ahead(state, action, &after));
                }
            }
        }
        self.mean_over_starts(&value)
    }

    fn ahead(&self, state: usize, action: usize, after: &[Ahead]) -> Ahead {
        let mut ahead = Ahead { total: 0.0, turns: 1.0 };
        for outcome in self.outcomes(state, action) {
            ahead.total += outcome.probability * f64::from(outcome.reward);
            if outcome.end.is_none() {
                ahead.add(outcome.probability, after[outcome.next]);
            }
        }
        ahead
    }

    fn mean_over_starts(&self, value: &[Ahead]) -> f64 {
        self.starts.iter().map(|&start| value[start].total).sum::<f64>() / self.starts.len() as f64
    }
}

/// What lies ahead of a state: the mean return and the mean number of turns.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    total: f64,
    turns: f64,
}

impl Ahead {
    fn add(&mut self, weight: f64, other: Self) {
        self.total += weight * other.total;
        self.turns += weight * other.turns;
    }

    fn better_than(self, other: Self) -> bool {
        const EQUAL: f64 = 1e-12; // rounding apart
        let gain = self.total - other.total;
        gain > EQUAL || (gain > -EQUAL && self.turns < other.turns - EQUAL)
    }
}
