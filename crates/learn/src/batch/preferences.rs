//! Preference data as tensors: each answer occurs once, and preferences refer to answers by index.

use std::sync::Arc;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use super::{Layout, Rows, TextRow, floats, ints, side_by_side};

/// Preference data of the answers to one prompt. Preferences refer to answers by index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptPreferences {
    /// The prompt with each of its answers, every answer once; the answer's tokens count. The last token is read too.
    pub answers: Vec<TextRow>,
    /// The prompt with answers to other prompts, for learners that need them.
    pub mismatched: Vec<TextRow>,
    /// Log-probability of each answer, then of each mismatched one, under the policy that the run starts from; empty if
    /// not needed.
    pub references: Vec<f32>,
    /// Pairwise preferences.
    pub pairs: Vec<Pair>,
    /// Choices of the best of several answers.
    pub choices: Vec<Choice>,
    /// Labels of answers: good (1) or bad (0).
    pub labels: Vec<Single>,
    /// Ratings of answers.
    pub ratings: Vec<Single>,
    /// Group of the prompt, such as a topic, if a column gives it.
    pub group: Option<Arc<str>>,
}

/// Pairwise preference between two answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Index of the better answer.
    pub chosen: usize,
    /// Index of the worse answer.
    pub rejected: usize,
    /// True for a tie: the roles of chosen and rejected then have no meaning.
    pub is_tie: bool,
    /// Margin by which the chosen answer should outscore the rejected one.
    pub margin: f32,
    /// Weight of the preference.
    pub weight: f32,
}

/// Choice of the best of several answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Indices of the answers, the best first.
    pub answers: Vec<usize>,
    /// Weight of the choice.
    pub weight: f32,
}

/// Label or rating of a single answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Single {
    /// Index of the answer.
    pub answer: usize,
    /// Label or rating.
    pub value: f32,
    /// Weight of the label or rating.
    pub weight: f32,
}

/// Preference data as tensors.
///
/// Losses use one number per answer, `[answers]`, the longest answer first, then those to the same long
/// prompt; preferences gather from these numbers. The
/// answers of one batch may be computed chunk by chunk, so that a prompt with many answers needs no more memory than
/// one with few.
#[derive(Debug, Clone)]
pub struct PreferenceBatch {
    /// Answers, in chunks.
    pub answers: Vec<AnswerRows>,
    /// Answers to other prompts, in chunks.
    pub mismatched: Vec<AnswerRows>,
    /// Number of counted tokens of each answer, `[answers]`.
    pub lengths: Tensor<1>,
    /// Log-probabilities under the policy that the run starts from, `[answers]`.
    pub references: Option<Tensor<1>>,
    /// Log-probabilities of mismatched answers under the same policy.
    pub mismatched_references: Option<Tensor<1>>,
    /// Pairwise preferences.
    pub pairs: Option<Pairs>,
    /// Choices of the best of several answers.
    pub choices: Option<BestOfChoices>,
    /// Labels of answers: good (1) or bad (0).
    pub labels: Option<Singles>,
    /// Ratings of answers.
    pub ratings: Option<Singles>,
    /// Sums of weights over the whole batch of the optimiser step, of which this may be one part. Means divide by them,
    /// so that parts add up to the whole.
    pub totals: Totals,
}

/// Prompts with their answers.
#[derive(Debug, Clone)]
pub struct AnswerRows {
    /// The tokens; a prompt is read once for all answers to it.
    pub read: Rows,
    /// Position in `rows * time` of each answer's last token, `[answers]`.
    pub last_at: Tensor<1, Int>,
    /// Position in `rows * time` whose output predicts each counted token, `[tokens]`.
    pub predicted_at: Tensor<1, Int>,
    /// The counted tokens.
    pub targets: Tensor<1, Int>,
    /// Indices of each answer's counted tokens, `[answers * longest]`, padded with the number of all counted tokens.
    tokens_of_answers: Tensor<1, Int>,
}

