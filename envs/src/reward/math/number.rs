//! Numbers as people write them: exact fractions where they fit, floating-point numbers where they do not.

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// A fraction in lowest terms; the denominator is positive.
    Exact(i128, i128),
    Float(f64),
}

impl Number {
    fn exact(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?;
        let sign = denominator.signum();
        Some(Self::Exact((numerator / divisor).checked_mul(sign)?, (denominator / divisor).checked_mul(sign)?))
    }

    /// The value as a floating-point number.
    pub fn value(self) -> f64 {
        match self {
            Self::Exact(numerator, denominator) => numerator as f64 / denominator as f64,
            Self::Float(value) => value,
        }
    }

    /// The quotient; `None` for a division by 0.
    pub fn divided_by(self, other: Self) -> Option<Self> {
        let exact = match (self, other) {
            (_, Self::Exact(0, _)) => return None,
            (Self::Exact(a, b), Self::Exact(c, d)) => a
                .checked_mul(d)
                .zip(b.checked_mul(c))
                .and_then(|(numerator, denominator)| Self::exact(numerator, denominator)),
            _ => None,
        };
        exact.or(Some(Self::Float(self.value() / other.value())).filter(|quotient| quotient.value().is_finite()))
    }

    pub fn times(self, other: Self) -> Self {
        let exact = match (self, other) {
            (Self::Exact(a, b), Self::Exact(c, d)) => a
                .checked_mul(c)
                .zip(b.checked_mul(d))
                .and_then(|(numerator, denominator)| Self::exact(numerator, denominator)),
            _ => None,
        };
        exact.unwrap_or(Self::Float(self.value() * other.value()))
    }

    pub fn plus(self, other: Self) -> Self {
        let exact = match (self, other) {
            (Self::Exact(a, b), Self::Exact(c, d)) => (|| {
                let numerator = a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?;
                Self::exact(numerator, b.checked_mul(d)?)
            })(),
            _ => None,
        };
        exact.unwrap_or(Self::Float(self.value() + other.value()))
    }

    pub fn negated(self) -> Self {
        self.times(Self::Exact(-1, 1))
    }

    /// 10 to a power.
    pub fn power_of_ten(exponent: i32) -> Self {
        let exact = 10_i128.checked_pow(exponent.unsigned_abs()).map(|power| match exponent < 0 {
            true => Self::Exact(1, power),
            false => Self::Exact(power, 1),
        });
        exact.unwrap_or(Self::Float(10_f64.powi(exponent)))
    }

    /// True if two numbers are equal, or differ by at most `tolerance` of the larger one.
    pub fn is_equal(self, other: Self, tolerance: f64) -> bool {
        if let (Self::Exact(..), Self::Exact(..)) = (self, other)
            && self == other
        {
            return true;
        }
        let (one, two) = (self.value(), other.value());
        let is_inexact = matches!(self, Self::Float(_)) || matches!(other, Self::Float(_));
        // Rounding of a number that does not fit is no difference.
        let allowed = if is_inexact { tolerance.max(1e-12) } else { tolerance };
        one == two && is_inexact || allowed > 0.0 && (one - two).abs() <= allowed * one.abs().max(two.abs())
    }

    /// Parses a decimal number: digits with an optional sign, point, separators of thousands and exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i16>().ok()?),
            None => (rest, 0),
        };
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = without_thousands(whole)?;
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && decimals.is_empty() || !is_number(&whole) || !is_number(decimals) {
            return None;
        }
        let digits = format!("{whole}{decimals}");
        let power = Self::power_of_ten(i32::from(exponent) - i32::try_from(decimals.len()).ok()?);
        let number = match digits.parse::<i128>() {
            Ok(number) => Self::Exact(number * sign, 1).times(power),
            Err(_) => Self::Float(text.replace(',', "").parse().ok()?),
        };
        Some(number).filter(|number| number.value().is_finite())
    }
}

/// The digits of a whole number without separators of thousands; `None` if its commas are none.
fn without_thousands(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let is_grouped = rest.is_empty() || (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3);
    is_grouped.then(|| format!("{first}{}", rest.concat()))
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
