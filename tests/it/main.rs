//! The one integration test program, so that libtorch is linked once. It has a module for each part of the project.

mod acting;
mod bad_input;
mod cli;
mod command;
mod compare;
mod completion;
mod corpus;
mod estimate;
mod fine_tuning;
mod generate;
mod gguf;
mod label;
mod learning;
mod log;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod memory;
mod mpi;
mod mutations;
mod outputs;
mod parity;
mod people;
mod preferences;
mod process;
mod ranks;
mod recipes;
mod reference;
mod resume;
mod terminal;
mod text;
mod tidy;
mod tiny_run;
mod trained;
