//! Files as bytes: those that are written, those of llama.cpp, and hostile ones.

use super::*;

/// Bytes of a file with one setting of each type and one tensor of each format.
fn example() -> (Vec<(String, Value)>, Vec<Tensor>) {
    let settings = [
        ("integer", Value::Integer(7)),
        ("float", Value::Float(1e-5)),
        ("switch", Value::Switch(true)),
        ("text", Value::Text("Zürich".into())),
        ("integers", Value::Integers(vec![1, -2])),
        ("floats", Value::Floats(vec![0.5, -3.0])),
        ("switches", Value::Switches(vec![true, false])),
        ("texts", Value::Texts(vec!["a".into(), String::new()])),
    ];
    let tensor = |format: NumberFormat| Tensor {
        name: format.name().into(),
        shape: vec![2, 32],
        format,
        data: (0..64).map(|number| number as f32 - 10.0).collect(),
    };
    let settings = settings.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    (settings, NumberFormat::ALL.map(tensor).into())
}

fn written(settings: &[(String, Value)], tensors: &[Tensor]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    write(&path, settings, tensors).unwrap();
    std::fs::read(path).unwrap()
}

fn with_bytes<T>(bytes: &[u8], read: impl FnOnce(Result<Gguf>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, bytes).unwrap();
    read(Gguf::open(&path))
}

fn refused(bytes: &[u8]) -> String {
    with_bytes(bytes, |file| file.unwrap_err().reason)
}

/// A header with these counts, and what follows.
fn header(tensors: u64, settings: u64, rest: &[&[u8]]) -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &settings.to_le_bytes()]
        .into_iter()
        .chain(rest.iter().copied())
        .collect::<Vec<_>>()
        .concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn what_is_written_is_read() {
    let (settings, tensors) = example();
    with_bytes(&written(&settings, &tensors), |file| {
        let file = file.unwrap();
        for (name, value) in &settings {
            assert_eq!(file.setting(name), Some(value));
        }
        assert_eq!(file.number("float").unwrap(), Some(1e-5), "the shortest decimal, not 0.0000099999997");
        for tensor in &tensors {
            let found = &file.tensors()[&tensor.name];
            assert_eq!((&found.shape, found.format), (&tensor.shape, tensor.format));
            // Blocks are multiples of 1 / 127 of their largest magnitude, 21 and 53, whose scale has 11 bits.
            let tolerance = if tensor.format == NumberFormat::Q8_0 { 0.5 * 53.0 / 127.0 + 53.0 / 2048.0 } else { 0.0 };
            palestra_testing::assert_close!(file.read(&tensor.name).unwrap(), tensor.data, tolerance);
        }
    });
}

#[test]
fn bytes_are_those_of_the_format() {
    let settings = [("a".to_string(), Value::Switch(true))];
    let tensor = Tensor { name: "t".into(), shape: vec![1, 2], format: NumberFormat::F16, data: vec![1.0, -2.0] };
    let mut expected = header(1, 1, &[&text("a"), &7_u32.to_le_bytes(), &[1]]);
    expected.extend(text("t"));
    expected.extend(2_u32.to_le_bytes());
    expected.extend([2_u64, 1].map(u64::to_le_bytes).concat()); // the contiguous axis first
    expected.extend(1_u32.to_le_bytes());
    expected.extend(0_u64.to_le_bytes());
    expected.resize(expected.len().next_multiple_of(32), 0);
    expected.extend([0x00, 0x3c, 0x00, 0xc0]);
    expected.resize(expected.len().next_multiple_of(32), 0);
    assert_eq!(written(&settings, &[tensor]), expected);
}

/// As `gguf.quants.quantize` of gguf 0.19 packs the same numbers.
#[test]
fn a_block_of_q8_0_is_that_of_llama_cpp() {
    let data: Vec<f32> = (0..32).map(|number| ((number * 7 % 32 - 11) as f64 * 0.37) as f32).collect();
    let tensor = Tensor { name: "t".into(), shape: vec![32], format: NumberFormat::Q8_0, data };
    let bytes = written(&[], &[tensor]);
    let expected = [
        117, 43, 186, 231, 19, 64, 108, 205, 250, 38, 83, 127, 224, 13, 57, 102, 199, 243, 32, 76, 121, 218, 6, 51, 95,
        192, 237, 25, 70, 114, 212, 0, 44, 89,
    ];
    assert_eq!(bytes[bytes.len() - 64..][..34], expected);
}

#[test]
fn what_a_format_has_no_value_for_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let refused = |format, data: Vec<f32>| {
        let tensor = Tensor { name: "t".into(), shape: vec![data.len()], format, data };
        write(&path, &[], &[tensor]).unwrap_err().reason
    };
    assert_eq!(refused(NumberFormat::F32, vec![0.0, f32::NAN]), "tensor t holds NaN at 1, which F32 has no value for");
    assert_eq!(refused(NumberFormat::F16, vec![1e5]), "tensor t holds 100000 at 0, which F16 has no value for");
    assert!(refused(NumberFormat::Q8_0, vec![1.0; 33]).starts_with("tensor t has rows of Some(33) numbers"));
    let large = [("a".to_string(), Value::Integer(1 << 32))];
    assert_eq!(write(&path, &large, &[]).unwrap_err().reason, "a: 4294967296 does not fit into 32 bits");
    assert!(!path.exists());
}

