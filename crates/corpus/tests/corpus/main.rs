//! Whole runs: documents read, kept and refused, and output that does not depend on threads or kills.

mod archives;
mod fetch;
mod kept;
mod made;
mod ranks;
mod refused;
mod resumed;
