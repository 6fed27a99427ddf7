//! The command `palestra`. A program with environments of its own is the same few lines with `.with("mine", build)`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(unix)]
    if let Some(program) = program_with_libtorch() {
        use std::os::unix::process::CommandExt;
        let error = std::process::Command::new(&program).args(std::env::args_os().skip(1)).exec();
        eprintln!(
            "error: {}: {error}; pip uninstall palestra-libtorch leaves the program without it",
            program.display()
        );
        return ExitCode::FAILURE;
    }
    palestra::cli::main(palestra::envs::Registry::builtin())
}

/// The program of the Python package `palestra-libtorch`, if it is installed in the environment that this program stands in.
/// It is preferred.
fn program_with_libtorch() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let environment = own.parent().filter(|folder| folder.ends_with("bin"))?.parent()?;
    let packages = glob::Pattern::escape(&environment.display().to_string());
    let pattern = format!("{packages}/lib/python3*/*-packages/palestra_libtorch/palestra");
    glob::glob(&pattern).ok()?.flatten().next()
}
