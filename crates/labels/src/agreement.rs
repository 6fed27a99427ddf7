//! Agreement of annotators: the plain share, kappa for choices among answers, and Krippendorff's alpha for ratings.
//!
//! Kappa and alpha correct for chance: 1 is perfect agreement, 0 is agreement at chance level, and negative values are
//! below chance. Where chance alone would always agree, they are not defined: `None`.

/// Choice of an annotator for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// The answer at this index is best.
    Best(usize),
    /// No answer is better than another.
    Tie,
    /// Every answer is bad.
    AllBad,
}

/// Choices of all annotators of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// Number of answers of the item.
    pub answers: usize,
    /// Choice of each annotator.
    pub choices: Vec<Choice>,
}

/// Agreement of several annotators.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Items with two or more choices, from which it is computed.
    pub items: u64,
    /// Mean over items of the share of pairs of annotators who made the same choice.
    pub share: f64,
    /// The share corrected for chance: see [`agreement`].
    pub kappa: Option<f64>,
}

/// Agreement on choices. Items with fewer than two choices carry no information about it and are left out; `None` if no
/// item is left.
///
/// kappa = (share - chance) / (1 - chance), as of Fleiss (1971, Measuring nominal scale agreement among many raters; of
/// Scott, for two annotators), with one difference. The answers of an item have no names that mean the same on another
/// item: they are stored in any order, and shown in a random one. So the chance of the same best answer is not taken from
/// how often the answer at an index is best. With the shares p of the three kinds of choices, and n answers of an item,
///
/// chance = p(tie)^2 + p(all bad)^2 + p(best)^2 * mean(1/n)
pub fn agreement(items: &[Choices]) -> Option<Agreement> {
    let compared: Vec<&Choices> = items.iter().filter(|item| item.choices.len() > 1).collect();
    if compared.is_empty() {
        return None;
    }
    let count = compared.len() as f64;
    let share = compared.iter().map(|item| agreeing_pairs(&item.choices)).sum::<f64>() / count;
    let total: usize = compared.iter().map(|item| item.choices.len()).sum();
    let share_of = |is: fn(&Choice) -> bool| {
        let number: usize = compared.iter().map(|item| item.choices.iter().filter(|choice| is(choice)).count()).sum();
        number as f64 / total as f64
    };
    let tie = share_of(|choice| *choice == Choice::Tie);
    let all_bad = share_of(|choice| *choice == Choice::AllBad);
    let best = share_of(|choice| matches!(choice, Choice::Best(_)));
    let same_answer = compared.iter().map(|item| 1.0 / item.answers as f64).sum::<f64>() / count;
    let chance = tie * tie + all_bad * all_bad + best * best * same_answer;
    Some(Agreement { items: compared.len() as u64, share, kappa: beyond_chance(share, chance) })
}

/// Share of the pairs of annotators who made the same choice, of two or more choices.
pub fn agreeing_pairs(choices: &[Choice]) -> f64 {
    let mut sorted = choices.to_vec();
    sorted.sort_unstable();
    let same: usize = sorted.chunk_by(|left, right| left == right).map(|same| same.len() * (same.len() - 1)).sum();
    same as f64 / (choices.len() * (choices.len() - 1)) as f64
}