/// Pairs of answers; all `[pairs]`.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// Indices of the better answers.
    pub chosen: Tensor<1, Int>,
    /// Indices of the worse answers.
    pub rejected: Tensor<1, Int>,
    /// Probability that the chosen answer is preferred: 1, or 1/2 in a tie.
    pub probabilities: Tensor<1>,
    /// Margins.
    pub margins: Tensor<1>,
    /// Weights.
    pub weights: Tensor<1>,
    /// Weights, with 0 for a tie.
    pub decided: Tensor<1>,
}

/// Choices of the best of several answers.
#[derive(Debug, Clone)]
pub struct BestOfChoices {
    /// Indices of the answers, the best first, `[choices * most]`, padded with 0.
    answers: Tensor<1, Int>,
    /// Padding mask, `[choices, most]`: true for an answer.
    pub present: Tensor<2, Bool>,
    /// Weights, `[choices]`.
    pub weights: Tensor<1>,
}

/// Labels or ratings of single answers; all `[singles]`.
#[derive(Debug, Clone)]
pub struct Singles {
    /// Indices of the answers.
    pub answers: Tensor<1, Int>,
    /// Labels or ratings.
    pub values: Tensor<1>,
    /// Weights.
    pub weights: Tensor<1>,
}

/// Sums of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Of all preference data.
    pub all: f32,
    /// Of pairs.
    pub pairs: f32,
    /// Of pairs without ties.
    pub decided: f32,
    /// Of answers labelled good.
    pub good: f32,
    /// Of answers labelled bad.
    pub bad: f32,
}

impl PromptPreferences {
    /// Number of preferences of all kinds.
    pub fn count(&self) -> usize {
        self.pairs.len() + self.choices.len() + self.labels.len() + self.ratings.len()
    }

    /// All rows: answers, then mismatched ones.
    pub fn rows(&self) -> impl Iterator<Item = &TextRow> {
        self.answers.iter().chain(&self.mismatched)
    }
}

impl PreferenceBatch {
    /// Batches prompts into parts of at most the given number of answers, which together form one optimiser step; 0:
    /// one part. A prompt with more answers is still one part, in chunks.
    pub fn parts(prompts: &[&PromptPreferences], most: usize, device: &Device) -> Vec<Self> {
        let mut parts: Vec<Vec<&PromptPreferences>> = Vec::new();
        let mut max_length = 0;
        for prompt in prompts {
            let answers = prompt.answers.len();
            match parts.last_mut().filter(|_| most == 0 || answers <= max_length) {
                Some(part) => part.push(prompt),
                None => {
                    parts.push(vec![prompt]);
                    max_length = most;
                }
            }
            max_length = max_length.saturating_sub(answers);
        }
        parts.iter().map(|part| Self::new(part, most, device)).collect()
    }

    /// Batches prompts as one part, whose answers are computed `chunk` at a time; 0: all.
    pub fn whole(prompts: &[&PromptPreferences], chunk: usize, device: &Device) -> Self {
        Self::new(prompts, chunk, device)
    }

