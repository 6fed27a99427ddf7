//! Functions of numbers without branches, so that a loop over them is compiled to vector instructions.
//!
//! Loops count and do not use iterators, whose functions the compiler leaves outside of code for one kind of processor.

use std::f32::consts::FRAC_2_SQRT_PI;

/// Exponential to a relative error of 2e-7; 0 below -87, where a float would lose digits, and that of 88 above it.
#[inline(always)]
pub(in crate::ops) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: a float of this size has no fraction, so that adding it rounds.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-87.0, 88.0);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let rest = bounded - whole * LN_2_HIGH - whole * LN_2_LOW; // at most ln(2) / 2
    let high = ((1.0 / 5040.0 * rest + 1.0 / 720.0) * rest + 1.0 / 120.0) * rest + 1.0 / 24.0;
    let series = (((high * rest + 1.0 / 6.0) * rest + 0.5) * rest + 1.0) * rest + 1.0;
    // The lowest bits of the rounded number are the exponent.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x < -87.0 { 0.0 } else { series * power }
}

/// Error function to a relative error of 4e-7: `x P(x^2) / Q(x^2)`, fitted on -4 to 4, beyond which it rounds to 1.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let t = x * x;
    let p = ((1.986_805_3e-6 * t + 2.845_590_6e-4) * t + 3.883_105e-3) * t + 5.310_100_7e-2;
    let p = (p * t + 1.935_397_1e-1) * t + FRAC_2_SQRT_PI;
    let q = ((3.742_005_4e-5 * t + 1.185_510_4e-3) * t + 1.520_677_5e-2) * t + 1.153_477_6e-1;
    let q = (q * t + 5.048_526_5e-1) * t + 1.0;
    (x * p / q).clamp(-1.0, 1.0)
}

/// Hyperbolic tangent to an error of 2e-7.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `sum a[i] b[i]` in eight sums, which are added in one order.
#[inline(always)]
pub(in crate::ops) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for i in 0..a.len().min(b.len()) {
        for lane in 0..8 {
            lanes[lane] += a[i][lane] * b[i][lane];
        }
    }
    let mut sum = total(lanes);
    for i in 0..a_rest.len().min(b_rest.len()) {
        sum += a_rest[i] * b_rest[i];
    }
    sum
}

/// The largest number, or minus infinity.
#[inline(always)]
pub(super) fn max(a: &[f32]) -> f32 {
    let (a, rest) = a.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for i in 0..a.len() {
        for lane in 0..16 {
            lanes[lane] = if a[i][lane] > lanes[lane] { a[i][lane] } else { lanes[lane] };
        }
    }
    let mut max = f32::NEG_INFINITY;
    for lane in 0..16 {
        max = max.max(lanes[lane]);
    }
    for i in 0..rest.len() {
        max = max.max(rest[i]);
    }
    max
}

/// `sum a[i]`, as [`dot`].
#[inline(always)]
pub(in crate::ops) fn sum(a: &[f32]) -> f32 {
    let (a, rest) = a.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for i in 0..a.len() {
        for lane in 0..8 {
            lanes[lane] += a[i][lane];
        }
    }
    let mut sum = total(lanes);
    for i in 0..rest.len() {
        sum += rest[i];
    }
    sum
}

#[inline(always)]
fn total([a, b, c, d, e, f, g, h]: [f32; 8]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Adds `factor * b` to `a`.
#[inline(always)]
pub(in crate::ops) fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    let count = a.len().min(b.len());
    let (a, b) = (&mut a[..count], &b[..count]);
    for i in 0..count {
        a[i] += factor * b[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(from: f64, to: f64) -> impl Iterator<Item = f32> {
        (0..=100_000).map(move |i| (from + (to - from) * f64::from(i) / 100_000.0) as f32)
    }

    #[test]
    fn exponentials_are_those_of_64_bits() {
        for x in each(-87.0, 88.0) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2e-7, "exp({x})");
        }
        assert_eq!([exp(0.0), exp(-1e30), exp(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert!(exp(f32::NAN).is_nan() && exp(1e30).is_finite());
    }

    #[test]
    fn tangents_are_those_of_64_bits() {
        for x in each(-50.0, 50.0) {
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 2e-7, "tanh({x})");
        }
        assert_eq!([tanh(-1e30), tanh(0.0), tanh(1e30)], [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn error_functions_follow_their_series() {
        // erf(x) = 2 / sqrt(pi) sum_k (-1)^k x^(2k+1) / (k! (2k+1))
        for x in each(-4.5, 4.5) {
            let wide = f64::from(x);
            let (mut power, mut series) = (wide, wide);
            for k in 1..120 {
                power *= -wide * wide / f64::from(k);
                series += power / f64::from(2 * k + 1);
            }
            let expected = series * std::f64::consts::FRAC_2_SQRT_PI;
            assert!((f64::from(erf(x)) - expected).abs() < 4e-7 * expected.abs() + 1e-9, "erf({x})");
        }
        assert_eq!([erf(-1e30), erf(0.0), erf(f32::INFINITY)], [-1.0, 0.0, 1.0]);
    }

    #[test]
    fn sums_take_all_numbers() {
        for count in [0, 3, 8, 13, 32] {
            let numbers: Vec<f32> = (0..count).map(|i| i as f32).collect();
            let expected = (0..count).sum::<usize>() as f32;
            assert_eq!(sum(&numbers), expected);
            assert_eq!(dot(&numbers, &vec![2.0; count]), 2.0 * expected);
        }
    }
}
