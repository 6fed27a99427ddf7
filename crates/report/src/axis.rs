//! The axes of a plot: ranges, ticks and their labels.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// A linear axis with ticks at multiples of 1, 2 or 5 times a power of ten. The axes of plotters compute ticks with
/// absolute tolerances, and fail on values such as 1e-30.
pub struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// An axis with at most about `ticks` ticks, at least `least` apart.
    pub fn new(low: f64, high: f64, ticks: u32, least: f64) -> Self {
        let rough = (high - low) / f64::from(ticks);
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|&step| step >= rough);
        Self { low, high, step: step.unwrap_or(steps[3]).max(least) }
    }

    fn ticks(&self) -> Vec<f64> {
        let first = (self.low / self.step).ceil();
        let last = (self.high / self.step).floor();
        let count = (last - first + 1.0) as usize;
        (0..count).map(|index| (first + index as f64) * self.step).collect()
    }

    /// Labels of the ticks.
    pub fn labels(&self) -> Vec<String> {
        self.ticks().iter().map(|tick| self.format_ext(tick)).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        start + (f64::from(end - start) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        palestra_display::significant(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        palestra_display::tick(*value, self.step, self.low.abs().max(self.high.abs()))
    }
}

/// Range of the vertical axis with a margin above and below; never empty, even for a constant.
pub fn values(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let size = low.abs().max(high.abs());
    match high - low {
        _ if size < 1e-100 => (-1.0, 1.0),
        range if range < size * 1e-6 => (low - size * 0.2, high + size * 0.2),
        range => (low - range * 0.05, high + range * 0.05),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_range() {
        assert_eq!(Axis::new(-0.1, 1.05, 6, 0.0).labels(), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(Axis::new(1.0, 4.0, 10, 1.0).labels(), ["1", "2", "3", "4"]);
        assert_eq!(Axis::new(0.0, 30_000.0, 3, 1.0).labels(), ["0", "10k", "20k", "30k"]);
        for size in [1e-90, 1e-30, 1e-5, 1e17, 1e90] {
            let ticks = Axis::new(-size, size, 8, 0.0).ticks().len();
            assert!((5..=10).contains(&ticks), "{ticks} ticks for {size}");
        }
    }

    #[test]
    fn a_range_is_never_empty() {
        for constant in [0.0, 1.0, -3.0, 1e-310, 1e90] {
            let (low, high) = values([constant].into_iter());
            assert!(low < constant && constant < high, "{low}..{high}");
        }
        assert_eq!(values(std::iter::empty()), (0.0, 1.0));
        assert_eq!(values([0.0, 10.0].into_iter()), (-0.5, 10.5));
    }
}
