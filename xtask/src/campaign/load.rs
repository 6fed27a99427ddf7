//! The label server under load: 100,000 items, 100 people; first alone, then beside slow clients and kills.

use super::Request;
use super::programs::{program, target};
use crate::{Result, plain_cargo, stage};

pub fn run(request: &Request) -> Result<String> {
    let deadline = request.deadline;
    let program = program(request, &[])?;
    let load = match program.with_file_name("examples").join("load") {
        beside if request.program.is_some() && beside.is_file() => beside,
        _ => {
            stage("build", plain_cargo().args(["build", "--release", "-p", "palestra-labels", "--example", "load"]))?;
            target().join("release/examples/load")
        }
    };
    let seconds = (deadline.seconds() / 2).max(2);
    let run = |name: &str, more: &[&str]| {
        let mut command = std::process::Command::new(&load);
        command.arg(&program).args(["--items", "100000", "--people", "100", "--seconds", &seconds.to_string()]);
        stage(name, command.args(more))
    };
    run("alone", &[])?;
    run("with slow clients and kills", &["--slow", "20", "--kills", "8", "--overlap", "2"])?;
    Ok("no label lost, none twice".to_string())
}
