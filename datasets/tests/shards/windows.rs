use std::collections::{BTreeMap, BTreeSet};

use palestra_datasets::shards::{Corpus, Span, Text, Windows};

use crate::{documents, shard};

fn corpus(documents: &[Vec<u32>], weight: f64) -> Corpus {
    Corpus { spans: vec![Span::whole(shard(documents))], weight }
}

/// Returns one document of tokens that count up from 1; `tokens` includes its separator.
fn counting(tokens: u32) -> Vec<Vec<u32>> {
    vec![(1..tokens).collect()]
}

#[test]
fn an_epoch_predicts_every_token_once_but_those_at_its_ends() {
    let mut windows = Windows::new(vec![corpus(&counting(101), 1.0)], 8, 3).unwrap();
    let mut epochs: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for _ in 0..80 {
        let Text { tokens, .. } = windows.draw().unwrap();
        assert_eq!(tokens.len(), 9);
        epochs.entry(windows.places()[0].epoch).or_default().extend(&tokens[1..]);
    }
    epochs.pop_last(); // not gone through yet
    assert!(epochs.len() > 4);
    for predicted in epochs.values() {
        let distinct: BTreeSet<_> = predicted.iter().collect();
        assert_eq!(distinct.len(), predicted.len(), "twice in an epoch");
        assert!(predicted.len() >= 88, "{} of 101 tokens", predicted.len());
    }
    let firsts: BTreeSet<_> =
        epochs.values().map(|predicted| predicted.iter().filter(|&&token| token > 0).min()).collect();
    assert!(firsts.len() > 1, "every epoch cuts at the same places: {firsts:?}");
}

#[test]
fn a_place_is_gone_on_from() {
    let corpora = || vec![corpus(&documents(12), 0.7), corpus(&counting(50), 0.3)];
    let mut whole = Windows::new(corpora(), 5, 9).unwrap();
    (0..37).for_each(|_| _ = whole.draw().unwrap());
    let mut resumed = Windows::new(corpora(), 5, 9).unwrap();
    assert!(resumed.go_to(whole.places().to_vec()));
    for _ in 0..50 {
        assert_eq!(resumed.draw().unwrap(), whole.draw().unwrap());
    }
    assert!(!resumed.go_to(Vec::new()));
}

#[test]
fn corpora_are_mixed_by_weight_from_the_first_window_on() {
    let weights = [0.5, 0.3, 0.2];
    let corpora = weights.map(|weight| corpus(&counting(500), weight)).to_vec();
    let mut windows = Windows::new(corpora, 10, 0).unwrap();
    for drawn in 1..=200u64 {
        windows.draw().unwrap();
        assert_eq!(windows.places().len(), weights.len());
        for (place, weight) in windows.places().iter().zip(weights) {
            assert!((place.drawn as f64 - weight * drawn as f64).abs() < 1.5, "{:?}", windows.places());
        }
    }
}

#[test]
fn windows_in_order_are_spread_and_know_where_documents_end() {
    let corpus = corpus(&documents(12), 1.0);
    let all = corpus.in_order(6, 1000).unwrap();
    assert_eq!(all.len(), 14, "90 tokens, of which 89 can be predicted");
    // 1 0 2 3 0 4 5: documents end after 2 and 5 tokens.
    assert_eq!(all[0], Text { tokens: vec![1, 0, 2, 3, 0, 4, 5], ends: vec![2, 5] });
    let some = corpus.in_order(6, 4).unwrap();
    assert_eq!(some, [0, 3, 7, 10].map(|at: usize| all[at].clone()));
    let error = corpus.in_order(90, 4).unwrap_err().to_string();
    assert!(error.contains("90 tokens are fewer than a window of 90"), "{error}");
    assert!(Windows::new(vec![corpus], 90, 0).is_err());
}

#[test]
fn a_split_falls_between_documents_where_there_are_several() {
    let [first, last] = Span::whole(shard(&documents(12))).split(0.1).unwrap();
    assert_eq!((first.tokens, last.tokens), (0..77, 77..90), "the last document has 13 tokens with its separator");
    let [first, last] = Span::whole(shard(&counting(100))).split(0.1).unwrap();
    assert_eq!((first.tokens, last.tokens), (0..90, 90..100));
}
