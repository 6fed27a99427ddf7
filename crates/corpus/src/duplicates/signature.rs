use twox_hash::XxHash3_64;

/// Number of bands. Two texts are compared if all values of one band agree.
pub(crate) const BANDS: usize = 14;
/// Number of values per band; 8 bits of each are kept, so that a band is a `u64`.
const ROWS: usize = 8;
const VALUES: usize = BANDS * ROWS;
/// Number of words in a sequence.
const WORDS: usize = 5;

/// The MinHash values of a text, 8 bits of each (b-bit minwise hashing, Li and König 2010).
pub(crate) type Signature = [u64; BANDS];

/// The probability that two texts of this Jaccard similarity agree in a band: 1 - (1 - s^8)^14.
///
/// ```
/// use palestra_corpus::probability_of_meeting as p;
/// assert!(p(0.5) < 0.06 && p(0.8) > 0.92 && p(0.9) > 0.999);
/// ```
pub fn probability_of_meeting(similarity: f64) -> f64 {
    1.0 - (1.0 - similarity.powi(ROWS as i32)).powi(BANDS as i32)
}

/// Returns the signature of a text; `None` for a text without words.
///
/// One hash per sequence decides both the bin of its value among the 112 and the value (one permutation hashing, Li,
/// Owen and Zhang 2012). Empty bins copy from a bin that the same hash function picks for every text (optimal
/// densification, Shrivastava 2017). Words are runs of letters and digits in lower case, or single letters in languages
/// that are written without spaces.
pub(crate) fn signature(text: &str, single_letters: bool) -> Option<Signature> {
    let words = words(text, single_letters);
    if words.is_empty() {
        return None;
    }
    let mut least = [u64::MAX; VALUES];
    for sequence in words.windows(WORDS.min(words.len())) {
        let hash = sequence.iter().fold(0u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(ODD));
        let hash = mix(hash);
        let place = ((hash >> 32) * VALUES as u64) >> 32;
        let value = hash & 0xffff_ffff;
        least[place as usize] = least[place as usize].min(value);
    }
    let filled = least;
    for (place, value) in least.iter_mut().enumerate().filter(|(_, value)| **value == u64::MAX) {
        let mut draws = (0u64..).map(|draw| mix(place as u64 * 1_000_003 + draw) % VALUES as u64);
        let from = draws.find(|from| filled[*from as usize] != u64::MAX).expect("one place is filled");
        *value = filled[from as usize];
    }
    let mut bands = [0; BANDS];
    for (place, value) in least.iter().enumerate() {
        // The bin index is mixed in, so that copies differ between bins.
        let byte = mix(value ^ (place as u64) << 40) >> 56;
        bands[place / ROWS] = bands[place / ROWS] << 8 | byte;
    }
    Some(bands)
}

/// Returns the estimated Jaccard similarity: the share of values that agree, corrected for chance agreement of 8 bits.
pub(super) fn similarity(a: &[u64], b: &[u64]) -> f64 {
    let agree = |(a, b): (&u64, &u64)| (a ^ b).to_le_bytes().iter().filter(|byte| **byte == 0).count();
    let share = a.iter().zip(b).map(agree).sum::<usize>() as f64 / VALUES as f64;
    let chance = 1.0 / 256.0;
    ((share - chance) / (1.0 - chance)).max(0.0)
}

fn words(text: &str, single_letters: bool) -> Vec<u64> {
    let mut hashes = Vec::with_capacity(text.len() / 5);
    let mut word = String::new();
    for run in text.split(|letter: char| !letter.is_alphanumeric()).filter(|run| !run.is_empty()) {
        if single_letters {
            hashes.extend(run.chars().map(|letter| mix(letter as u64)));
            continue;
        }
        word.clear();
        if run.is_ascii() {
            word.push_str(run);
            word.make_ascii_lowercase();
        } else {
            word.extend(run.chars().flat_map(char::to_lowercase));
        }
        hashes.push(XxHash3_64::oneshot(word.as_bytes()));
    }
    hashes
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele et al. 2014).
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = hash.wrapping_add(ODD);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two texts that share `shared` of `shared + 2 * own` words, in one run, so that their similarity is
    /// known.
    fn pair(seed: usize, shared: usize, own: usize) -> (String, String, f64) {
        let word = |kind: &str, n: usize| format!("{kind}{seed}x{n} ");
        let common: String = (0..shared).map(|n| word("c", n)).collect();
        let a = common.clone() + &(0..own).map(|n| word("a", n)).collect::<String>();
        let b = common + &(0..own).map(|n| word("b", n)).collect::<String>();
        let same = shared + 1 - WORDS;
        (a, b, same as f64 / (same + 2 * own) as f64)
    }

    #[test]
    fn the_estimate_is_the_similarity() {
        for (shared, own) in [(200, 400), (300, 150), (400, 50), (60, 5)] {
            let pairs = 100;
            let mut sum = 0.0;
            let mut exact = 0.0;
            for seed in 0..pairs {
                let (a, b, similar) = pair(seed, shared, own);
                sum += similarity(&signature(&a, false).unwrap(), &signature(&b, false).unwrap());
                exact = similar;
            }
            let mean = sum / pairs as f64;
            assert!((mean - exact).abs() < 0.02, "{shared} {own}: estimated {mean}, is {exact}");
        }
    }

    #[test]
    fn texts_meet_as_often_as_the_formula_says() {
        for (shared, own) in [(404, 50), (404, 80), (404, 150)] {
            let pairs = 400;
            let mut met = 0;
            let mut exact = 0.0;
            for seed in 0..pairs {
                let (a, b, similar) = pair(seed, shared, own);
                let (a, b) = (signature(&a, false).unwrap(), signature(&b, false).unwrap());
                met += usize::from(a.iter().zip(&b).any(|(a, b)| a == b));
                exact = similar;
            }
            let (share, formula) = (met as f64 / pairs as f64, probability_of_meeting(exact));
            assert!((share - formula).abs() < 0.06, "similarity {exact}: {share} met, formula {formula}");
        }
    }

    #[test]
    fn case_and_punctuation_do_not_matter() {
        let a = signature("The quick, brown fox jumps over the lazy dog.", false);
        assert_eq!(a, signature("the QUICK brown fox -- jumps over the lazy dog", false));
        assert_ne!(a, signature("the slow brown fox jumps over the lazy dog", false));
        assert_eq!(signature("... --- !", false), None);
        assert!(signature("one", false).is_some());
        assert_ne!(signature("天地玄黄宇宙洪荒", true), signature("天地玄黄宇宙洪水", true));
    }
}
