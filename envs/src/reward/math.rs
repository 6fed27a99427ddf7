//! Reward for a mathematically correct answer: equal to the reference as a number, a set, an interval or a text.

mod expression;
mod number;

use serde::Deserialize;

use super::{Reward, answer, reference_of};
use crate::{Episode, Options, Result};
use expression::Expression;

/// Maximum length of an answer, in bytes. A longer one is wrong: what is compared is an answer and not its derivation. The
/// time of a comparison is bounded with it.
const LONGEST: usize = 2_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MathOptions {
    /// Location of the reference: a column of the prompt's row, or else a key of the environment's info.
    column: String,
    /// Relative difference, at least 0, at which two numbers still are equal.
    tolerance: f64,
}

impl Default for MathOptions {
    fn default() -> Self {
        Self { column: "answer".to_string(), tolerance: 0.0 }
    }
}

/// Builds the reward `math`.
///
/// # Errors
/// An unknown option, or a tolerance that is negative or not finite.
pub(super) fn build(options: &Options) -> Result<Box<dyn Reward>> {
    let parsed: MathOptions = options.parse()?;
    if !(0.0..f64::INFINITY).contains(&parsed.tolerance) {
        return Err(options.wrong("tolerance", format!("{} is not at least 0", parsed.tolerance)));
    }
    Ok(Box::new(Math(parsed)))
}

/// Scores 1 for a correct answer and 0 for a wrong one; an episode without a reference has no score.
struct Math(MathOptions);

impl Reward for Math {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Option<f32>>> {
        let MathOptions { column, tolerance } = &self.0;
        let score = |episode: &Episode| {
            let reference = reference_of(episode, column)?;
            Some(f32::from(u8::from(are_equal(answer(episode), &reference, *tolerance))))
        };
        Ok(episodes.iter().map(score).collect())
    }
}

/// True if two answers are the same: numbers, fractions, percentages, units, sets, tuples, intervals and their unions, in
/// plain text or LaTeX; or else the same text but for white space, case and LaTeX's spacing.
fn are_equal(answer: &str, reference: &str, tolerance: f64) -> bool {
    if answer.len() > LONGEST {
        return false;
    }
    let (answer, reference) = (Expression::parse(answer), Expression::parse(reference));
    answer.is_equal(&reference, tolerance)
}

#[cfg(test)]
mod tests {
    use super::are_equal;

    #[track_caller]
    fn assert_equal(cases: &[(&str, &str)]) {
        for (one, other) in cases {
            assert!(are_equal(one, other, 0.0) && are_equal(other, one, 0.0), "{one} and {other} are equal");
        }
    }

    #[track_caller]
    fn assert_differ(cases: &[(&str, &str)]) {
        for (one, other) in cases {
            assert!(!are_equal(one, other, 0.0) && !are_equal(other, one, 0.0), "{one} and {other} differ");
        }
    }

    #[test]
    fn numbers() {
        assert_equal(&[
            ("42", "42.0"),
            ("1,234,567", "1234567"),
            ("1{,}234", "1234"),
            (".5", "0.50"),
            ("1/2", "0.5"),
            ("-3/4", r"-\frac{3}{4}"),
            (r"\dfrac{10}{4}", "2.5"),
            (r"\tfrac12", r"\frac{1}{2}"),
            (r"\frac{-1}{2}", "-0.5"),
            ("1 1/2", "1.5"),
            (r"1\frac{1}{2}", "3/2"),
            ("2e3", "2000"),
            (r"2 \times 10^{3}", "2000"),
            (r"1.5\cdot10^{-3}", "0.0015"),
            ("x = 7", "7"),
            ("+7", "7."),
            ("−7", "-7"),
            (r"$\left( 7 \right)$", "7"),
            ("0.1", "1/10"),
            ("100000000000000000000000000000000000000000", "1e41"),
        ]);
        assert_differ(&[
            ("42", "43"),
            ("0.333", "1/3"),
            ("7", "-7"),
            ("", "0"),
            ("1/0", "0"),
            ("12", "1,2"),
            ("3.14", r"\pi"),
            ("1 2", "12"),
        ]);
        assert!(are_equal("0.333", "1/3", 1e-2) && !are_equal("0.333", "1/3", 1e-4));
    }

    #[test]
    fn percentages_and_units() {
        assert_equal(&[
            ("50%", r"50\%"),
            ("50%", "0.5"),
            ("50", "50%"),
            ("$5", "5"),
            (r"\$5.00", "5 dollars"),
            ("5 cm", r"5\text{ cm}"),
            ("5", r"5 \mathrm{km/h}"),
            (r"90^\circ", "90 degrees"),
            (r"90^{\circ}", "90"),
        ]);
        assert_differ(&[("5 cm", "5 km"), ("50%", "5"), ("5 cm", "6 cm")]);
    }

    #[test]
    fn sets_tuples_and_intervals() {
        assert_equal(&[
            ("{1, 2}", r"\{2, 1\}"),
            ("1, 2", "{2,1}"),
            (r"\left\{1, \frac{1}{2}\right\}", "{0.5, 1.0}"),
            ("(1, 2)", r"\left(1, 2\right)"),
            ("[0, 1)", r"[0,1.0)"),
            (r"(-\infty, 2]", "(-inf, 4/2]"),
            (r"(0,1)\cup(2,3]", r"(2,3] \cup (0,1)"),
            ("(0,1) U (2,3)", "(0,1)∪(2,3)"),
            ("{(1, 2), (3, 4)}", "{(3,4),(1,2)}"),
            (r"\emptyset", "{}"),
        ]);
        assert_differ(&[
            ("(1, 2)", "(2, 1)"),
            ("[0, 1]", "[0, 1)"),
            ("{1, 2}", "{1, 3}"),
            ("{1, 1, 2}", "{1, 2, 2, 3}"),
            ("(1, 2)", "{1, 2}"),
            (r"(0, \infty)", r"(0, -\infty)"),
        ]);
    }

    #[test]
    fn texts() {
        assert_equal(&[
            ("Monday", r"\text{monday}"),
            (r"x^2 + 1", "x^{2}+1"),
            (r"\sqrt{2}", r" \sqrt{2}."),
            ("Yes.", "yes"),
        ]);
        assert_differ(&[("Monday", "Tuesday"), ("x+1", "x-1"), (r"\sqrt{2}", r"\sqrt{3}"), ("2x", "2y")]);
    }

    #[test]
    fn odd_answers_are_wrong_and_quick() {
        let began = std::time::Instant::now();
        for odd in ["(".repeat(1_999), "{(".repeat(999), "9".repeat(2_000), "1/".repeat(999), "\\frac".repeat(300)] {
            assert!(!are_equal(&odd, "1", 0.0));
        }
        assert!(!are_equal(&format!("1{}", " ".repeat(2_000)), "1", 0.0), "too long");
        assert!(began.elapsed().as_secs_f64() < 1.0);
    }
}
