//! Headers of safetensors files, whole and broken: read here where the crate of Hugging Face reads them, and with the same
//! numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};

use super::tensors::read_safetensors;

/// A file with this header and as many bytes of numbers, whose length may be a lie.
fn file(header: &str, length: u64, bytes: usize) -> Vec<u8> {
    [&length.to_le_bytes()[..], header.as_bytes(), &vec![0x3c; bytes]].concat()
}

/// A header of up to three tensors that follow each other, where each part may be wrong; and the bytes that they take.
fn header(random: &mut ChaCha8Rng) -> (String, usize) {
    let mut start = 0;
    let tensors: Vec<String> = (0..random.random_range(0..4))
        .map(|number| {
            let dtypes = [("F32", 4), ("F16", 2), ("BF16", 2), ("F32", 4), ("I64", 8), ("F8", 1), ("Q9", 1)];
            let kinds = if random.random_bool(0.2) { 7 } else { 4 };
            let (dtype, width) = dtypes[random.random_range(0..kinds)];
            let shape: Vec<usize> = (0..random.random_range(0..3)).map(|_| random.random_range(0..4)).collect();
            let end = start + width * shape.iter().product::<usize>();
            let (shape, offsets) = match random.random_range(0..20) {
                0 => (format!("{shape:?}"), format!("[{}, {end}]", start + 1)),
                1 => (format!("{shape:?}"), format!("[{end}, {start}]")),
                2 => ("[4294967296, 4294967296]".to_string(), format!("[{start}, {end}]")),
                3 => ("[-1]".to_string(), format!("[{start}, {end}]")),
                4 => (format!("{shape:?}"), format!("[{start}, {end}, {end}]")),
                _ => (format!("{shape:?}"), format!("[{start}, {end}]")),
            };
            let name = if random.random_bool(0.05) { 0 } else { number };
            start = end;
            format!("\"t{name}\": {{\"dtype\": \"{dtype}\", \"shape\": {shape}, \"data_offsets\": {offsets}}}")
        })
        .collect();
    let metadata =
        ["", "\"__metadata__\": {\"format\": \"pt\"}", "\"__metadata__\": {\"format\": 1}", "\"__metadata__\": null"];
    let chosen = if random.random_bool(0.8) { random.random_range(0..2) } else { random.random_range(2..4) };
    let metadata = metadata[chosen];
    let parts: Vec<&str> =
        tensors.iter().map(String::as_str).chain([metadata]).filter(|part| !part.is_empty()).collect();
    (format!("{{{}}}", parts.join(", ")), start)
}

#[test]
fn headers_are_read_where_the_crate_reads_them() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut read = 0;
    for _ in 0..3_000 {
        let (mut text, bytes) = header(&mut random);
        match random.random_range(0..12) {
            0 => text.truncate(random.random_range(0..text.len())),
            1 => {
                let sign = ['x', '"', ',', '{'][random.random_range(0..4)];
                text.insert(random.random_range(0..text.len()), sign);
            }
            2 => text.push_str("   "),
            _ => {}
        }
        let length = match random.random_range(0..12) {
            0 => random.random_range(0..=2 * text.len() as u64),
            1 => u64::MAX - random.random_range(0..9),
            _ => text.len() as u64,
        };
        let bytes = if random.random_bool(0.1) { bytes + random.random_range(0..3) } else { bytes };
        let whole = file(&text, length, bytes);
        let ours = read_safetensors(&mut whole.as_slice(), whole.len() as u64);
        // Numbers of other types are theirs to read, and not ours.
        let theirs = SafeTensors::deserialize(&whole).ok().filter(|theirs| {
            theirs.iter().all(|(_, tensor)| matches!(tensor.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16))
        });
        let context = || format!("{text} of the length {length}, and {bytes} bytes of numbers");
        assert_eq!(ours.is_ok(), theirs.is_some(), "{}: {ours:?}", context());
        if let (Ok(ours), Some(theirs)) = (ours, theirs) {
            read += 1;
            let shapes = theirs.iter().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec()));
            let shapes: std::collections::BTreeMap<_, _> = shapes.collect();
            let found: std::collections::BTreeMap<_, _> = ours.into_iter().map(|(name, it)| (name, it.shape)).collect();
            assert_eq!(found, shapes, "{}", context());
        }
    }
    assert!((500..2_500).contains(&read), "{read} of 3000 are whole");
}
