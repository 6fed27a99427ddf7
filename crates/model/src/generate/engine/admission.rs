//! Choice of the row of the cache for each request, and of how much of its beginning is kept.

use std::collections::VecDeque;

use super::super::text::Text;
use super::{Engine, Row};
use crate::cache::SharedPrefix;

impl Engine<'_> {
    /// Gives rows to waiting requests, in their order. A request whose beginning a row is reading waits for it.
    pub(super) fn admit(&mut self) {
        let mut shared: Vec<SharedPrefix> = Vec::new();
        let mut free = self.free_rows();
        let mut waiting = VecDeque::with_capacity(self.queue.len());
        while let Some(text) = self.queue.pop_front() {
            let prompt = &text.request.prompt[..text.request.prompt.len() - 1]; // the last token is always read
            let may_share = prompt.len() >= self.sizes.worth_sharing;
            // A row that gets a beginning in this pass does not have it yet.
            let is_far = self.is_far(&text);
            let held = |row: usize| {
                let row_is_new = shared.iter().any(|prefix| prefix.to == row) || self.rows[row].is_far != is_far;
                if !may_share || row_is_new { 0 } else { self.shared_prefix(&self.rows[row].held, prompt) }
            };
            let Some(to) = self.take_row(&mut free, text.key, may_share, held) else {
                waiting.push_back(text);
                break;
            };
            let (mut own, mut best, mut from) = (0, 0, 0);
            if may_share {
                own = if to < self.rows.len() { held(to) } else { 0 };
                (best, from) = (0..self.rows.len()).map(|row| (held(row), row)).max().unwrap_or_default();
                let alike = self.rows.iter().filter(|row| row.is_far == is_far);
                let busy = alike.filter_map(|row| row.text.as_ref());
                let soon = busy.map(|text| self.shared_prefix(&text.tokens, prompt)).max().unwrap_or(0);
                if soon >= best + self.sizes.worth_sharing {
                    waiting.push_back(text);
                    if to < self.rows.len() {
                        free.insert(0, to);
                        free.sort_by_key(|&row| self.rows[row].age(row));
                    }
                    continue;
                }
            }
            if to == self.rows.len() {
                self.rows.push(Row::default());
            }
            let row = &mut self.rows[to];
            if best >= own + self.sizes.worth_sharing {
                shared.push(SharedPrefix { from, to, count: best });
                row.held = prompt[..best].to_vec();
            } else if row.kept_for == Some(text.key) {
                row.held.truncate(common_prefix(&row.held, prompt));
            } else {
                row.held.truncate(own);
            }
            if row.is_far != is_far {
                row.held.clear();
            }
            row.is_far = is_far;
            row.kept_for = None;
            row.text = Some(text);
        }
        waiting.append(&mut self.queue);
        self.queue = waiting;
        self.make_room();
        self.cache.share(&shared);
    }

    /// Rows without a text, those that are kept for no request first, each in the order in which they were used.
    fn free_rows(&self) -> Vec<usize> {
        let mut free: Vec<usize> = (0..self.rows.len()).filter(|&row| self.rows[row].text.is_none()).collect();
        free.sort_by_key(|&row| self.rows[row].age(row));
        free
    }

    /// The row for a request, taken out of the free ones: the one that was kept for its key, or one that holds its
    /// beginning, or one that is used by nobody, or a new one, or at last the one that was kept the longest. `None` if all
    /// are busy.
    fn take_row(
        &self,
        free: &mut Vec<usize>,
        key: usize,
        may_share: bool,
        held: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        let is_own = |&row: &usize| self.rows[row].kept_for == Some(key);
        let own = if self.keeps_texts { free.iter().position(is_own) } else { None };
        let mut unused = free.iter().take_while(|&&row| self.rows[row].kept_for.is_none()).enumerate();
        let unused = if may_share {
            unused.min_by_key(|&(place, &row)| (std::cmp::Reverse(held(row)), place))
        } else {
            unused.next()
        };
        match own.or(unused.map(|(place, _)| place)) {
            Some(place) => Some(free.remove(place)),
            None if self.rows.len() < self.max_rows => Some(self.rows.len()),
            None => (!free.is_empty()).then(|| free.remove(0)),
        }
    }

    /// Number of tokens that both begin with, or 0 if they are not worth sharing.
    fn shared_prefix(&self, tokens: &[u32], prompt: &[u32]) -> usize {
        let worth = self.sizes.worth_sharing;
        let last = worth.saturating_sub(1);
        let may_share = tokens.get(last).zip(prompt.get(last)).is_some_and(|(a, b)| a == b);
        if !may_share {
            return 0; // most texts, told by a token
        }
        let shared = common_prefix(tokens, prompt);
        if shared >= worth { shared } else { 0 }
    }

    /// Grows the cache to what the texts need.
    fn make_room(&mut self) {
        let texts = || self.rows.iter().filter_map(|row| row.text.as_ref()).chain(&self.queue);
        if texts().all(|text| self.is_read_at_once(text)) {
            return;
        }
        let needed = texts().map(Text::capacity).max().unwrap_or(0);
        let capacity = self.cache.shape().capacity;
        let context = self.policy.transformer.config().context;
        // Texts that grow turn by turn do not move the cache every time.
        let capacity = if needed > capacity { needed.max((2 * capacity).min(context)) } else { capacity };
        self.cache.reserve(self.rows.len(), capacity);
    }

    /// True if the next token of a text follows more tokens than those that have the angles of short texts.
    fn is_far(&self, text: &Text) -> bool {
        self.near_length.is_some_and(|near| text.first_state() + 1 + text.continuation.log_probs.len() > near)
    }

    /// Drops what rows hold of texts that have become long, as a whole pass would compute it with other angles.
    pub(super) fn forget_other_angles(&mut self) {
        for row in 0..self.rows.len() {
            let is_far = self.rows[row].text.as_ref().map(|text| self.is_far(text));
            let row = &mut self.rows[row];
            if is_far.is_some_and(|is_far| is_far != row.is_far) {
                row.held.clear();
                row.is_far = !row.is_far;
            }
        }
    }
}

/// Number of tokens that both begin with.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
