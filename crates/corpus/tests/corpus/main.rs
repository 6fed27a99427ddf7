//! Whole runs: what is read, what is kept, what is refused, and that neither threads nor a kill change a byte.

mod kept;
mod made;
mod refused;
mod resumed;
