//! Games small enough to solve exactly: a table of the outcomes of every action in every state.
//!
//! This module knows numbers of states and actions, and nothing of grids, text or environments. Values are exact, by
//! backward induction over the turns (R. Bellman, *Dynamic Programming*, 1957). The turn limit is part of the problem:
//! the best action may depend on the number of turns left.

use palestra_datasets::End;

/// One possible outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Probability of the outcome; the outcomes of an action sum to 1.
    pub probability: f64,
    /// The next state.
    pub next: usize,
    /// The reward.
    pub reward: f32,
    /// End of the episode, if this outcome ends it.
    pub end: Option<End>,
}

/// The rules of a game with few states: a Markov decision process with a turn limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Tabular {
    /// The number of actions, the same in every state.
    pub actions: usize,
    /// The start states of an episode, each equally likely.
    pub starts: Vec<usize>,
    /// Maximum number of turns of an episode, at least 1.
    pub limit: u32,
    /// Outcomes of each action, at `state * actions + action`.
    pub outcomes: Vec<Vec<Outcome>>,
}

/// The best policy of a [`Tabular`] game.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The mean return of the best policy.
    pub optimal_return: f64,
    states: usize,
    best: Vec<u8>, // [turn, state]
}

impl Plan {
    /// The best action in a state on a turn, counted from 0. Among equal actions it is the one that ends the game
    /// sooner.
    pub fn action(&self, turn: u32, state: usize) -> usize {
        self.best[turn as usize * self.states + state].into()
    }
}

impl Tabular {
    /// The number of states.
    pub fn states(&self) -> usize {
        self.outcomes.len() / self.actions
    }

    /// Outcomes of an action in a state.
    pub fn outcomes(&self, state: usize, action: usize) -> &[Outcome] {
        &self.outcomes[state * self.actions + action]
    }

    /// Computes the best policy and its mean return.
    pub fn solve(&self) -> Plan {
        self.solve_among(&|_, _| true)
    }

    /// Computes the policy that takes the best of the actions `allowed(state, action)`. Each action is valued by the
    /// return of a policy that is unrestricted afterwards; `optimal_return` is that unrestricted policy's mean return.
    /// If no action is allowed, the policy takes action 0.
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

    /// The non-terminal states that an episode can reach, in ascending order.
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

    /// Exact mean return of the policy that chooses every action with equal probability.
    pub fn random_return(&self) -> f64 {
        self.exact_return(&|_, _| 1.0 / self.actions as f64)
    }

    /// Exact mean return of a policy that depends on the state alone: `policy(state, action)` is the probability of the
    /// action in the state.
    pub fn exact_return(&self, policy: &dyn Fn(usize, usize) -> f64) -> f64 {
        self.discounted_return(1.0, policy)
    }

    /// Variant of [`exact_return`](Self::exact_return) that counts the reward of turn t (from 0) `gamma^t` times.
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

/// Value of a state: mean return and mean number of turns until the end.
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
