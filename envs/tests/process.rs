//! Environments that are programs: played, slow, failing in every way, and gone when nobody plays them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palestra_envs::check::{CheckOptions, check};
use palestra_envs::{Call, Content, Definition, End, Env, Error, FailureKind, Pool, Registry};
use serde_json::{Value, json};

/// A program that counts to three: each step gives the reward 1. Its first argument is its way to fail in the second step
/// of an episode with an odd seed, or another peculiarity; its second a file.
const COUNTER: &str = r#"
way=$1
file=$2
echo "started as worker $way" >&2
stay() {
    sleep 1000 & echo $! > "$file.child"
    echo $$ > "$file.new"; mv "$file.new" "$file"
    trap '' TERM
    while :; do sleep 1000; done
}
while read -r line; do
    s=${line#*\"session\":}; s=${s%%[,\}]*}
    case $line in
    *'"hello"'*)
        [ "$way" = rude ] && echo "Hello!"
        [ "$way" = late ] && sleep 30
        version=1; [ "$way" = newer ] && version=2
        echo '{"type":"hello","protocol":'$version',"spec":{"id":"counter-v3","max_turns":3,"reward_range":[0,1]},"render":true}' ;;
    *'"reset"'*)
        seed=${line#*\"seed\":}; seed=${seed%%[,\}]*}
        eval "t_$s=0 seed_$s=$seed"
        [ "$way" = slow ] && sleep 0.3
        [ "$way" = eager ] && stay
        text="seed $seed"
        echo '{"type":"reset","session":'$s',"observation":"'$text'","legal_actions":["on","up"],"scripted_action":"on","info":{}}' ;;
    *'"step"'*)
        eval "t=\$((t_$s + 1)) seed=\$seed_$s"
        eval "t_$s=$t"
        [ "$way" = slow ] && sleep 0.3
        odd=0; case $seed in *[13579]) odd=1 ;; esac
        if [ $t = 2 ] && [ $odd = 1 ]; then case $way in
            exit) echo "out of memory" >&2; exit 3 ;;
            hang) sleep 30 ;;
            prose) echo "Segmentation fault" ;;
            flood) head -c 100000 /dev/zero | tr '\0' x ;;
            unasked) echo '{"type":"step","session":99}' ;;
            wrong) echo '{"type":"step","session":'$s',"observation":"x","reward":"much","terminated":false}'; continue ;;
            error) echo '{"type":"error","session":'$s',"message":"division by zero"}'; continue ;;
        esac; fi
        end=false; [ $t = 3 ] && end=true
        invalid=true; case $line in *'"action":"on"'*|*'"action":"up"'*) invalid=false ;; esac
        echo '{"type":"step","session":'$s',"observation":[{"role":"user","content":"at '$t'"}],"legal_actions":["on","up"],"reward":1,"terminated":'$end',"truncated":false,"invalid_action":'$invalid'}' ;;
    *'"render"'*) echo '{"type":"render","session":'$s',"text":"the counter"}' ;;
    esac
done
case $way in stubborn|eager) stay ;; esac
"#;

fn definition(way: &str, more: &str) -> Definition {
    let quoted = toml::Value::from(COUNTER).to_string();
    let text = format!("kind = 'process'\n[options]\ncommand = ['sh', '-c', {quoted}, 'counter', '{way}'{more}",);
    Definition::from_toml("counter.toml", &text).unwrap()
}

fn make(way: &str, more: &str) -> Box<dyn Env> {
    Registry::builtin().build(&definition(way, more)).unwrap()
}

#[test]
fn a_program_is_played() {
    let mut env = make("well", "]");
    assert_eq!((env.spec().id.as_str(), env.spec().max_turns, env.spec().reproducible), ("counter-v3", Some(3), true));
    let first = env.reset(7).unwrap();
    assert_eq!(first.content, "seed 7");
    assert_eq!(first.legal_actions.as_deref(), Some(["on".to_string(), "up".to_string()].as_slice()));
    assert_eq!((env.render(), env.scripted_action()), ("the counter".to_string(), Some("on".to_string())));
    assert!(env.step("down \"\n").unwrap().invalid_action);
    let step = env.step("on").unwrap();
    assert!(matches!(step.observation.content, Content::Messages(_)), "{step:?}");
    assert_eq!((step.reward, step.end, step.invalid_action), (1.0, None, false));
    assert_eq!(env.step("up").unwrap().end, Some(End::Terminated));
    assert!(matches!(env.step("up"), Err(Error::NotRunning { .. })));
}

