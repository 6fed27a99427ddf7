//! Cuts the trajectory of a logged episode into chunks, the training samples of value learners.

use std::sync::Arc;

use crate::batch::{Chunk, Next};
use crate::learners::TruncatedEpisodes;
use crate::trajectory::{End, Segment, Trajectory};

/// Chunk length and discounts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chunking {
    /// Turns of a chunk; the last of an episode may be shorter. If the model reads whole transcripts, a chunk is
    /// everything that it reads at once, if that is longer.
    pub turns: usize,
    /// Discount from turn to turn.
    pub gamma: f32,
    /// Discount from token to token inside a turn.
    pub gamma_token: f32,
    /// True if chunks include the state that they lead to.
    pub with_next: bool,
    /// Use of episodes that did not terminate, for a learner that reads returns.
    pub truncated: TruncatedEpisodes,
}

impl Chunking {
    /// True if the returns of the episode can be learned from; false for an episode that must be left out.
    pub fn has_returns(&self, trajectory: &Trajectory) -> bool {
        match self.truncated {
            TruncatedEpisodes::Whole => true,
            TruncatedEpisodes::LeaveOut => trajectory.end == Some(End::Terminated),
            TruncatedEpisodes::Bootstrap => trajectory.end == Some(End::Terminated) || self.continues(trajectory),
        }
    }

    /// True if the value of the final observation continues the returns.
    fn continues(&self, trajectory: &Trajectory) -> bool {
        let is_truncated = trajectory.end == Some(End::Truncated) && trajectory.final_prompt.is_some();
        is_truncated && self.truncated == TruncatedEpisodes::Bootstrap
    }

    /// Cuts a trajectory into chunks, in order.
    pub fn cut(&self, trajectory: Trajectory) -> Vec<Chunk> {
        let discounts = trajectory.discounts(self.gamma, self.gamma_token);
        let returns = returns(&trajectory, &discounts);
        let continues = self.continues(&trajectory);
        let return_discounts = if continues { products(&discounts) } else { vec![0.0; discounts.len()] };
        let end = self.end(&trajectory);
        let mut chunks: Vec<Chunk> = Vec::new();
        let (mut from, mut first_turn) = (0, 0);
        for segment in trajectory.segments {
            let Some(first) = segment.actions.first() else { continue };
            let to = from + segment.actions.len();
            let is_full = first.turn >= first_turn + self.turns;
            match chunks.last_mut().filter(|_| !is_full) {
                Some(chunk) => {
                    chunk.discounts.extend(&discounts[from..to]);
                    chunk.returns.extend(&returns[from..to]);
                    chunk.return_discounts.extend(&return_discounts[from..to]);
                    chunk.segments.push(segment);
                }
                None => {
                    first_turn = first.turn;
                    if let Some(before) = chunks.last_mut() {
                        before.next = self.state_before(&segment);
                    }
                    chunks.push(Chunk {
                        discounts: discounts[from..to].to_vec(),
                        returns: returns[from..to].to_vec(),
                        return_discounts: return_discounts[from..to].to_vec(),
                        segments: vec![segment],
                        next: Next::Unknown,
                    });
                }
            }
            from = to;
        }
        if continues {
            // The returns of all chunks go on in the same state.
            chunks.iter_mut().for_each(|chunk| chunk.next = end.clone());
        } else if let Some(last) = chunks.last_mut() {
            last.next = end;
        }
        chunks
    }

    fn state_before(&self, segment: &Segment) -> Next {
        match segment.actions.first().filter(|_| self.with_next) {
            Some(first) => Next::State(segment.tokens[..first.at].to_vec(), first.allowed.clone()),
            None => Next::Unknown,
        }
    }

    fn end(&self, trajectory: &Trajectory) -> Next {
        match (trajectory.end, &trajectory.final_prompt) {
            (Some(End::Terminated), _) => Next::Nothing,
            (Some(End::Truncated), Some(prompt)) if self.with_next || self.continues(trajectory) => {
                Next::State(prompt.clone(), choice(trajectory))
            }
            _ => Next::Unknown,
        }
    }
}

/// Tokens that can be written after the end: those of every turn, if all turns allow the same.
fn choice(trajectory: &Trajectory) -> Option<Arc<[u32]>> {
    let mut turns = trajectory.actions().filter({
        let mut last = None;
        move |action| last.replace(action.turn) != Some(action.turn)
    });
    let first = turns.next()?.allowed.clone();
    turns.all(|action| action.allowed == first).then_some(first).flatten()
}

/// Product of the discounts from each action token to the end of the episode.
fn products(discounts: &[f32]) -> Vec<f32> {
    let mut products = discounts.to_vec();
    for at in (0..products.len().saturating_sub(1)).rev() {
        products[at] *= products[at + 1];
    }
    products
}

/// `R_t = r_t + discount_t R_{t+1}`, over the whole chain of action tokens, with R = 0 after the last.
fn returns(trajectory: &Trajectory, discounts: &[f32]) -> Vec<f32> {
    let mut returns: Vec<f32> = trajectory.actions().map(|action| action.reward).collect();
    for at in (0..returns.len().saturating_sub(1)).rev() {
        returns[at] += discounts[at] * returns[at + 1];
    }
    returns
}

impl Chunk {
    /// Number of turns in the chunk.
    pub fn turns(&self) -> usize {
        let mut last = None;
        let actions = self.segments.iter().flat_map(|segment| &segment.actions);
        actions.filter(|action| last.replace(action.turn) != Some(action.turn)).count()
    }

    /// Number of action tokens in the chunk.
    pub fn actions(&self) -> usize {
        self.discounts.len()
    }
}
