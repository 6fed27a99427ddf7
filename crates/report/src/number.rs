//! Number formats for plots, the report and the terminal.

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

/// A time span given in seconds, such as `12.3 s`, `3 min 20 s` or `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A size given in bytes, such as `1.5 GiB`.
pub fn bytes(size: u64) -> String {
    let size = size as f64;
    match size {
        0.0..1_048_576.0 => format!("{:.0} KiB", size / 1024.0),
        1_048_576.0..1_073_741_824.0 => format!("{:.0} MiB", size / 1_048_576.0),
        _ => format!("{:.1} GiB", size / 1_073_741_824.0),
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
    fn spans_and_sizes() {
        assert_eq!([12.34, 200.0, 3725.0].map(duration), ["12.3 s", "3 min 20 s", "1 h 02 min"]);
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
