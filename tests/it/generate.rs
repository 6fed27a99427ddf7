//! Text generation: from Hugging Face directories and runs, in conversations; mistakes are refused.

use serde_json::json;

use crate::command::Sandbox;
use crate::tiny_run::{trained, write_model};

const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}.{% endfor %}a:";

/// Model directory with 40 tokens, and a tokenizer of as many characters.
fn model() -> Sandbox {
    let sandbox = Sandbox::new();
    write_model(sandbox.path(), TEMPLATE);
    sandbox
}

fn write(sandbox: &Sandbox, options: &[&str]) -> serde_json::Value {
    sandbox.run(&[&["generate", "m", "--json", "--quiet", "--device", "flex"][..], options].concat()).json()
}

#[test]
fn a_model_goes_on_from_a_prompt() {
    let sandbox = model();
    let report = write(&sandbox, &["--prompt", "once", "--max-new-tokens", "7"]);
    let text = report["text"].as_str().unwrap();
    assert_eq!((&report["prompt_tokens"], &report["model"]), (&json!(4), &json!("m")));
    let length = report["tokens"].as_array().unwrap().len();
    let finish = report["finish"].as_str().unwrap();
    assert!(finish == "stop" || length == 7, "{report}");
    let args = ["generate", "m", "--max-new-tokens", "7", "--device", "flex"];
    let shown = sandbox.type_in(&[&args[..], &["--quiet"]].concat(), "once\n").success();
    assert_eq!(shown, format!("{text}\n"), "streamed as it was told whole");
    let loud = sandbox.type_in(&args, "once");
    assert!(loud.stderr.starts_with("4 tokens read, ") && loud.stderr.ends_with(" tokens/s\n"), "{}", loud.stderr);
}

#[test]
fn weights_in_fewer_bits_write_and_score_texts() {
    let sandbox = model().with("held-out.txt", "once upon a time there was a model\n");
    let written = |options: &[&str]| {
        write(&sandbox, &[&["--prompt", "once", "--max-new-tokens", "7"][..], options].concat())["tokens"].clone()
    };
    let nll = |form: &str| {
        let args = ["eval", "m", "--data", "held-out.txt", "--device", "flex", "--json", "--quantize", form];
        sandbox.run(&args).json()["mean_nll"].as_f64().unwrap()
    };
    assert_eq!(written(&["--quantize", "none"]), written(&[]));
    let whole = nll("none");
    for form in ["bf16", "int8", "nf4"] {
        assert!(!written(&["--quantize", form]).as_array().unwrap().is_empty(), "{form}");
        let change = (nll(form) - whole).abs();
        assert!(change > 0.0 && change < 0.1, "{form}: {change}");
    }
    let refused = sandbox.run(&["generate", "m", "--prompt", "once", "--quantize", "int4"]);
    let told = &refused.stderr;
    assert!(told.contains("it is one of none, bf16, int8, nf4"), "{told}");
}

#[test]
fn the_seed_fixes_what_is_sampled() {
    let sandbox = model();
    let sampled = |seed: &str| {
        let options = ["--prompt", "once", "--temperature", "2", "--top-p", "0.99", "--max-new-tokens", "20"];
        write(&sandbox, &[&options[..], &["--seed", seed]].concat())["tokens"].clone()
    };
    assert_eq!(sampled("1"), sampled("1"));
    assert!((2..6).any(|seed| sampled(&seed.to_string()) != sampled("1")));
}

#[test]
fn a_stop_text_ends_it_and_is_left_out() {
    let sandbox = model();
    let options = ["--prompt", "once", "--max-new-tokens", "30", "--temperature", "1.5", "--seed", "4"];
    let whole = write(&sandbox, &options);
    let text = whole["text"].as_str().unwrap();
    let stop: String = text.chars().skip(3).take(2).collect();
    let cut = write(&sandbox, &[&options[..], &["--stop", &stop]].concat());
    let before = text.split(&stop).next().unwrap();
    assert_eq!((cut["text"].as_str(), cut["finish"].as_str()), (Some(before), Some("stop")), "{text:?} at {stop:?}");
    let quietly = ["generate", "m", "--quiet", "--device", "flex", "--stop", &stop];
    assert_eq!(sandbox.run(&[&quietly[..], &options].concat()).success(), format!("{before}\n"), "and is never shown");
}

#[test]
fn a_conversation_is_held_in_the_models_template() {
    let sandbox = model();
    let args = ["generate", "m", "--chat", "--quiet", "--device", "flex", "--max-new-tokens", "5", "--system", "be"];
    let report = sandbox.type_in(&[&args[..], &["--json"]].concat(), "hi\n\nwhy?\n").json();
    let roles: Vec<&str> = report["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    let said = report["messages"][2]["content"].as_str().unwrap();
    let read = format!("s:be.u:hi.a:{said}.u:why?.a:").chars().count();
    assert_eq!(report["prompt_tokens"], read);
    let shown = sandbox.type_in(&args, "hi\n").success();
    assert_eq!(shown, format!("{said}\n"));
    let one = sandbox.run(&[&args[..], &["--json", "--prompt", "hi"]].concat()).json();
    assert_eq!(one["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn a_run_is_a_model_too() {
    let sandbox = trained();
    let args = ["generate", "runs/lake", "--prompt", "2", "--max-new-tokens", "3", "--json", "--quiet"];
    let report = sandbox.run(&args).json();
    assert_eq!((&report["prompt_tokens"], &report["model"]), (&json!(1), &json!("runs/lake")));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let sandbox = model();
    let refused = |options: &[&str]| {
        let outcome = sandbox.run(&[&["generate"][..], options, &["--device", "flex"]].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
        outcome.stderr.strip_prefix("error: ").unwrap().trim_end().to_string()
    };
    assert!(refused(&["m", "--prompt", ""]).starts_with("the prompt is empty"));
    assert!(refused(&["m", "--prompt", "É"]).starts_with("tokenizer: "));
    assert_eq!(refused(&["m", "--prompt", "a", "--top-p", "1.5"]), "--top-p: 1.5 is not above 0 and at most 1");
    assert!(refused(&["nowhere", "--prompt", "a"]).starts_with("nowhere is no directory; give a Hugging Face model"));
}
