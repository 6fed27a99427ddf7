//! Ranges of numbers, and checks of settings against them. Must not know which settings there are.

use std::cmp::Ordering;
use std::fmt;

use crate::{Error, Result};

/// A setting of a section: the name of its field, its value, its range.
pub type Setting<'a> = (&'a str, &'a dyn Number, Range);

/// Checks that the values of a section are in their ranges. Names of fields follow the name of the section and a dot;
/// the section may be empty.
///
/// ```
/// use palestra_settings::{Range, check_ranges};
///
/// let (epochs, gamma, threads) = (4_usize, 1.5_f32, None::<usize>);
/// let error = check_ranges("ppo", &[
///     ("epochs", &epochs, Range::at_least(1.0)),
///     ("gamma", &gamma, Range::UNIT),
///     ("threads", &threads, Range::at_least(1.0)),
/// ]);
/// assert_eq!(error.unwrap_err().to_string(), "ppo.gamma: 1.5 is not between 0 and 1");
/// ```
///
/// # Errors
/// The first value outside of its range: names the field, the value and the range.
pub fn check_ranges(section: &str, settings: &[Setting<'_>]) -> Result<()> {
    let wrong = settings.iter().find_map(|(field, number, range)| {
        let value = number.value().filter(|value| !range.contains(*value))?;
        let dot = if section.is_empty() { "" } else { "." };
        Some(Error(format!("{section}{dot}{field}: {value} is not {range}")))
    });
    wrong.map_or(Ok(()), Err)
}

/// A range of numbers. A range contains no infinite number, unless [`or`](Self::or) adds it, and never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    low: Bound,
    high: Bound,
    also: Option<(f64, &'static str)>,
}

/// Bound of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// The bound belongs to the range.
    Included(f64),
    /// The bound does not belong to the range.
    Excluded(f64),
    /// There is no bound.
    None,
}

use Bound::{Excluded, Included};

impl Range {
    /// Above 0.
    pub const POSITIVE: Self = Self::above(0.0);
    /// At least 0.
    pub const AT_LEAST_ZERO: Self = Self::at_least(0.0);
    /// At least 1, for numbers of things.
    pub const AT_LEAST_ONE: Self = Self::at_least(1.0);
    /// Between 0 and 1, with both.
    pub const UNIT: Self = Self::between(0.0, 1.0);
    /// Above 0 and below 1.
    pub const OPEN_UNIT: Self = Self::new(Excluded(0.0), Excluded(1.0));
    /// Any finite number.
    pub const FINITE: Self = Self::new(Bound::None, Bound::None);

    /// Numbers above a bound.
    pub const fn above(low: f64) -> Self {
        Self::new(Excluded(low), Bound::None)
    }

    /// Numbers from a bound on.
    pub const fn at_least(low: f64) -> Self {
        Self::new(Included(low), Bound::None)
    }

    /// Numbers up to a bound.
    pub const fn at_most(high: f64) -> Self {
        Self::new(Bound::None, Included(high))
    }

    /// Numbers between two bounds, with both.
    pub const fn between(low: f64, high: f64) -> Self {
        Self::new(Included(low), Included(high))
    }

    /// Numbers above one bound and up to another.
    pub const fn above_to(low: f64, high: f64) -> Self {
        Self::new(Excluded(low), Included(high))
    }

    /// Numbers from one bound on and below another.
    pub const fn from_below(low: f64, high: f64) -> Self {
        Self::new(Included(low), Excluded(high))
    }

    /// One number alone, with the reason why.
    pub const fn only(number: f64, reason: &'static str) -> Self {
        Self::between(number, number).or(number, reason)
    }

    /// Adds one number with a meaning of its own, such as 0 for `none`.
    pub const fn or(self, number: f64, meaning: &'static str) -> Self {
        Self { also: Some((number, meaning)), ..self }
    }

    const fn new(low: Bound, high: Bound) -> Self {
        Self { low, high, also: None }
    }

    /// True if a value is in the range.
    pub fn contains(&self, value: Value) -> bool {
        let is = |bound: f64, order: Ordering| value.compare(bound) == Some(order);
        let from_low = match self.low {
            Included(low) => is(low, Ordering::Equal) || is(low, Ordering::Greater),
            Excluded(low) => is(low, Ordering::Greater),
            Bound::None => true,
        };
        let to_high = match self.high {
            Included(high) => is(high, Ordering::Equal) || is(high, Ordering::Less),
            Excluded(high) => is(high, Ordering::Less),
            Bound::None => true,
        };
        (from_low && to_high && value.is_finite()) || self.also.is_some_and(|(number, _)| is(number, Ordering::Equal))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (Included(low), Included(high)) if low == high => {
                return write!(f, "{low}{}", self.also.map_or(String::new(), |(_, reason)| format!(", {reason}")));
            }
            (Included(low), Included(high)) => write!(f, "between {low} and {high}")?,
            (Bound::None, Bound::None) => f.write_str("a finite number")?,
            (low, high) => {
                match low {
                    Included(low) => write!(f, "at least {low}")?,
                    Excluded(low) => write!(f, "above {low}")?,
                    Bound::None => {}
                }
                if low != Bound::None && high != Bound::None {
                    f.write_str(" and ")?;
                }
                match high {
                    Included(high) => write!(f, "at most {high}")?,
                    Excluded(high) => write!(f, "below {high}")?,
                    Bound::None => {}
                }
            }
        }
        self.also.map_or(Ok(()), |(number, meaning)| write!(f, ", or {number} for {meaning}"))
    }
}