    fn new<'a>(prompts: &[&'a PromptPreferences], chunk: usize, device: &Device) -> Self {
        let answers: Vec<&TextRow> = prompts.iter().flat_map(|prompt| &prompt.answers).collect();
        let mismatched: Vec<&TextRow> = prompts.iter().flat_map(|prompt| &prompt.mismatched).collect();
        // Answers of similar length are computed together, to reduce padding.
        let (order, mismatched_order) = (in_chunks(&answers), in_chunks(&mismatched));
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &number)| places[number] = place as i64);

        let (mut pairs, mut choices, mut labels, mut ratings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut references, mut mismatched_references) = (Vec::new(), Vec::new());
        let mut first = 0;
        for prompt in prompts {
            let place = |answer: usize| places[first + answer];
            pairs.extend(prompt.pairs.iter().map(|pair| (place(pair.chosen), place(pair.rejected), *pair)));
            let among = |choice: &Choice| choice.answers.iter().map(|&answer| place(answer)).collect::<Vec<_>>();
            choices.extend(prompt.choices.iter().map(|choice| (among(choice), choice.weight)));
            labels.extend(prompt.labels.iter().map(|single| (place(single.answer), *single)));
            ratings.extend(prompt.ratings.iter().map(|single| (place(single.answer), *single)));
            let (own, others) = prompt.references.split_at(prompt.answers.len().min(prompt.references.len()));
            references.extend(own);
            mismatched_references.extend(others);
            first += prompt.answers.len();
        }
        let in_order = |rows: &[&'a TextRow], order: &[usize]| order.iter().map(|&at| rows[at]).collect::<Vec<_>>();
        let (answers, mismatched) = (in_order(&answers, &order), in_order(&mismatched, &mismatched_order));
        let some = |values: Vec<f32>, order: &[usize]| {
            (!values.is_empty()).then(|| floats(order.iter().map(|&at| values[at]).collect(), device))
        };
        Self {
            lengths: floats(answers.iter().map(|row| row.counted.len() as f32).collect(), device),
            answers: AnswerRows::chunks(&answers, chunk, device),
            mismatched: AnswerRows::chunks(&mismatched, chunk, device),
            references: some(references, &order),
            mismatched_references: some(mismatched_references, &mismatched_order),
            pairs: Pairs::new(&pairs, device),
            choices: BestOfChoices::new(&choices, device),
            labels: Singles::new(&labels, device),
            ratings: Singles::new(&ratings, device),
            totals: Totals::of(prompts),
        }
    }
}

/// Order of answers: the longest first, and those to the same long prompt side by side.
fn in_chunks(rows: &[&TextRow]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(rows[at].tokens.len()));
    side_by_side(order, |at| rows[at].prompt())
}

impl AnswerRows {
    /// Batches answers in chunks of the given size; 0: all.
    fn chunks(rows: &[&TextRow], most: usize, device: &Device) -> Vec<Self> {
        let most = if most == 0 { rows.len().max(1) } else { most };
        rows.chunks(most).map(|rows| Self::new(rows, device)).collect()
    }

    /// Batches answers as one chunk.
    pub fn new(rows: &[&TextRow], device: &Device) -> Self {
        let sequences: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        let layout = Layout::new(&sequences, device);
        let (mut last_at, mut predicted_at, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let count: usize = rows.iter().map(|row| row.counted.len()).sum();
        let longest = rows.iter().map(|row| row.counted.len()).max().unwrap_or(0);
        let mut tokens_of_answers = vec![count as i64; rows.len() * longest];
        for (number, row) in rows.iter().enumerate() {
            let own = &mut tokens_of_answers[number * longest..][..row.counted.len()];
            (predicted_at.len()..).zip(own).for_each(|(token, place)| *place = token as i64);
            last_at.push(layout.at(number, row.tokens.len() - 1));
            predicted_at.extend(row.counted.iter().map(|at| layout.at(number, at - 1)));
            targets.extend(row.counted.iter().map(|&at| i64::from(row.tokens[at])));
        }
        Self {
            read: layout.rows,
            last_at: ints(last_at, device),
            predicted_at: ints(predicted_at, device),
            targets: ints(targets, device),
            tokens_of_answers: ints(tokens_of_answers, device),
        }
    }

    /// Number of answers.
    pub fn count(&self) -> usize {
        self.last_at.dims()[0]
    }

    /// Sums over each answer's counted tokens, `[tokens]` to `[answers]`. `of_tokens` holds only counted tokens, so no mask
    /// is needed.
    pub fn sums(&self, of_tokens: Tensor<1>) -> Tensor<1> {
        let none = Tensor::zeros([1], &of_tokens.device());
        let [places] = self.tokens_of_answers.dims();
        let by_row = Tensor::cat(vec![of_tokens, none], 0).select(0, self.tokens_of_answers.clone());
        by_row.reshape([self.count(), places / self.count()]).sum_dim(1).squeeze_dim(1)
    }

    /// The same outside autodiff.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self {
            read: self.read.inner(),
            last_at: self.last_at.clone().inner(),
            predicted_at: self.predicted_at.clone().inner(),
            targets: self.targets.clone().inner(),
            tokens_of_answers: self.tokens_of_answers.clone().inner(),
        }
    }
}

