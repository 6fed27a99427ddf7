//! Time that devices take to add their gradients, by formula.

use palestra_learn::collective::BUCKET;

/// Network between the devices of a run, as `palestra bench collective` measures it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network {
    /// Bytes that a device sends in a second.
    pub bytes_per_second: f64,
    /// Time of a message to another device, however short.
    pub message_seconds: f64,
}

impl Network {
    /// Seconds in which `devices` add `count` numbers of 4 bytes. A device sends each other one its share, and then the sum of
    /// its own share: `2 (N - 1) / N` of the bytes, in two messages to each other device for every bucket.
    ///
    /// A divided optimiser sends the same: its share of the gradients, and then its share of the new weights.
    pub fn all_reduce_seconds(self, count: u64, devices: u64) -> f64 {
        let others = (devices - 1) as f64;
        let bytes = 2.0 * others / devices as f64 * 4.0 * count as f64;
        let messages = 2.0 * others * count.div_ceil(BUCKET as u64) as f64;
        bytes / self.bytes_per_second + messages * self.message_seconds
    }
}
