//! What is done with logs from outside: checking them, summing them up, importing others.

mod check;
mod import_jsonl;
mod import_judgements;
mod import_minari;
mod made;
mod rewrite;
mod stats;