impl Pairs {
    fn new(pairs: &[(i64, i64, Pair)], device: &Device) -> Option<Self> {
        let numbers = |of: fn(&Pair) -> f32| floats(pairs.iter().map(|(_, _, pair)| of(pair)).collect(), device);
        (!pairs.is_empty()).then(|| Self {
            chosen: ints(pairs.iter().map(|(chosen, ..)| *chosen).collect(), device),
            rejected: ints(pairs.iter().map(|(_, rejected, _)| *rejected).collect(), device),
            probabilities: numbers(|pair| if pair.is_tie { 0.5 } else { 1.0 }),
            margins: numbers(|pair| pair.margin),
            weights: numbers(|pair| pair.weight),
            decided: numbers(Pair::decided),
        })
    }

    /// Gathers the numbers of both sides, `[answers]` to twice `[pairs]`.
    pub fn sides(&self, numbers: &Tensor<1>) -> (Tensor<1>, Tensor<1>) {
        (numbers.clone().select(0, self.chosen.clone()), numbers.clone().select(0, self.rejected.clone()))
    }
}

impl Pair {
    fn decided(&self) -> f32 {
        if self.is_tie { 0.0 } else { self.weight }
    }
}

impl BestOfChoices {
    fn new(choices: &[(Vec<i64>, f32)], device: &Device) -> Option<Self> {
        let most = choices.iter().map(|(answers, _)| answers.len()).max()?;
        let (mut answers, mut present) = (Vec::new(), Vec::new());
        for (among, _) in choices {
            answers.extend(among.iter().copied().chain(std::iter::repeat(0)).take(most));
            present.extend((0..most).map(|place| place < among.len()));
        }
        Some(Self {
            answers: ints(answers, device),
            present: Tensor::from_data(TensorData::new(present, [choices.len(), most]), device),
            weights: floats(choices.iter().map(|(_, weight)| *weight).collect(), device),
        })
    }

    /// Gathers the numbers of the answers of each choice, the best first, `[answers]` to `[choices, most]`.
    pub fn gather(&self, numbers: &Tensor<1>) -> Tensor<2> {
        numbers.clone().select(0, self.answers.clone()).reshape(self.present.dims())
    }
}

impl Singles {
    fn new(singles: &[(i64, Single)], device: &Device) -> Option<Self> {
        (!singles.is_empty()).then(|| Self {
            answers: ints(singles.iter().map(|(answer, _)| *answer).collect(), device),
            values: floats(singles.iter().map(|(_, single)| single.value).collect(), device),
            weights: floats(singles.iter().map(|(_, single)| single.weight).collect(), device),
        })
    }

    /// Gathers the numbers of the answers, `[answers]` to `[singles]`.
    pub fn gather(&self, numbers: &Tensor<1>) -> Tensor<1> {
        numbers.clone().select(0, self.answers.clone())
    }
}

impl Totals {
    fn of(prompts: &[&PromptPreferences]) -> Self {
        let mut totals = Self::default();
        for prompt in prompts {
            totals.pairs += prompt.pairs.iter().map(|pair| pair.weight).sum::<f32>();
            totals.decided += prompt.pairs.iter().map(Pair::decided).sum::<f32>();
            let labels = || prompt.labels.iter();
            totals.good += labels().filter(|label| label.value > 0.5).map(|label| label.weight).sum::<f32>();
            totals.bad += labels().filter(|label| label.value <= 0.5).map(|label| label.weight).sum::<f32>();
            totals.all += prompt.choices.iter().map(|choice| choice.weight).sum::<f32>();
            totals.all += prompt.ratings.iter().map(|rating| rating.weight).sum::<f32>();
        }
        totals.all += totals.pairs + totals.good + totals.bad;
        totals
    }
}
