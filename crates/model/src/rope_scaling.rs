//! Scaling of rotary positions beyond the context that a model was first trained on.

use palestra_settings::{Range, check_ranges};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Scaling of rotary positions beyond the context that a model was trained on (Llama).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Divides every position ([Chen et al. 2023](https://arxiv.org/abs/2306.15595)).
    Linear {
        /// Divisor of the positions, at least 1.
        factor: f64,
    },
    /// Raises `rope_theta` for texts longer than the model's context. No text is longer here, so it changes nothing.
    Dynamic {
        /// Growth of the base with the length of a text, at least 1.
        factor: f64,
    },
    /// Divides low frequencies, keeps high ones, blends those in between, and scales attention
    /// ([Peng et al. 2023](https://arxiv.org/abs/2309.00071)).
    Yarn {
        /// Divisor of low frequencies, at least 1.
        factor: f64,
        /// Context that the model was first trained on, in tokens, at least 1.
        original_context: usize,
        /// Factor of queries and keys, above 0; `0.1 ln(factor) + 1` if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
        /// A frequency with more rotations than this in the original context is kept. Above 0.
        #[serde(default = "beta_fast")]
        beta_fast: f64,
        /// A frequency with fewer rotations than this in the original context is divided. Above 0, at most `beta_fast`.
        #[serde(default = "beta_slow")]
        beta_slow: f64,
        /// True if the blend begins and ends at whole numbers of pairs.
        #[serde(default = "truncate")]
        truncate: bool,
    },
    /// Divides each frequency by a number of its own, and scales attention
    /// ([Ding et al. 2024](https://arxiv.org/abs/2402.13753)). The length of a forward pass selects the numbers.
    LongRope {
        /// Divisors up to the original context, one for each pair of a head, above 0.
        short_factor: Vec<f64>,
        /// Divisors beyond the original context, one for each pair of a head, above 0.
        long_factor: Vec<f64>,
        /// Context that the model was first trained on, in tokens, at least 1.
        original_context: usize,
        /// Factor of queries and keys, above 0; if left out, `sqrt(1 + ln(s) / ln(original_context))`, where `s` is the
        /// context divided by the original one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
    },
    /// Divides low frequencies, keeps high ones and blends those in between (Llama 3.1).
    Llama3 {
        /// Divisor of low frequencies, at least 1.
        factor: f64,
        /// A frequency with fewer rotations than this in the original context is low. Above 0.
        low_freq_factor: f64,
        /// A frequency with more rotations than this in the original context is high. Above `low_freq_factor`.
        high_freq_factor: f64,
        /// Context that the model was first trained on, in tokens, at least 1.
        original_context: usize,
    },
}

/// Default of YaRN's `beta_fast`.
pub(super) const fn beta_fast() -> f64 {
    32.0
}

/// Default of YaRN's `beta_slow`.
pub(super) const fn beta_slow() -> f64 {
    1.0
}

const fn truncate() -> bool {
    true
}

impl RopeScaling {
    /// Checks the values for heads of this width.
    pub(super) fn check(&self, head_dim: usize) -> Result<()> {
        let section = "model.rope_scaling";
        let positive = |name, value: &Option<f64>| match value {
            Some(value) => check_ranges(section, &[(name, value, Range::POSITIVE)]),
            None => Ok(()),
        };
        match self {
            Self::Linear { factor } | Self::Dynamic { factor } => {
                check_ranges(section, &[("factor", factor, Range::AT_LEAST_ONE)])?;
            }
            Self::Yarn { factor, original_context, attention_factor, beta_fast, beta_slow, truncate: _ } => {
                check_ranges(
                    section,
                    &[
                        ("factor", factor, Range::AT_LEAST_ONE),
                        ("original_context", original_context, Range::AT_LEAST_ONE),
                        ("beta_slow", beta_slow, Range::POSITIVE),
                        ("beta_fast", beta_fast, Range::at_least(*beta_slow)),
                    ],
                )?;
                positive("attention_factor", attention_factor)?;
            }
            Self::LongRope { short_factor, long_factor, original_context, attention_factor } => {
                check_ranges(section, &[("original_context", original_context, Range::at_least(2.0))])?;
                positive("attention_factor", attention_factor)?;
                for (name, factors) in [("short_factor", short_factor), ("long_factor", long_factor)] {
                    if factors.len() != head_dim / 2 {
                        return Err(Error::Config(format!(
                            "{section}.{name}: has {} numbers, and a head has {} pairs",
                            factors.len(),
                            head_dim / 2
                        )));
                    }
                    factors.iter().try_for_each(|factor| check_ranges(section, &[(name, factor, Range::POSITIVE)]))?;
                }
            }
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => check_ranges(
                section,
                &[
                    ("factor", factor, Range::AT_LEAST_ONE),
                    ("low_freq_factor", low_freq_factor, Range::POSITIVE),
                    ("high_freq_factor", high_freq_factor, Range::above(*low_freq_factor)),
                    ("original_context", original_context, Range::AT_LEAST_ONE),
                ],
            )?,
        }
        Ok(())
    }
}
