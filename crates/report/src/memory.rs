//! Memory use of the process.

/// Peak resident memory of this process so far in bytes; `None` if the system does not report it.
///
/// Linux reports it as `VmHWM` in `/proc/self/status`. GPU memory is not included.
pub fn peak_memory_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_high_water_mark() {
        let status = "Name:\tpalestra\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nThreads:\t2\n";
        assert_eq!(high_water_mark(status), Some(2 << 20));
        assert_eq!(high_water_mark("Name:\tpalestra\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn sees_memory_that_is_used() {
        let before = peak_memory_bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        std::hint::black_box(&block);
        assert!(peak_memory_bytes().unwrap() >= before.max(64 << 20));
    }
}