#[test]
fn claims_beyond_the_file_or_the_bounds_are_refused_before_memory_is_taken() {
    let (list, long) = (9_u32.to_le_bytes(), u64::MAX.to_le_bytes());
    let setting = |kind: u32, value: &[u8]| header(0, 1, &[&text("a"), &kind.to_le_bytes(), value]);
    assert_eq!(refused(b"GGML"), "no GGUF file: it does not begin with GGUF");
    assert_eq!(refused(b"GGUF\0\0\0\x03"), "is big-endian; little-endian files can be read");
    assert_eq!(refused(b"GGUF\x01\0\0\0"), "is of GGUF version 1; 2 and 3 can be read");
    assert!(refused(&header(u64::MAX, 0, &[])).contains("tensors; at most 65536 are read"));
    assert!(refused(&header(0, u64::MAX, &[])).contains("settings; at most 65536 are read"));
    assert!(
        refused(&header(0, 1, &[&long])).starts_with("the name of a setting: claims a text of 18446744073709551615")
    );
    assert!(refused(&setting(8, &long)).starts_with("a: claims a text of 18446744073709551615 bytes, and 0 follow"));
    assert!(
        refused(&setting(9, &[&8_u32.to_le_bytes()[..], &long].concat())).starts_with("a: claims 18446744073709551615")
    );
    assert!(refused(&setting(9, &[&list[..], &0_u64.to_le_bytes()].concat())).contains("is a list of lists"));
    assert!(refused(&setting(99, &[])).contains("a: is of the unknown value type 99"));
    assert!(refused(&setting(7, &[2])).contains("a: is 2; a boolean must be 0 or 1"));
    assert!(refused(&setting(8, &[&1_u64.to_le_bytes()[..], &[0xff]].concat())).contains("a text that is not UTF-8"));
    let twice = [text("a"), 7_u32.to_le_bytes().into(), vec![1]].concat();
    assert_eq!(refused(&header(0, 2, &[&twice, &twice])), "the setting a is there twice");

    let tensor = |name: &str, lengths: &[u64], kind: u32, start: u64| {
        let lengths_bytes = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let axes = (lengths.len() as u32).to_le_bytes().to_vec();
        [text(name), axes, lengths_bytes, kind.to_le_bytes().into(), start.to_le_bytes().into()].concat()
    };
    let zeros = [0; 128];
    let one = |lengths: &[u64], kind, start| refused(&header(1, 0, &[&tensor("t", lengths, kind, start), &zeros]));
    assert_eq!(one(&[256], 12, 0), "tensor t is Q4_K; F32, F16, BF16, Q8_0 can be read");
    assert!(one(&[256], 77, 0).starts_with("tensor t is of the unknown type 77"));
    assert!(one(&[33], 8, 0).contains("has rows of 33 numbers"));
    assert!(one(&[1 << 40, 1 << 40], 0, 0).contains("more than the file of"));
    assert!(one(&[u64::MAX], 1, 0).contains("more than the file of"));
    assert!(one(&[1, 1, 1, 1, 1], 0, 0).contains("has 5 axes"));
    assert!(one(&[4], 0, 16).contains("begins at 16, no multiple of the alignment 32"));
    assert!(one(&[4], 0, 1 << 40).contains("reaches beyond"));
    assert!(one(&[4], 0, u64::MAX - 31).contains("reaches beyond"));
    let (first, second) = (tensor("t", &[16], 0, 0), tensor("u", &[4], 0, 32));
    assert_eq!(refused(&header(2, 0, &[&first, &second, &zeros])), "damaged: tensor u begins in the tensor before it");
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let (settings, tensors) = example();
    let whole = written(&settings, &tensors);
    let used = whole.len() - 28; // the last block of Q8_0 ends 28 bytes before the end
    for length in 0..used {
        with_bytes(&whole[..length], |file| assert!(file.is_err(), "cut to {length} bytes"));
    }
    for at in 0..700.min(whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        with_bytes(&bytes, |file| {
            for name in file.iter().flat_map(|file| file.tensors().keys()) {
                let _ = file.as_ref().map(|file| file.read(name));
            }
        });
    }
}

#[test]
fn a_setting_of_another_type_is_refused_by_name() {
    let (settings, _) = example();
    with_bytes(&written(&settings, &[]), |file| {
        let file = file.unwrap();
        assert_eq!(file.count("text").unwrap_err().reason, "text is \"Zürich\"; it must be an integer of at least 0");
        assert_eq!(file.text("texts").unwrap_err().reason, "texts is a list of 2 texts; it must be a text");
        assert_eq!(file.count("absent").unwrap(), None);
    });
}
