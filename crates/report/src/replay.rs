//! Plays an episode's rendered frames on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Display of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// Each frame is drawn over the one before, after a delay. For terminals.
    Animated {
        /// Time that a frame is shown.
        delay: Duration,
    },
    /// Only the first and the last frames, one below the other. For files and pipes.
    Excerpt {
        /// Number of frames from the start.
        first: usize,
        /// Number of frames up to the end.
        last: usize,
    },
}

impl Playback {
    /// Animated if `stream` is a terminal, otherwise an excerpt of the first two and last three frames.
    pub fn for_stream(stream: &impl IsTerminal, delay: Duration) -> Self {
        if stream.is_terminal() { Self::Animated { delay } } else { Self::Excerpt { first: 2, last: 3 } }
    }
}

/// Shows `frames` on `out`.
///
/// Control characters are shown as `\u{fffd}`, because frames hold a model's output, which a terminal would interpret.
///
/// # Errors
/// A failed write to `out`.
pub fn replay(out: &mut impl Write, frames: &[String], playback: Playback) -> io::Result<()> {
    let total = frames.len();
    let frames = frames.iter().map(|frame| harmless(frame)).enumerate();
    let heading = |index: usize| format!("frame {} of {total}", index + 1);
    match playback {
        Playback::Animated { delay } => {
            for (index, frame) in frames {
                // Without line wrapping (mode 7), the number of lines to move back is known.
                write!(out, "\x1b[?7l{}\n{}\n\x1b[?7h", heading(index), frame)?;
                out.flush()?;
                std::thread::sleep(delay);
                if index + 1 < total {
                    write!(out, "\x1b[{}A\r\x1b[J", frame.split('\n').count() + 1)?;
                }
            }
        }
        Playback::Excerpt { first, last } => {
            let start_of_last = total.saturating_sub(last).max(first);
            for (index, frame) in frames {
                if index == first && index < start_of_last {
                    writeln!(out, "... {} frames ...\n", start_of_last - first)?;
                }
                if index < first || index >= start_of_last {
                    writeln!(out, "{}\n{frame}\n", heading(index))?;
                }
            }
        }
    }
    out.flush()
}

/// The text without control characters other than line breaks, and without empty lines at its end.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\n' { '\u{fffd}' } else { c }
    };
    let text = text.trim_end().replace("\r\n", "\n").replace('\t', "    ");
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: usize, playback: Playback) -> String {
        let frames: Vec<String> = (1..=count).map(|index| format!("a{index}\nb\n")).collect();
        let mut out = Vec::new();
        replay(&mut out, &frames, playback).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_excerpt_shows_both_ends_and_says_what_it_leaves_out() {
        let excerpt = Playback::Excerpt { first: 1, last: 2 };
        assert_eq!(
            shown(5, excerpt),
            "frame 1 of 5\na1\nb\n\n... 2 frames ...\n\nframe 4 of 5\na4\nb\n\nframe 5 of 5\na5\nb\n\n"
        );
        assert!(!shown(3, excerpt).contains("..."));
        assert_eq!(shown(3, excerpt).matches("frame ").count(), 3);
        assert_eq!(shown(1, excerpt), "frame 1 of 1\na1\nb\n\n");
        assert_eq!(shown(0, excerpt), "");
    }

    #[test]
    fn an_animation_goes_back_over_each_frame_but_the_last() {
        let animated = Playback::Animated { delay: Duration::ZERO };
        let text = shown(3, animated);
        assert_eq!(text.matches("\x1b[3A\r\x1b[J").count(), 2);
        assert!(text.ends_with("frame 3 of 3\na3\nb\n\x1b[?7h"));
    }

    #[test]
    fn what_a_model_wrote_does_not_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\r\nc\u{9b}1m\x07"), "a\u{fffd}[2Jb\nc\u{fffd}1m\u{fffd}");
    }
}
