//! Assertions and settings that the tests of all crates share. It knows nothing of what they test.

use proptest::prelude::ProptestConfig;

/// Settings of properties: so few cases, unless the environment variable `PROPTEST_CASES` says more.
pub fn property_cases(few: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases.unwrap_or(few)) }
}

/// Largest difference at which a number passes as the expected one: the larger of `absolute` and `relative * |expected|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest difference, whatever the size of the expected number.
    pub absolute: f64,
    /// Largest difference as a fraction of the expected number.
    pub relative: f64,
}

impl From<f64> for Tolerance {
    fn from(absolute: f64) -> Self {
        Self { absolute, relative: 0.0 }
    }
}

/// One number, or several in order.
pub trait Numbers {
    /// The numbers in 64 bits.
    fn numbers(&self) -> Vec<f64>;
}

impl Numbers for f32 {
    fn numbers(&self) -> Vec<f64> {
        vec![f64::from(*self)]
    }
}

impl Numbers for f64 {
    fn numbers(&self) -> Vec<f64> {
        vec![*self]
    }
}

impl<T: Copy + Into<f64>> Numbers for [T] {
    fn numbers(&self) -> Vec<f64> {
        self.iter().map(|&number| number.into()).collect()
    }
}

impl<T: Copy + Into<f64>, const N: usize> Numbers for [T; N] {
    fn numbers(&self) -> Vec<f64> {
        self.as_slice().numbers()
    }
}

impl<T: Copy + Into<f64>> Numbers for Vec<T> {
    fn numbers(&self) -> Vec<f64> {
        self.as_slice().numbers()
    }
}

impl<N: Numbers + ?Sized> Numbers for &N {
    fn numbers(&self) -> Vec<f64> {
        (**self).numbers()
    }
}

/// Compares numbers with the expected ones, as [`assert_close!`] does.
///
/// # Errors
/// Tells the two lengths where they differ, else the first number that is too far off, with its index.
pub fn compare(found: &dyn Numbers, expected: &dyn Numbers, tolerance: impl Into<Tolerance>) -> Result<(), String> {
    let (found, expected, tolerance) = (found.numbers(), expected.numbers(), tolerance.into());
    if found.len() != expected.len() {
        return Err(format!("{} numbers instead of {}", found.len(), expected.len()));
    }
    for (index, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let limit = tolerance.absolute.max(tolerance.relative * expected.abs());
        // Equal infinities have no difference. NaN is near nothing.
        let difference = (found - expected).abs();
        let is_close = found == expected || (difference.is_finite() && difference <= limit);
        if !is_close {
            return Err(format!(
                "{found} instead of {expected} at index {index}: the difference is {difference:e}, and the tolerance {limit:e}"
            ));
        }
    }
    Ok(())
}

/// Panics unless all numbers are within the tolerance of the expected ones and there are as many of both.
///
/// Takes single numbers, slices, arrays and vectors of `f32` and `f64`, a [`Tolerance`] or an absolute one, and, as
/// `assert_eq!` does, words about the comparison.
///
/// ```
/// use palestra_testing::{Tolerance, assert_close};
///
/// assert_close!(0.1f32 + 0.2, 0.3, 1e-6);
/// assert_close!([1.0, 2e6], vec![1.0, 2e6 + 1.0], Tolerance { absolute: 0.0, relative: 1e-6 }, "of {}", "weights");
/// ```
#[macro_export]
macro_rules! assert_close {
    ($found:expr, $expected:expr, $tolerance:expr $(,)?) => {
        if let Err(difference) = $crate::compare(&$found, &$expected, $tolerance) {
            panic!("{difference}");
        }
    };
    ($found:expr, $expected:expr, $tolerance:expr, $($about:tt)+) => {
        if let Err(difference) = $crate::compare(&$found, &$expected, $tolerance) {
            panic!("{}: {difference}", format_args!($($about)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Tolerance = Tolerance { absolute: 0.1, relative: 0.01 };

    #[test]
    fn the_larger_tolerance_decides() {
        assert_close!([1.05, 100.9, -100.9], [1.0, 100.0, -100.0], BOTH);
        let told = compare(&[1.0, 1.2], &[1.0, 1.0], BOTH).unwrap_err();
        assert!(told.starts_with("1.2 instead of 1 at index 1: ") && told.ends_with("the tolerance 1e-1"), "{told}");
        assert!(compare(&102.0, &100.0, BOTH).unwrap_err().ends_with("the difference is 2e0, and the tolerance 1e0"));
    }

    #[test]
    fn lengths_are_compared() {
        let (none, one): (Vec<f32>, &[f32]) = (vec![], &[1.0]);
        assert_eq!(compare(&none, &one, 1.0), Err("0 numbers instead of 1".into()));
        assert_eq!(compare(&[1.0, 2.0], &one, 1.0), Err("2 numbers instead of 1".into()));
        assert_eq!(compare(&none, &none, 0.0), Ok(()));
    }

    #[test]
    fn nan_is_near_nothing_and_infinity_near_itself() {
        assert!(compare(&f64::NAN, &f64::NAN, f64::INFINITY).is_err());
        assert!(compare(&1.0, &f64::NAN, BOTH).is_err());
        assert!(compare(&1.0, &f64::INFINITY, BOTH).is_err());
        assert_eq!(compare(&f32::NEG_INFINITY, &f64::NEG_INFINITY, 0.0), Ok(()));
    }

    #[test]
    #[should_panic(expected = "row 3: 1 instead of 2 at index 0: ")]
    fn the_panic_tells_what_was_compared() {
        assert_close!(1.0, 2.0, 0.5, "row {}", 3);
    }
}
