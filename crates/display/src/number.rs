//! Numbers, durations, sizes and shares as text. Must not know what they measure.

/// A value with four significant digits, such as `0.0312`, `12.5k` or `3.1e-5`.
pub fn significant(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "not finite".into();
    }
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e12).contains(&size) {
        return format!("{value:.1e}");
    }
    let (unit, suffix) = unit(size);
    let scaled = value / unit;
    let decimals = (3 - scaled.abs().log10().floor() as i32).clamp(0, 4) as usize;
    trimmed(format!("{scaled:.decimals$}")) + suffix
}

/// Label of a tick at `value` on an axis with ticks `step` apart and values of at most `largest` in size.
pub fn tick(value: f64, step: f64, largest: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e12).contains(&largest) {
        let exponent = value.abs().log10().floor() as i32;
        let decimals = decimals(step / 10f64.powi(exponent));
        return format!("{value:.decimals$e}");
    }
    let (unit, suffix) = unit(largest);
    let decimals = decimals(step / unit);
    format!("{:.decimals$}{suffix}", value / unit)
}

/// A number with at most four decimals, without trailing zeros, such as `0.9948`.
pub fn decimals4(value: f64) -> String {
    trimmed(format!("{value:.4}"))
}

/// A whole number with separators between its thousands, such as `1,234,567`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage, such as `12.5 %`. A share below 1 is never shown as 100 %, nor one above 0 as 0 %.
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.001 {
        return "under 0.1 %".to_string();
    }
    if share > 0.999 && share < 1.0 {
        return "over 99.9 %".to_string();
    }
    trimmed(format!("{:.1}", share * 100.0)) + " %"
}

/// A time span given in seconds, such as `12.3 s`, `3 min 20 s`, `1 h 02 min` or `3.5 days`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

/// A size given in bytes, such as `1.5 GB`; 1 kB is 1,000 bytes.
pub fn bytes(size: u64) -> String {
    let number = size as f64;
    match size {
        0..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number / 1e6),
        1_000_000_000..1_000_000_000_000 => format!("{:.2} GB", number / 1e9),
        _ => format!("{:.2} TB", number / 1e12),
    }
}

/// Unit of a number: thousands, millions or billions from 10,000 on.
fn unit(size: f64) -> (f64, &'static str) {
    match size {
        1e9.. => (1e9, "G"),
        1e6.. => (1e6, "M"),
        1e4.. => (1e3, "k"),
        _ => (1.0, ""),
    }
}

/// Number of decimals that distinguish multiples of `step`.
fn decimals(step: f64) -> usize {
    (0..9)
        .find(|&decimals| {
            let scaled = step * 10f64.powi(decimals);
            scaled >= 0.999 && (scaled - scaled.round()).abs() < 1e-3
        })
        .unwrap_or(9) as usize
}

fn trimmed(number: String) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.').into() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_significant_digits() {
        let written = [0.0, 0.031_24, -6.84, 1234.56, 12_500.0, 3.14e-5, f64::NAN].map(significant);
        assert_eq!(written, ["0", "0.0312", "-6.84", "1235", "12.5k", "3.1e-5", "not finite"]);
    }

    #[test]
    fn ticks_have_the_decimals_that_their_step_needs() {
        assert_eq!(tick(0.25, 0.25, 1.0), "0.25");
        assert_eq!(tick(-0.000_000_001, 0.5, 2.0), "0");
        assert_eq!(tick(3.0, 1.0, 5.0), "3");
        assert_eq!(tick(12_500.0, 2_500.0, 20_000.0), "12.5k");
        assert_eq!(tick(2e-5, 1e-5, 5e-5), "2e-5");
    }

    #[test]
    fn spans_sizes_and_shares() {
        let spans = [12.34, 200.0, 3725.0, 302_400.0].map(duration);
        assert_eq!(spans, ["12.3 s", "3 min 20 s", "1 h 02 min", "3.5 days"]);
        let sizes = [999, 1_500, 12_340_000, 1_500_000_000, 109_000_000_000_000].map(bytes);
        assert_eq!(sizes, ["999 B", "1.5 kB", "12.3 MB", "1.50 GB", "109.00 TB"]);
        let shares = [0.999_99, 0.000_01, 1.0, 0.125, 0.0].map(percent);
        assert_eq!(shares, ["over 99.9 %", "under 0.1 %", "100 %", "12.5 %", "0 %"]);
        assert_eq!([999, 1_234_567].map(grouped), ["999", "1,234,567"]);
        assert_eq!([0.994_84, 20.0, -6.84].map(decimals4), ["0.9948", "20", "-6.84"]);
    }
}
