mod ranges;

use super::*;
use palestra_learn::learners::dpo::DpoConfig;
use palestra_learn::learners::ppo::PpoConfig;

const MINIMAL: &str = "name = 'lake'\n[env]\nid = 'frozen-lake-4x4'\n";

fn refused(text: &str) -> String {
    RunFile::from_toml("run.toml", text, &[] as &[&str]).unwrap_err().to_string()
}

fn set(overrides: &[&str]) -> Result<RunFile> {
    RunFile::from_toml("run.toml", MINIMAL, overrides)
}

fn ppo(run: &RunFile) -> &PpoConfig {
    run.learner.config.downcast_ref().unwrap()
}

#[test]
fn what_is_left_out_has_its_default() {
    let run = set(&[]).unwrap();
    assert_eq!((run.seed, run.device.as_str(), ppo(&run)), (0, "auto", &PpoConfig::default()));
    assert_eq!(run.train.updates, TrainConfig::default().updates);
}

#[test]
fn completions_without_a_reward_are_refused() {
    let text =
        "name = 'x'\n[env]\nkind = 'completion'\noptions = { file = 'prompts.jsonl' }\n[grpo]\n[rollout]\ngroup = 2\n";
    let run = |more: &str| RunFile::from_toml("run.toml", &format!("{text}{more}"), &[] as &[&str]).unwrap();
    let registry = Registry::builtin();
    let told = run("").resolve(&registry).unwrap_err().to_string();
    assert!(told.starts_with("[[reward]]: missing; the environment `completion` scores nothing itself"), "{told}");
    run("[[reward]]\nkind = 'length'\n").resolve(&registry).unwrap();
}

#[test]
fn a_renamed_key_is_refused_with_its_new_name() {
    assert_eq!(
        refused("name = 'x'\n[data]\nfiles = ['a.parquet']\nstretch = 4\n[bc]"),
        "run.toml:4: unknown key `stretch` in [data]: it is called `chunk` now"
    );
    for (section, old, new) in super::RENAMED {
        let message = refused(&format!("name = 'x'\n[{section}]\n{old} = 4\n"));
        assert_eq!(message, format!("run.toml:3: unknown key `{old}` in [{section}]: it is called `{new}` now"));
    }
}

#[test]
fn a_wrong_key_or_value_is_told_with_its_line() {
    assert_eq!(
        refused(&format!("{MINIMAL}[optimizer]\nleraning_rate = 1e-3")),
        "run.toml:5: unknown key `leraning_rate` in [optimizer]; did you mean `learning_rate`? known keys: \
         learning_rate, warmup, schedule, final_fraction, betas, eps, weight_decay, max_grad_norm, group"
    );
    assert_eq!(
        refused(&format!("{MINIMAL}[ppo]\nepochs = 'four'")),
        "run.toml:5: ppo.epochs: found string \"four\", expected a whole number, 0 or more"
    );
    assert_eq!(
        refused(&format!("{MINIMAL}[model]\nfamily = 'lama'")),
        "run.toml:5: model.family: unknown value `lama`; did you mean `llama`? known values: gpt2, llama, \
         mistral, qwen2, qwen3, qwen3_moe, mixtral, gemma3_text, phi3, smollm3, olmo2"
    );
    let section = refused(&format!("{MINIMAL}[gpro]\nepochs = 1"));
    assert!(
        section.starts_with("run.toml:4: unknown key `gpro`; did you mean `grpo`? known keys: name, seed, device, "),
        "{section}"
    );
    assert!(
        section.ends_with(
            "evaluation, ppo, grpo, bc, filtered_bc, awr, mc, cql, iql, ilql, decision_transformer, \
        supervised, reward_model, dpo, kto"
        ),
        "{section}"
    );
    assert_eq!(refused("[env]\nid = 'frozen-lake-4x4'"), "run.toml: missing key `name`");
    assert_eq!(
        refused("name = 'x'"),
        "run.toml: missing key `env`: [ppo] learns by playing; to learn from a log, name it in [data]"
    );
}

