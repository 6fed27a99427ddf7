//! How far people agree beyond what chance would bring: Cohen's kappa of two, Fleiss' kappa of many.
//!
//! Both are (observed - expected) / (1 - expected): 1 is agreement in everything, 0 what chance brings, and below 0 is less
//! than that. Where everybody always says the same one thing, chance would bring that too, and kappa is not defined: `None`.

/// Cohen's kappa of two people (Cohen 1960, A coefficient of agreement for nominal scales), from the category that each gave
/// the items that both judged. `None` without items.
pub fn cohen_kappa<T: PartialEq>(judged: &[(T, T)]) -> Option<f64> {
    let count = judged.len() as f64;
    let observed = judged.iter().filter(|(first, second)| first == second).count() as f64 / count;
    // Over all items, how often the second said what the first said here: the sum over categories, item by item.
    let same = |category: &T| judged.iter().filter(|(_, second)| second == category).count() as f64;
    let expected = judged.iter().map(|(first, _)| same(first)).sum::<f64>() / (count * count);
    beyond_chance(observed, expected)
}

/// Fleiss' kappa (Fleiss 1971, Measuring nominal scale agreement among many raters), from counts `[item, category]` of how
/// many people put an item in a category.
///
/// Items that fewer than two people judged say nothing of agreement and are left out. Fleiss has as many people on every
/// item; where numbers differ, an item's agreement is among those who judged it, and categories are weighed by judgements.
pub fn fleiss_kappa(counts: &[Vec<usize>]) -> Option<f64> {
    let judged: Vec<(&Vec<usize>, usize)> =
        counts.iter().map(|row| (row, row.iter().sum())).filter(|(_, people)| *people > 1).collect();
    let total = judged.iter().map(|(_, people)| people).sum::<usize>() as f64;
    let categories = judged.iter().map(|(row, _)| row.len()).max()?;
    let agreement = |&(row, people): &(&Vec<usize>, usize)| {
        let pairs: usize = row.iter().map(|count| count * count.saturating_sub(1)).sum();
        pairs as f64 / (people * (people - 1)) as f64
    };
    let observed = judged.iter().map(agreement).sum::<f64>() / judged.len() as f64;
    let share = |category: usize| {
        judged.iter().map(|(row, _)| row.get(category).copied().unwrap_or(0)).sum::<usize>() as f64 / total
    };
    let expected = (0..categories).map(|category| share(category).powi(2)).sum();
    beyond_chance(observed, expected)
}

fn beyond_chance(observed: f64, expected: f64) -> Option<f64> {
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, table 18.1: 100 subjects, two raters, three
    /// diagnoses; kappa = (.89 - .66) / (1 - .66) = .68.
    #[test]
    fn cohen_as_in_the_book() {
        let table = [[75, 1, 4], [5, 4, 1], [0, 0, 10]];
        let mut judged = Vec::new();
        for (first, row) in table.iter().enumerate() {
            for (second, count) in row.iter().enumerate() {
                judged.extend(std::iter::repeat_n((first, second), *count));
            }
        }
        let kappa = cohen_kappa(&judged).unwrap();
        assert!((kappa - 0.23 / 0.34).abs() < 1e-12, "{kappa}");
        assert_eq!(format!("{kappa:.2}"), "0.68");
    }

    /// The example of the Wikipedia article on Fleiss' kappa: 14 raters, 10 subjects, 5 categories; kappa = .210.
    #[test]
    fn fleiss_as_published() {
        let table = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let mut counts: Vec<Vec<usize>> = table.iter().map(|row| row.to_vec()).collect();
        let kappa = fleiss_kappa(&counts).unwrap();
        assert_eq!(format!("{kappa:.3}"), "0.210");
        // An item of one person says nothing of agreement.
        counts.push(vec![1, 0, 0, 0, 0]);
        assert_eq!(fleiss_kappa(&counts), Some(kappa));
    }

    #[test]
    fn what_has_no_kappa_has_none() {
        assert_eq!(cohen_kappa::<u8>(&[]), None);
        assert_eq!(cohen_kappa(&[(1, 1), (1, 1)]), None);
        assert_eq!(cohen_kappa(&[(0, 1), (1, 0)]), Some(-1.0));
        assert_eq!(fleiss_kappa(&[]), None);
        assert_eq!(fleiss_kappa(&[vec![1], vec![0]]), None);
        assert_eq!(fleiss_kappa(&[vec![2, 0], vec![0, 2]]), Some(1.0));
    }
}
