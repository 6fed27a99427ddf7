//! Advantages within a group of completions of one prompt, and aggregation of token losses over sequences of different
//! lengths.

use serde::{Deserialize, Serialize};

/// Baseline of a completion's score within its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupAdvantage {
    /// `(r - mean) / (std + 1e-4)`, the standard deviation with n - 1
    /// ([Shao et al. 2024](https://arxiv.org/abs/2402.03300), section 4.1.2).
    Grpo,
    /// `r - mean`: Dr. GRPO ([Liu et al. 2025](https://arxiv.org/abs/2503.20783)), which keeps the weight of hard and
    /// easy prompts.
    DrGrpo,
    /// `r - mean of the others` ([Ahmadian et al. 2024](https://arxiv.org/abs/2402.14740), eq. 9).
    Rloo,
    /// `r` itself, before all advantages of the rollout are normalised: REINFORCE++
    /// ([Hu 2025](https://arxiv.org/abs/2501.03262)), for prompts that are answered once.
    ReinforcePlusPlus,
    /// `r - mean`, before all advantages of the rollout are normalised: REINFORCE++-baseline (the same).
    ReinforcePlusPlusBaseline,
}

/// Added to the standard deviation, so that equal scores do not divide by 0.
const EPSILON: f32 = 1e-4;

impl GroupAdvantage {
    /// True if a group of one has an advantage.
    pub fn needs_no_group(self) -> bool {
        self == Self::ReinforcePlusPlus
    }

    /// True if the advantages of all tokens of a rollout are whitened together.
    pub fn is_normalised_globally(self) -> bool {
        matches!(self, Self::ReinforcePlusPlus | Self::ReinforcePlusPlusBaseline)
    }

    /// Advantage of each score of a group of two or more.
    pub fn of(self, scores: &[f32]) -> Vec<f32> {
        if self == Self::ReinforcePlusPlus {
            return scores.to_vec();
        }
        let count = scores.len() as f32;
        let mean = scores.iter().sum::<f32>() / count;
        let scale = match self {
            Self::Grpo => 1.0 / (standard_deviation(scores) + EPSILON),
            Self::DrGrpo | Self::ReinforcePlusPlus | Self::ReinforcePlusPlusBaseline => 1.0,
            Self::Rloo => count / (count - 1.0), // r - (sum - r) / (n - 1) = (r - mean) n / (n - 1)
        };
        scores.iter().map(|score| (score - mean) * scale).collect()
    }
}

/// Standard deviation of two or more scores, with n - 1; exactly 0 if all are equal.
pub fn standard_deviation(scores: &[f32]) -> f32 {
    if scores.iter().all(|score| *score == scores[0]) {
        return 0.0;
    }
    let mean = scores.iter().sum::<f32>() / scores.len() as f32;
    let squares: f32 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    (squares / (scores.len() as f32 - 1.0)).sqrt()
}

/// Aggregation of the token losses of sequences into one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Mean over all tokens: long sequences count more ([Yu et al. 2025](https://arxiv.org/abs/2503.14476), eq. 12).
    TokenMean,
    /// Mean over sequences of the mean over their tokens: each sequence has the same weight (GRPO as published).
    SequenceMeanTokenMean,
    /// Mean over sequences of the sum over their tokens.
    SequenceMeanTokenSum,
    /// Sum over all tokens, divided by the number of sequences times the max length of a sequence (Dr. GRPO): it
    /// does not depend on the lengths of the sequences.
    Constant,
}

impl Aggregation {
    /// Weight of each token of a sequence with this many tokens; `max_length` is the max length of a sequence. The weighted
    /// sum is divided by [`Aggregation::count`].
    pub fn token_weight(self, length: usize, max_length: usize) -> f32 {
        match self {
            Self::TokenMean | Self::SequenceMeanTokenSum => 1.0,
            Self::SequenceMeanTokenMean => 1.0 / length.max(1) as f32,
            Self::Constant => 1.0 / max_length.max(1) as f32,
        }
    }

    /// Count that the weighted sum over a batch of this many tokens and sequences is divided by.
    pub fn count(self, tokens: usize, sequences: usize) -> f64 {
        if self == Self::TokenMean { tokens as f64 } else { sequences as f64 }
    }
}

#[cfg(test)]
mod tests {
    use palestra_testing::assert_close;

    use super::*;

    #[test]
    fn advantages_by_hand() {
        let scores = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
        let of = |good: f32, bad: f32| scores.map(|score| if score == 1.0 { good } else { bad });
        assert_close!(GroupAdvantage::Grpo.of(&scores), of(1.207381, -0.724429), 1e-5);
        assert_close!(GroupAdvantage::DrGrpo.of(&scores), of(0.625, -0.375), 1e-5);
        assert_close!(GroupAdvantage::Rloo.of(&scores), of(0.714286, -0.428571), 1e-5);
    }

    #[test]
    fn equal_scores_have_no_advantage() {
        for kind in [GroupAdvantage::Grpo, GroupAdvantage::DrGrpo, GroupAdvantage::Rloo] {
            assert_eq!(kind.of(&[0.5; 4]), [0.0; 4]);
        }
        assert_eq!((standard_deviation(&[0.1; 3]), standard_deviation(&[0.0, 2.0])), (0.0, 2f32.sqrt()));
    }

    #[test]
    fn aggregations_by_hand() {
        let losses: [&[f32]; 3] = [&[1.0, 2.0], &[3.0, 4.0, 5.0], &[7.0]];
        let of = |aggregation: Aggregation| {
            let weighted = |losses: &&[f32]| losses.iter().sum::<f32>() * aggregation.token_weight(losses.len(), 3);
            losses.iter().map(weighted).sum::<f32>() / aggregation.count(6, 3) as f32
        };
        let found = [
            of(Aggregation::TokenMean),
            of(Aggregation::SequenceMeanTokenMean),
            of(Aggregation::SequenceMeanTokenSum),
            of(Aggregation::Constant),
        ];
        assert_close!(found, [3.666667, 4.166667, 22.0 / 3.0, 2.444444], 1e-5);
    }
}