/// The value of a setting, as it is stored: a range is compared in the precision of the value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
    /// A whole number.
    Whole(i128),
}

impl Value {
    fn compare(self, bound: f64) -> Option<Ordering> {
        match self {
            Self::F32(value) => value.partial_cmp(&(bound as f32)),
            Self::F64(value) => value.partial_cmp(&bound),
            Self::Whole(value) => (value as f64).partial_cmp(&bound),
        }
    }

    fn is_finite(self) -> bool {
        match self {
            Self::F32(value) => value.is_finite(),
            Self::F64(value) => value.is_finite(),
            Self::Whole(_) => true,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
            Self::Whole(value) => value.fmt(f),
        }
    }
}

/// A type of settings that have a range.
pub trait Number {
    /// The value; `None` for a setting that is left out or switched off, which is in every range.
    fn value(&self) -> Option<Value>;
}

impl Number for f32 {
    fn value(&self) -> Option<Value> {
        Some(Value::F32(*self))
    }
}

impl Number for f64 {
    fn value(&self) -> Option<Value> {
        Some(Value::F64(*self))
    }
}

macro_rules! whole {
    ($($number:ty)*) => {
        $(impl Number for $number {
            fn value(&self) -> Option<Value> {
                Some(Value::Whole(*self as i128))
            }
        })*
    };
}

whole!(i32 i64 u32 u64 usize);

impl<T: Number> Number for Option<T> {
    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(Number::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_bounds_or_not() {
        let cases: [(Range, &[f64], &[f64], &str); 11] = [
            (Range::only(1.0, "which is all"), &[1.0], &[0.9, f64::NAN], "1, which is all"),
            (Range::POSITIVE, &[1e-300, 7.0], &[0.0, -1.0, f64::INFINITY, f64::NAN], "above 0"),
            (Range::AT_LEAST_ONE, &[1.0, 2.0], &[0.0, f64::NAN], "at least 1"),
            (Range::at_most(6.0), &[6.0, -9.0], &[6.1, f64::NEG_INFINITY], "at most 6"),
            (Range::UNIT, &[0.0, 1.0], &[-0.1, 1.1, f64::NAN], "between 0 and 1"),
            (Range::OPEN_UNIT, &[0.5], &[0.0, 1.0], "above 0 and below 1"),
            (Range::above_to(0.0, 0.5), &[0.5], &[0.0, 0.6], "above 0 and at most 0.5"),
            (Range::from_below(0.0, 1.0), &[0.0], &[1.0], "at least 0 and below 1"),
            (Range::FINITE, &[-1.0], &[f64::INFINITY, f64::NAN], "a finite number"),
            (Range::above(1.0).or(0.0, "none"), &[0.0, 2.0], &[1.0, 0.5], "above 1, or 0 for none"),
            (
                Range::POSITIVE.or(f64::INFINITY, "no limit"),
                &[f64::INFINITY, 1.0],
                &[0.0, f64::NAN, f64::NEG_INFINITY],
                "above 0, or inf for no limit",
            ),
        ];
        for (range, inside, outside, text) in cases {
            assert!(inside.iter().all(|value| range.contains(Value::F64(*value))), "{text}");
            assert!(!outside.iter().any(|value| range.contains(Value::F64(*value))), "{text}");
            assert_eq!(range.to_string(), text);
        }
    }

    #[test]
    fn values_are_compared_and_shown_as_they_are_stored() {
        assert!(Range::between(0.7, 1.0).contains(Value::F32(0.7)));
        let message = |number: &dyn Number| check_ranges("", &[("a", number, Range::at_most(0.1))]).unwrap_err().0;
        assert_eq!(message(&0.3_f32), "a: 0.3 is not at most 0.1");
        assert_eq!(message(&u64::MAX), "a: 18446744073709551615 is not at most 0.1");
        assert_eq!(message(&Some(3)), "a: 3 is not at most 0.1");
        assert_eq!(check_ranges("", &[("a", &None::<f32>, Range::at_most(0.1))]), Ok(()));
    }
}