#[test]
fn impossible_combinations_are_refused_by_name() {
    let with = |text: &str| refused(&format!("{MINIMAL}{text}"));
    assert_eq!(with("[model]\nheads = 3"), "run.toml: model.heads: 3 does not divide model.width = 64");
    assert_eq!(
        with("[rollout.sampling]\ntop_k = 5"),
        "run.toml: rollout.sampling.top_k: 5 is not 0, which is no limit: PPO learns from samples of the whole \
         distribution"
    );
    assert_eq!(with("[rollout]\nepisodes = 0"), "run.toml: rollout.episodes: 0 is not at least 1");
    assert_eq!(with("[ppo]\ngamma = 1.5"), "run.toml: ppo.gamma: 1.5 is not between 0 and 1");
    assert_eq!(with("[optimizer]\nlearning_rate = nan"), "run.toml: optimizer.learning_rate: NaN is not above 0");
    let data = |text: &str| refused(&format!("name = 'x'\n[data]\nfiles = ['log']\n{text}"));
    assert!(data("").contains("no learner is named"), "{}", data(""));
    assert!(data("[ilql]\n[bc]").ends_with("[bc] and [ilql]: a run has one learner; remove one of them"));
    assert_eq!(data("[ppo]"), "run.toml: [data]: [ppo] learns from its own play alone; remove [data] or [ppo]");
    assert_eq!(data("batch = 0\n[bc]"), "run.toml: data.batch: 0 is not at least 1");
    assert_eq!(data("[iql]\ntau = 0.3"), "run.toml: iql.tau: 0.3 is not between 0.5 and 1");
    assert_eq!(with("[bc]"), "run.toml: missing key `data`: [bc] learns from a log");
    assert!(refused("name = 'a/b'\n[env]\nid = 'x'").contains("name: \"a/b\" names no directory"));
    assert!(refused("name = 'a'\nstart_from = 'b'\n[env]\nid = 'x'\n[model]").contains("remove either"));
}

#[test]
fn overrides_are_typed_by_toml() {
    let run = set(&["ppo.epochs = 2", "device=libtorch", "env.options.slippery=false", "optimizer.betas=[0.9,0.99]"]);
    let run = run.unwrap();
    assert_eq!((ppo(&run).epochs, run.device.as_str(), run.optimizer.betas), (2, "libtorch", (0.9, 0.99)));
    assert_eq!(run.env.unwrap().options.table()["slippery"], toml::Value::Boolean(false));
    assert_eq!(set(&["train.updates=5", "train.updates=7"]).unwrap().train.updates, 7);
}

#[test]
fn a_wrong_override_is_told_as_it_was_written() {
    let refused = |assignment: &str| set(&[assignment]).unwrap_err().to_string();
    assert!(
        refused("ppo.epoch=2").starts_with(
            "--set ppo.epoch=2: unknown key `epoch` in [ppo]; did you mean `epochs`? known keys: epochs, "
        )
    );
    assert_eq!(
        refused("ppo.epochs=two"),
        "--set ppo.epochs=two: ppo.epochs: found string \"two\", expected a whole number, 0 or more"
    );
    assert_eq!(refused("ppo.epochs"), "--set ppo.epochs: write key=value, such as ppo.epochs=2");
    assert_eq!(refused("seed.x=1"), "--set seed.x=1: seed: found map, expected a whole number, 0 or more");
    assert_eq!(refused("name.x=1"), "--set name.x=1: `name` is no section");
}

#[test]
fn a_resolved_run_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pond.toml"), "id = 'pond'\nkind = 'frozen-lake'\nwrappers.limit = 7").unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "name = 'x'\n[env]\nfile = 'pond.toml'\noptions.slippery = false").unwrap();
    let registry = Registry::builtin();
    let resolved = RunFile::load(&path, &["ppo.epochs=3"]).unwrap().resolve(&registry).unwrap();
    folder.close().unwrap();
    let again = RunFile::from_toml("saved.toml", &resolved.to_toml().unwrap(), &[] as &[&str]).unwrap();
    assert_eq!(again.to_toml().unwrap(), resolved.to_toml().unwrap());
    assert_eq!((ppo(&again).epochs, again.model), (3, Some(ModelConfig::default())));
    let env = registry.build(&again.env.unwrap()).unwrap();
    assert_eq!((env.spec().id.as_str(), env.spec().max_turns, env.spec().stochastic), ("pond-v1", Some(7), false));
}