#[test]
fn an_id_of_a_definition_is_the_name() {
    let named = Definition { id: Some("mine".into()), ..definition("well", "]") };
    assert_eq!(Registry::builtin().build(&named).unwrap().spec().id, "mine-v3");
}

#[test]
fn many_sessions_share_one_process_and_many_processes_share_the_work() {
    for workers in [1, 2] {
        let mut pool =
            Pool::new(&Registry::builtin(), &definition("well", &format!("]\nworkers = {workers}")), 5).unwrap();
        for slot in 0..5 {
            assert_eq!(pool.reset(slot, slot as u64 * 2).unwrap().content, format!("seed {}", slot * 2));
        }
        for turn in 1..=3 {
            for step in pool.step(&[(4, "on"), (0, "on"), (2, "up")]) {
                assert_eq!(step.unwrap().end.is_some(), turn == 3);
            }
        }
    }
}

#[test]
fn slow_environments_work_at_once() {
    let pool = Pool::new(&Registry::builtin(), &definition("slow", "]\nworkers = 8"), 8).unwrap();
    assert!(pool.env(0).waits());
    let mut pool = pool.on_threads();
    let began = Instant::now();
    for call in [Call::Reset(0), Call::Step("on".into())] {
        (0..8).for_each(|slot| pool.call(slot, call.clone()));
        pool.answers(false, true).into_iter().for_each(|answer| _ = answer.reply.unwrap());
    }
    let taken = began.elapsed();
    // One after the other they take 16 * 0.3 s.
    assert!(taken >= Duration::from_millis(600) && taken < Duration::from_millis(2_400), "{taken:?}");
}

#[test]
fn answers_are_taken_as_they_come_and_a_late_one_is_a_failure() {
    let mut pool = Pool::new(&Registry::builtin(), &definition("hang", "]\ntimeout = 2\nworkers = 2"), 2).unwrap();
    let mut take = |calls: [Call; 2]| {
        calls.into_iter().enumerate().for_each(|(slot, call)| pool.call(slot, call));
        let mut answers = Vec::new();
        while pool.is_busy() {
            let came = pool.answers(true, true);
            assert!(!came.is_empty(), "one was waited for");
            answers.extend(came.into_iter().map(|answer| (answer.slot, answer.reply)));
        }
        answers
    };
    take([Call::Reset(1), Call::Reset(2)]).into_iter().for_each(|(_, reply)| _ = reply.unwrap());
    let step = || Call::Step("on".to_string());
    take([step(), step()]).into_iter().for_each(|(_, reply)| _ = reply.unwrap());
    let answers = take([step(), step()]);
    assert_eq!(answers.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [1, 0], "the first hangs");
    assert!(answers[0].1.is_ok());
    let late = answers[1].1.as_ref().unwrap_err();
    assert_eq!(late.episode_failure(), Some(FailureKind::Timeout), "{late}");
}

#[test]
fn one_hello_is_enough_for_all_who_wait_for_it() {
    let envs: Vec<_> = (0..8).map(|_| make("slow", "]\nworkers = 2\nstart_timeout = 5")).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = envs.into_iter().map(|mut env| scope.spawn(move || env.reset(2).unwrap())).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap().content, "seed 2"));
    });
    assert!(began.elapsed() < Duration::from_secs(4), "one of them waited for a second hello");
}

/// Failure of the second step of an odd episode, and what it tells.
fn failure(way: &str, more: &str) -> (FailureKind, String) {
    let mut pool = Pool::new(&Registry::builtin(), &definition(way, more), 2).unwrap();
    pool.reset(0, 1).unwrap();
    assert_eq!(pool.step(&[(0, "on")]).remove(0).unwrap().reward, 1.0);
    let error = pool.step(&[(0, "on")]).remove(0).unwrap_err();
    // The next episode is played by the same process or by its successor.
    assert_eq!(pool.reset(0, 2).unwrap().content, "seed 2");
    assert_eq!(pool.step(&[(0, "on")]).remove(0).unwrap().reward, 1.0);
    (error.episode_failure().unwrap_or_else(|| panic!("{error}")), error.to_string())
}

