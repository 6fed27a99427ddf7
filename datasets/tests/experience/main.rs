//! Operations on logs from other sources: check, statistics, import.

mod check;
mod import_jsonl;
mod import_minari;
mod import_preferences;
mod made;
mod rewrite;
mod stats;