#[test]
fn the_learner_is_saved_with_its_section_and_an_override_may_name_it() {
    let preferences = "name = 'x'\nstart_from = 'm'\n[preferences]\nfiles = ['a']\nvalidation = ['b']\n";
    assert!(refused(preferences).ends_with(
        "[preferences]: no learner is named; add a section [reward_model], [dpo] or [kto], which may be empty"
    ));
    let run = RunFile::from_toml("run.toml", preferences, &["dpo.beta=0.2"]).unwrap();
    assert_eq!(run.learner.config.downcast_ref::<DpoConfig>().unwrap().beta, 0.2);
    let text = run.to_toml().unwrap();
    assert!(text.contains("\n[dpo]\n") && text.contains("\nbeta = 0.2\n"), "{text}");
    let again = RunFile::from_toml("saved.toml", &text, &[] as &[&str]).unwrap();
    assert_eq!((again.to_toml().unwrap(), again.first_difference(&run)), (text, None));
    let other = RunFile::from_toml("run.toml", preferences, &["dpo.beta=0.3"]).unwrap();
    assert_eq!(run.first_difference(&other).as_deref(), Some("dpo"));
}

#[test]
fn the_date_of_chats_is_a_text_or_a_date_of_toml() {
    for written in ["chat_date=2026-02-01", "chat_date=\"2026-02-01\""] {
        let run = RunFile::from_toml("run.toml", MINIMAL, &[written]).unwrap();
        assert_eq!(run.chat_date, Some("2026-02-01".parse().unwrap()));
        let saved = RunFile::from_toml("saved.toml", &run.to_toml().unwrap(), &[] as &[&str]).unwrap();
        assert_eq!(saved.chat_date, run.chat_date);
    }
    let wrong = RunFile::from_toml("run.toml", MINIMAL, &["chat_date=today"]).unwrap_err().to_string();
    assert!(wrong.contains("\"today\" is no date"), "{wrong}");
}

#[test]
fn a_chat_template_is_a_name_or_a_file_beside_the_run_file() {
    let text = "name = \"x\"\nstart_from = \"m\"\n[text]\nfiles = [\"a.jsonl\"]\nformat = \"messages\"\n";
    let load = |overrides: &[&str]| RunFile::from_toml("folder/run.toml", text, overrides);
    let named =
        |name: &str| load(&[&format!("text.chat_template={name}")]).unwrap().chat_template().unwrap().to_string();
    assert_eq!(named("qwen3-training"), "qwen3-training");
    assert_eq!(named("own.jinja"), "folder/own.jinja");
    let run = load(&["text.chat_template=r1-training", "text.history=as_template"]).unwrap();
    let saved = RunFile::from_toml("elsewhere/run.toml", &run.to_toml().unwrap(), &[] as &[&str]).unwrap();
    assert_eq!(saved.chat_template(), run.chat_template());
    assert_eq!(saved.text.unwrap().history, run.text.unwrap().history);
    let refused = |overrides: &[&str]| load(overrides).unwrap_err().to_string();
    let chat = "rollout.chat=true";
    for (overrides, right) in [
        (&["text.history=as_told"][..], "unknown value `as_told`; known values: as_written, as_template"),
        (&["text.format=text", "text.history=as_written"], "text.history: texts are no conversations"),
        (&["rollout.history=as_written"], "rollout.history: rollouts read no conversations; set rollout.chat = true"),
        (&["rollout.chat_template=a.jinja"], "rollout.chat_template: rollouts read no conversations"),
        (&[chat, "rollout.history=as_written"], "rollout.history: nothing is read of earlier turns"),
        (
            &[chat, "rollout.chat_template=b", "text.chat_template=r1-training"],
            "rollout.chat_template: folder/b, and text.",
        ),
    ] {
        let error = refused(overrides);
        assert!(error.contains(right), "{error}");
    }
    let rollout =
        [chat, "rollout.context=transcript", "rollout.history=as_template", "rollout.chat_template=r1-training"];
    assert_eq!(load(&rollout).unwrap().chat_template().unwrap().to_string(), "r1-training");
}
