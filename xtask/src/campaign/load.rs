//! The label server under load: 100,000 items, 100 people; first alone, then beside slow clients and kills.

use std::path::PathBuf;

use super::Request;
use super::programs::{program, target};
use crate::{Result, plain_cargo, stage};

/// Labels of each item: more than are given in the default time.
const OVERLAP: &str = "8";

pub fn run(request: &Request) -> Result<String> {
    let deadline = request.deadline;
    let program = program(request, &[])?;
    let load = load_test(request)?;
    let seconds = (deadline.seconds() / 2).max(2);
    let run = |name: &str, more: &[&str]| {
        let mut command = std::process::Command::new(&load);
        command.arg(&program).args(["--items", "100000", "--people", "100", "--seconds", &seconds.to_string()]);
        command.args(["--overlap", OVERLAP]);
        stage(name, command.args(more))
    };
    run("alone", &[])?;
    run("with slow clients and kills", &["--slow", "20", "--kills", "8"])?;
    Ok("no label lost, none twice".to_string())
}

/// The load test: that beside the program which the campaign is given, or one that is built.
pub fn load_test(request: &Request) -> Result<PathBuf> {
    let beside = request.program.as_ref().map(|program| program.with_file_name("examples").join("load"));
    if let Some(beside) = beside.filter(|beside| beside.is_file()) {
        return Ok(beside);
    }
    stage("build", plain_cargo().args(["build", "--release", "-p", "palestra-labels", "--example", "load"]))?;
    Ok(target().join("release/examples/load"))
}