/// Krippendorff's alpha of ratings, with the squared difference as the distance (interval data): 1 - observed /
/// expected disagreement (Krippendorff 2011, Computing Krippendorff's alpha-reliability). `units` has the ratings of each
/// unit, one for each annotator who rated it; units with a single rating are left out.
pub fn krippendorff_alpha(units: &[Vec<f64>]) -> Option<f64> {
    let paired: Vec<&Vec<f64>> = units.iter().filter(|unit| unit.len() > 1).collect();
    let values: Vec<f64> = paired.iter().flat_map(|unit| unit.iter().copied()).collect();
    let count = values.len() as f64;
    let observed = paired.iter().map(|unit| squared_differences(unit) / (unit.len() - 1) as f64).sum::<f64>() / count;
    let expected = squared_differences(&values) / (count * (count - 1.0));
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Sum of (v - w)^2 over all ordered pairs of values: 2 n sum((v - mean)^2).
fn squared_differences(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    2.0 * count * values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
}

fn beyond_chance(observed: f64, expected: f64) -> Option<f64> {
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(choices: &[[Choice; 2]]) -> Vec<Choices> {
        choices.iter().map(|two| Choices { answers: 2, choices: two.to_vec() }).collect()
    }

    fn close(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn kappa_does_not_depend_on_the_order_in_which_answers_are_stored() {
        use Choice::Best;
        // The answer at 0 is nearly always the better one. Two annotators agree on 8 of 10 items.
        let mut stored = vec![[Best(0), Best(0)]; 8];
        stored.extend([[Best(0), Best(1)], [Best(1), Best(0)]]);
        let swapped = |choice: Choice| if choice == Best(0) { Best(1) } else { Best(0) };
        let shuffled: Vec<[Choice; 2]> =
            stored.iter().enumerate().map(|(at, two)| if at % 2 == 0 { *two } else { two.map(swapped) }).collect();
        let [one, other] = [stored, shuffled].map(|choices| agreement(&pairs(&choices)).unwrap());
        assert_eq!(one, other);
        // (0.8 - 0.5) / (1 - 0.5): two answers agree by chance on half of the items.
        assert_eq!((one.items, one.share), (10, 0.8));
        close(one.kappa, 0.6);
    }

    #[test]
    fn kappa_by_hand() {
        use Choice::{AllBad, Best, Tie};
        let items = [
            Choices { answers: 3, choices: vec![Best(0), Best(0), Best(2)] },
            Choices { answers: 2, choices: vec![Tie, Tie] },
            Choices { answers: 2, choices: vec![AllBad, Best(1), Tie] },
            Choices { answers: 2, choices: vec![Best(1)] },
        ];
        let found = agreement(&items).unwrap();
        // Shares of agreeing pairs: 1/3, 1 and 0. Of 8 choices, 4 are of a best answer, 3 ties, 1 all bad.
        let chance = 9.0 / 64.0 + 1.0 / 64.0 + 0.25 * (1.0 / 3.0 + 0.5 + 0.5) / 3.0;
        assert_eq!(found.items, 3);
        close(Some(found.share), 4.0 / 9.0);
        close(found.kappa, (4.0 / 9.0 - chance) / (1.0 - chance));
    }

    #[test]
    fn what_has_no_kappa_has_none() {
        assert_eq!(agreement(&[]), None);
        assert_eq!(agreement(&[Choices { answers: 2, choices: vec![Choice::Tie] }]), None);
        let ties = agreement(&pairs(&[[Choice::Tie, Choice::Tie]])).unwrap();
        assert_eq!((ties.share, ties.kappa), (1.0, None));
        close(agreement(&pairs(&[[Choice::Best(0), Choice::Best(1)]])).unwrap().kappa, -1.0);
    }

    /// Krippendorff (2011), section C and after: four observers, twelve units; the table there gives .849 for interval data.
    /// The digits after these are of the PyPI package `krippendorff` 0.9.0, `level_of_measurement="interval"`.
    #[test]
    fn alpha_as_published() {
        let units = [
            &[1.0, 1.0, 1.0][..],
            &[2.0, 2.0, 3.0, 2.0],
            &[3.0, 3.0, 3.0, 3.0],
            &[3.0, 3.0, 3.0, 3.0],
            &[2.0, 2.0, 2.0, 2.0],
            &[1.0, 2.0, 3.0, 4.0],
            &[4.0, 4.0, 4.0, 4.0],
            &[1.0, 1.0, 2.0, 1.0],
            &[2.0, 2.0, 2.0, 2.0],
            &[5.0, 5.0, 5.0],
            &[1.0, 1.0],
            &[3.0],
        ];
        let alpha = krippendorff_alpha(&units.map(<[f64]>::to_vec));
        assert_eq!(format!("{:.3}", alpha.unwrap()), "0.849");
        close(alpha, 0.849_107_142_857_142_8);
    }

    #[test]
    fn alpha_of_fractions_and_gaps() {
        let units = [vec![4.5, 4.0], vec![1.0, 2.5, 2.0], vec![3.0], vec![5.0, 5.0]];
        close(krippendorff_alpha(&units), 0.887_323_943_661_971_9);
        assert_eq!(krippendorff_alpha(&[vec![3.0, 3.0], vec![3.0, 3.0]]), None, "nothing to tell apart");
        assert_eq!(krippendorff_alpha(&[vec![3.0], vec![1.0]]), None);
    }
}
