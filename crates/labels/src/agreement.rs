//! Inter-annotator agreement corrected for chance: Cohen's kappa of two annotators, Fleiss' kappa of many.
//!
//! Both are (observed - expected) / (1 - expected): 1 is perfect agreement, 0 is agreement at chance level, and
//! negative values are below chance. If all annotators always choose the same category, the expected agreement is 1 and
//! kappa is not defined: `None`.

/// Cohen's kappa of two annotators (Cohen 1960, A coefficient of agreement for nominal scales), from the pair of
/// categories of each item that both labeled. `None` without items.
pub fn cohen_kappa<T: PartialEq>(labelled: &[(T, T)]) -> Option<f64> {
    let count = labelled.len() as f64;
    let observed = labelled.iter().filter(|(first, second)| first == second).count() as f64 / count;
    // Number of items to which the second annotator gave this category. Summed item by item, this is the sum over
    // categories.
    let same = |category: &T| labelled.iter().filter(|(_, second)| second == category).count() as f64;
    let expected = labelled.iter().map(|(first, _)| same(first)).sum::<f64>() / (count * count);
    beyond_chance(observed, expected)
}

/// Fleiss' kappa (Fleiss 1971, Measuring nominal scale agreement among many raters), from counts `[item, category]` of
/// the annotators who put an item in a category.
///
/// Items with fewer than two labels carry no information about agreement and are left out. Fleiss assumes the same
/// number of annotators for every item. If the numbers differ, an item's agreement is computed among its own
/// annotators, and categories are weighted by labels.
pub fn fleiss_kappa(counts: &[Vec<usize>]) -> Option<f64> {
    let labelled: Vec<(&Vec<usize>, usize)> =
        counts.iter().map(|row| (row, row.iter().sum())).filter(|(_, people)| *people > 1).collect();
    let total = labelled.iter().map(|(_, people)| people).sum::<usize>() as f64;
    let categories = labelled.iter().map(|(row, _)| row.len()).max()?;
    let agreement = |&(row, people): &(&Vec<usize>, usize)| {
        let pairs: usize = row.iter().map(|count| count * count.saturating_sub(1)).sum();
        pairs as f64 / (people * (people - 1)) as f64
    };
    let observed = labelled.iter().map(agreement).sum::<f64>() / labelled.len() as f64;
    let share = |category: usize| {
        labelled.iter().map(|(row, _)| row.get(category).copied().unwrap_or(0)).sum::<usize>() as f64 / total
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
        let mut labelled = Vec::new();
        for (first, row) in table.iter().enumerate() {
            for (second, count) in row.iter().enumerate() {
                labelled.extend(std::iter::repeat_n((first, second), *count));
            }
        }
        let kappa = cohen_kappa(&labelled).unwrap();
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
        // An item with one label carries no information about agreement.
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