#[test]
fn every_failure_costs_one_episode_and_is_told() {
    for (way, more, kind, told) in [
        (
            "exit",
            "]",
            FailureKind::Exit,
            "counter-v3: worker 0: it ended; its last words:\n  exit status: 3\n  started as worker exit\n  out of memory",
        ),
        ("hang", "]\ntimeout = 0.3", FailureKind::Timeout, "it gave no answer within 0.3 seconds (`timeout`)"),
        ("prose", "]", FailureKind::NoJson, "it wrote \"Segmentation fault\", which is no JSON object"),
        (
            "flood",
            "]\nmax_line_bytes = 9999",
            FailureKind::Flood,
            "it wrote a line of more than 9999 bytes (`max_line_bytes`)",
        ),
        ("unasked", "]", FailureKind::Protocol, "which answers no request"),
        ("wrong", "]", FailureKind::Protocol, "its message `step`: invalid type: string \"much\", expected f32"),
        ("error", "]", FailureKind::Error, "counter-v3: worker 0: division by zero"),
    ] {
        let (found, message) = failure(way, more);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(told), "{way}: {message}");
    }
}

#[test]
fn episodes_of_the_same_process_are_lost_and_those_of_others_go_on() {
    let mut pool = Pool::new(&Registry::builtin(), &definition("exit", "]\nworkers = 2"), 4).unwrap();
    for (slot, seed) in [(0, 1), (1, 2), (2, 2), (3, 2)] {
        pool.reset(slot, seed).unwrap();
    }
    let all = [(0, "on"), (1, "on"), (2, "on"), (3, "on")];
    pool.step(&all).into_iter().for_each(|step| _ = step.unwrap());
    let kinds: Vec<Option<FailureKind>> =
        pool.step(&all).into_iter().map(|step| step.err().and_then(|error| error.episode_failure())).collect();
    assert_eq!(kinds, [Some(FailureKind::Exit), None, Some(FailureKind::Lost), None]);
}

#[test]
fn too_many_failures_are_an_error_of_the_run_with_the_last_words() {
    let mut env = make("exit", "]\nmax_failures = 1");
    let mut fail = || {
        env.reset(1).unwrap();
        env.step("on").unwrap();
        env.step("on").unwrap_err()
    };
    assert_eq!(fail().episode_failure(), Some(FailureKind::Exit));
    let error = fail();
    assert!(matches!(error, Error::TooManyFailures(_)), "{error}");
    let told =
        "counter-v3: 2 failures, more than `max_failures` = 1; the last one: worker 0: it ended; its last words:";
    assert!(error.to_string().starts_with(told) && error.to_string().ends_with("out of memory"), "{error}");
}

#[test]
fn a_program_that_does_not_begin_is_refused() {
    let refused = |definition: &Definition| Registry::builtin().build(definition).err().unwrap().to_string();
    for (way, more, told) in [
        ("rude", "]", "it wrote \"Hello!\", which is no JSON object"),
        ("late", "]\nstart_timeout = 0.2", "it did not say hello within 0.2 seconds (`start_timeout`)"),
        ("newer", "]", "it speaks version 2 of the protocol; 1 would be right"),
    ] {
        let message = refused(&definition(way, more));
        assert!(message.starts_with("counter.toml:3: options.command: worker 0: "), "{message}");
        assert!(message.contains(told), "{message}");
    }
    for (options, told) in [
        ("", "counter.toml:2: options.command: it is missing; write a list such as [\"python3\", \"my_env.py\"]"),
        ("command = ['palestra-none']", "counter.toml:3: options.command: worker 0: `palestra-none` cannot be started"),
        ("command = ['sh']\nworkers = 0", "counter.toml:4: options.workers: 0 is not at least 1"),
        ("command = ['sh']\ntimeout = -1.0", "counter.toml:4: options.timeout: -1 is not above 0"),
    ] {
        let text = format!("kind = 'process'\n[options]\n{options}\n");
        let message = refused(&Definition::from_toml("counter.toml", &text).unwrap());
        assert!(message.starts_with(told), "{message}");
    }
}

