//! The command `palestra`. A program with environments of its own is the same few lines with `.with("mine", build)`.

fn main() -> std::process::ExitCode {
    palestra::cli::main(palestra::envs::Registry::builtin())
}
