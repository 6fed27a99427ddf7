use std::path::{Path, PathBuf};
use std::process::ExitCode;

use palestra_files::write_directory;

use super::output::Output;
use crate::{Error, Result};

/// Create a project: an environment of one's own, a run file, and a test
///
/// With --python, the environment is a class in Python, and the folder `palestra` beside it is the package that it needs.
/// With --rust, it is a program with the whole command line of Palestra. With --toml, it is a built-in kind with options of
/// one's own.
///
/// Writes the directory NAME, which must not exist before. `palestra check` and `palestra train` work in it as it is.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group(clap::ArgGroup::new("language").required(true)))]
#[command(after_long_help = "\
Examples:
  palestra new guess --python && cd guess && palestra check env.toml && palestra train run.toml
  palestra new guess --rust && cd guess && cargo run --release -- check guess
  palestra new lake --toml")]
pub struct Args {
    /// Directory to create; its last part is the name of the project
    name: PathBuf,
    /// Environment in Python
    #[arg(long, group = "language")]
    python: bool,
    /// Environment in Rust, in a crate of its own
    #[arg(long, group = "language")]
    rust: bool,
    /// Environment of a built-in kind
    #[arg(long, group = "language")]
    toml: bool,
}

/// Files of a project: path and text.
type Files = Vec<(&'static str, String)>;

/// The Python package, so that nothing has to be installed.
const PACKAGE: [(&str, &str); 8] = [
    ("palestra/__init__.py", include_str!("../../python/palestra/__init__.py")),
    ("palestra/env.py", include_str!("../../python/palestra/env.py")),
    ("palestra/log.py", include_str!("../../python/palestra/log.py")),
    ("palestra/policy.py", include_str!("../../python/palestra/policy.py")),
    ("palestra/program.py", include_str!("../../python/palestra/program.py")),
    ("palestra/reward.py", include_str!("../../python/palestra/reward.py")),
    ("palestra/run.py", include_str!("../../python/palestra/run.py")),
    ("palestra/serve.py", include_str!("../../python/palestra/serve.py")),
];

pub fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let name = args.name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_first = |c: char| c.is_ascii_alphabetic();
    if !name.starts_with(is_first) || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(Error::Config(format!(
            "{}: {name:?} names no project; write letters, digits, `-` and `_`, a letter first",
            args.name.display()
        )));
    }
    if args.name.exists() {
        return Err(Error::Config(format!("{}: it exists already; name another directory", args.name.display())));
    }
    let files = match (args.python, args.rust) {
        (true, _) => python(name),
        (_, true) => rust(name),
        _ => vec![
            ("env.toml", include_str!("new/lake.toml").to_string()),
            ("run.toml", run_file(name, "file = \"env.toml\"")),
        ],
    };
    write_directory(&args.name, |folder: &Path| {
        for (path, text) in &files {
            let file = folder.join(path);
            let parent = file.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&file, text)).map_err(Error::io(&file))?;
        }
        Ok::<(), Error>(())
    })?;
    let next = match args.rust {
        true => "cargo run --release -- check guess\n  cargo run --release -- train run.toml",
        false => "palestra check env.toml\n  palestra train run.toml",
    };
    let directory = args.name.display().to_string();
    let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    let text = format!("{directory}: {}\nNext:\n  cd {directory}\n  {next}", names.join(", "));
    output.report(&serde_json::json!({ "directory": directory, "files": names }), text)?;
    Ok(ExitCode::SUCCESS)
}

fn run_file(name: &str, env: &str) -> String {
    include_str!("new/run.toml").replace("NAME", name).replace("ENV", env)
}

fn python(name: &str) -> Files {
    let mut files = vec![
        ("env.py", include_str!("new/env.py").to_string()),
        ("env.toml", include_str!("new/python.toml").to_string()),
        ("run.toml", run_file(name, "file = \"env.toml\"")),
        ("test_env.py", include_str!("new/test_env.py").to_string()),
    ];
    files.extend(PACKAGE.map(|(path, text)| (path, text.to_string())));
    files
}

/// A crate that depends on the sources that this program was built from, where they still are, and else on what is
/// published.
fn rust(name: &str) -> Files {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dependency = |folder: &str| {
        let path = source.join(folder);
        match path.join("Cargo.toml").is_file() {
            true => format!("{{ path = {} }}", toml::Value::from(path.display().to_string())),
            false => format!("{:?}", env!("CARGO_PKG_VERSION")),
        }
    };
    let manifest = include_str!("new/Cargo.toml.txt").replace("NAME", name);
    let manifest = manifest.replace("PALESTRA", &dependency("")).replace("ENVS", &dependency("envs"));
    vec![
        ("Cargo.toml", manifest),
        (
            "src/main.rs",
            include_str!("../../examples/first_env.rs").replace("cargo run --example first_env --", "cargo run --"),
        ),
        ("run.toml", run_file(name, "id = \"guess\"")),
    ]
}