fn is_alive(file: &Path) -> bool {
    let process = std::fs::read_to_string(file).unwrap();
    // A process that has ended and that nobody has waited for is a zombie.
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// Waits until the processes of a stubborn program and of what it started are gone.
fn assert_gone(file: &Path) {
    let began = Instant::now();
    for file in [file.to_path_buf(), file.with_extension("child")] {
        while is_alive(&file) {
            assert!(began.elapsed() < Duration::from_secs(5), "{} goes on", file.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn nothing_of_a_program_outlives_its_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("process");
    let mut env = make("stubborn", &format!(", '{}']", file.display()));
    env.reset(0).unwrap();
    drop(env); // its input is closed, which it does not obey
    assert_gone(&file);
}

#[test]
fn nothing_of_a_program_outlives_a_process_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("process");
    let mut player = this_program("player").env(FILE, &file).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the program was not started");
        std::thread::sleep(Duration::from_millis(2));
    }
    player.kill().unwrap();
    player.wait().unwrap();
    assert_gone(&file);
}

/// Environment variables of the child processes: which one it is, and a file.
const ROLE: &str = "PALESTRA_ENVS_TEST_ROLE";
const FILE: &str = "PALESTRA_ENVS_TEST_FILE";

/// This test program as a child process with a role.
fn this_program(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child", "--nocapture"]).env(ROLE, role);
    command
}

#[test]
#[ignore = "child process of the tests beside it"]
fn child() {
    match std::env::var(ROLE).expect("set by the test that starts this process").as_str() {
        "player" => {
            let file = std::env::var(FILE).unwrap();
            let mut env = make("eager", &format!(", '{file}']"));
            let _ = env.reset(0); // which is never answered
        }
        role => serve(role == "clock"),
    }
}

/// Serves the environment that counts to three on standard input and the file 3; a test program writes to its output
/// before a test begins.
fn serve(by_clock: bool) {
    let mut output = std::fs::OpenOptions::new().write(true).open("/dev/fd/3").unwrap();
    let mut turns = BTreeMap::new();
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let session = request["session"].clone();
        let turn = turns.entry(session.as_u64()).or_insert(0);
        let legal = json!(["on", "up"]);
        let answer = match request["type"].as_str().unwrap() {
            "hello" => json!({ "type": "hello", "protocol": 1,
                "spec": { "id": "counter-v1", "max_turns": 3, "reward_range": [0, 1], "reproducible": !by_clock } }),
            "reset" => {
                *turn = 0;
                let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
                let text = if by_clock { time.to_string() } else { request["seed"].to_string() };
                json!({ "type": "reset", "session": session, "observation": text, "legal_actions": legal })
            }
            "step" => {
                *turn += 1;
                let invalid = !["on", "up"].contains(&request["action"].as_str().unwrap());
                json!({ "type": "step", "session": session, "observation": "", "legal_actions": legal, "reward": 1,
                    "terminated": *turn == 3, "invalid_action": invalid })
            }
            _ => continue,
        };
        writeln!(output, "{answer}").unwrap();
    }
}

#[test]
fn the_checker_is_as_strict_but_for_seeds_where_they_are_not_reproducible() {
    let program = std::env::current_exe().unwrap();
    let checked = |role: &str, more: &str| {
        let script = format!("{ROLE}={role} exec \"$0\" --ignored --exact child --nocapture 3>&1 1>&2");
        let text =
            format!("kind = 'process'\n[options]\ncommand = ['sh', '-c', '{script}', '{}']\n{more}", program.display());
        let definition = Definition::from_toml("counter.toml", &text).unwrap();
        let options = CheckOptions { episodes: 2, ..CheckOptions::default() };
        check(&|| Registry::builtin().build(&definition), options)
    };
    let report = checked("counter", "");
    assert!(report.passed() && report.findings.is_empty() && report.turns > 50, "{report}");
    let clock = checked("clock", "");
    assert!(clock.passed(), "{clock}");
    assert!(clock.findings.iter().any(|finding| finding.rule == "same-seed"), "{clock}");
    assert!(!checked("clock", "reproducible = true").passed());
}
