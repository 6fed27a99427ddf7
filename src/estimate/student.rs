use super::importance::Interval;

/// Prediction interval of a quantity at this confidence, if each of `replicates` is an estimate from a resample of the
/// data: their mean, plus and minus `t s sqrt(1 + 1/n)`. Here s is their standard deviation and t is Student's quantile
/// with n - 1 degrees of freedom. s is the spread of one estimate; the term `1/n` accounts for the error of the mean.
///
/// `None` for fewer than two replicates.
pub fn replicate_interval(replicates: &[f64], confidence: f64) -> Option<Interval> {
    let n = replicates.len();
    if n < 2 {
        return None;
    }
    let mean = replicates.iter().sum::<f64>() / n as f64;
    let variance = replicates.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let reach = student_quantile(n - 1, confidence) * (variance * (1.0 + 1.0 / n as f64)).sqrt();
    Some(Interval { low: mean - reach, high: mean + reach, resamples: n })
}

/// Two-sided quantile of Student's distribution with `freedom` degrees of freedom: the t for which `|t|` stays below it
/// with this probability. Found by bisection of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
fn student_quantile(freedom: usize, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, std::f64::consts::FRAC_PI_2);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if within(freedom, middle) < probability { low = middle } else { high = middle }
    }
    low.tan() * (freedom as f64).sqrt()
}

/// `P(|t| < sqrt(freedom) tan(angle))`.
fn within(freedom: usize, angle: f64) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    // Terms of the finite series, each computed from the one before.
    let mut term = if is_odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    for step in 0..freedom / 2 {
        sum += term;
        let k = 2.0 * step as f64;
        term *= cosine * cosine * if is_odd { (k + 2.0) / (k + 3.0) } else { (k + 1.0) / (k + 2.0) };
    }
    if is_odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, probability, expected) in [
            (1, 0.95, 12.7062),
            (2, 0.95, 4.3027),
            (3, 0.9, 2.3534),
            (4, 0.95, 2.7764),
            (7, 0.95, 2.3646),
            (10, 0.99, 3.1693),
            (30, 0.5, 0.6828),
        ] {
            let found = student_quantile(freedom, probability);
            assert!((found - expected).abs() < 5e-5, "{found} instead of {expected}");
        }
    }

    #[test]
    fn an_interval_by_hand() {
        let interval = replicate_interval(&[1.0, 3.0, 5.0], 0.95).unwrap();
        let reach = 4.302_653 * 2.0 * (4.0f64 / 3.0).sqrt();
        assert!((interval.low - (3.0 - reach)).abs() < 1e-5 && (interval.high - (3.0 + reach)).abs() < 1e-5);
        assert_eq!(replicate_interval(&[1.0], 0.95), None);
    }
}
