//! Every number of a run file has a range, and an error names the file, the field, the value and the range.

use super::refused;

const PLAY: &str = "env.id = 'frozen-lake-4x4'";
const LOG: &str = "data.files = ['log']";
const TEXT: &str = "text.files = ['t.txt']";
const PREFERENCES: &str = "preferences.files = ['p.jsonl']\npreferences.tokenizer = 't.json'";

/// Data of the run, a wrong value, the range that the error names.
type Case = (&'static str, &'static str, &'static str);

const CASES: [Case; 86] = [
    (PLAY, "model.context = 0", "between 1 and 1000000000"),
    (PLAY, "model.layers = 0", "between 1 and 100000"),
    (PLAY, "model.width = 0", "between 1 and 10000000"),
    (PLAY, "model.heads = 0", "between 1 and 10000000"),
    (PLAY, "model.norm_eps = 0", "above 0"),
    (PLAY, "model.norm_eps = -1", "above 0"),
    (PLAY, "model.rope_theta = 0", "above 0"),
    (PLAY, "model.rope_theta = inf", "above 0"),
    (PLAY, "model.rope_scaling = {type = 'linear', factor = 0.5}", "at least 1"),
    (PLAY, "optimizer.learning_rate = 0", "above 0"),
    (PLAY, "optimizer.warmup = 1.5", "between 0 and 1"),
    (PLAY, "optimizer.final_fraction = -1", "between 0 and 1"),
    (PLAY, "optimizer.betas = [0.9, 1]", "at least 0 and below 1"),
    (PLAY, "optimizer.eps = 0", "above 0"),
    (PLAY, "optimizer.weight_decay = -1", "at least 0"),
    (PLAY, "optimizer.max_grad_norm = -1", "at least 0"),
    (PLAY, "optimizer.group = [{pattern = '*', learning_rate_scale = -1}]", "at least 0"),
    (PLAY, "optimizer.group = [{pattern = '*', weight_decay = -1}]", "at least 0"),
    (PLAY, "train.updates = 0", "at least 1"),
    (PLAY, "train.checkpoint_every = 0", "at least 1"),
    (PLAY, "train.keep_checkpoints = 0", "at least 1"),
    (PLAY, "train.evaluate_every = 0", "at least 1"),
    (PLAY, "train.threads = 0", "at least 1"),
    (PLAY, "evaluation.episodes = 0", "at least 1"),
    (PLAY, "rollout.episodes = 0", "at least 1"),
    (PLAY, "rollout.environments = 0", "at least 1"),
    (PLAY, "rollout.group = 0", "at least 1"),
    (PLAY, "rollout.max_new_tokens = 0", "at least 1"),
    (PLAY, "rollout.missing_end_penalty = -1", "at least 0"),
    (PLAY, "rollout.sampling.temperature = 0", "above 0"),
    (PLAY, "ppo.epochs = 0", "at least 1"),
    (PLAY, "ppo.batch = 0", "at least 1"),
    (PLAY, "ppo.gamma = 1.5", "between 0 and 1"),
    (PLAY, "ppo.gamma_token = -1", "between 0 and 1"),
    (PLAY, "ppo.lambda = nan", "between 0 and 1"),
    (PLAY, "ppo.clip = 0", "above 0, or inf for no clipping"),
    (PLAY, "ppo.dual_clip = 1", "above 1, or 0 for none"),
    (PLAY, "ppo.value_clip = -1", "at least 0"),
    (PLAY, "ppo.value_coefficient = -1", "at least 0"),
    (PLAY, "ppo.entropy_coefficient = -1", "at least 0"),
    (PLAY, "ppo.final_entropy_coefficient = -1", "at least 0"),
    (PLAY, "ppo.target_kl = -1", "at least 0"),
    (PLAY, "ppo.kl_coefficient = -1", "at least 0"),
    (PLAY, "ppo.kl_target = -1", "at least 0"),
    (PLAY, "ppo.kl_horizon = 0", "above 0"),
    (PLAY, "grpo.clip_low = 1", "above 0 and below 1"),
    (PLAY, "grpo.clip_high = 0", "above 0, or inf for no clipping"),
    (PLAY, "grpo.kl_coefficient = -1", "at least 0"),
    (LOG, "data.batch = 0\nbc = {}", "at least 1"),
    (LOG, "data.chunk = 0\nbc = {}", "at least 1"),
    (LOG, "data.steps = 0\nbc = {}", "at least 1"),
    (LOG, "data.shuffle_buffer = 0\nbc = {}", "at least 1"),
    (LOG, "data.gamma = 2\nbc = {}", "between 0 and 1"),
    (LOG, "data.gamma_token = 2\nbc = {}", "between 0 and 1"),
    (LOG, "filtered_bc.percent = 0", "between 0.001 and 100"),
    (LOG, "awr.lambda = 0", "above 0"),
    (LOG, "awr.max_weight = 0", "above 0"),
    (LOG, "awr.value_coefficient = -1", "at least 0"),
    (LOG, "mc.alpha = -1", "at least 0"),
    (LOG, "mc.beta = -1", "at least 0"),
    (LOG, "cql.alpha = -1", "at least 0"),
    (LOG, "cql.beta = 0", "above 0"),
    (LOG, "cql.polyak = 2", "between 0 and 1"),
    (LOG, "iql.tau = 0.3", "between 0.5 and 1"),
    (LOG, "iql.beta = -1", "at least 0"),
    (LOG, "iql.max_weight = 0", "above 0"),
    (LOG, "ilql.tau = 0.3", "between 0.5 and 1"),
    (LOG, "ilql.policy_coefficient = -1", "at least 0"),
    (LOG, "decision_transformer.target_return = inf", "a finite number"),
    (LOG, "decision_transformer.decimals = 7", "at most 6"),
    (TEXT, "text.validation_share = 1", "at least 0 and below 1"),
    (TEXT, "text.batch = 0", "at least 1"),
    (TEXT, "text.steps = 0", "at least 1"),
    (TEXT, "text.validation_windows = 0", "at least 1"),
    (TEXT, "text.sample_tokens = 0", "at least 1"),
    (PREFERENCES, "preferences.validation_share = 0.9\ndpo = {}", "above 0 and at most 0.5"),
    (PREFERENCES, "preferences.batch = 0\ndpo = {}", "at least 1"),
    (PREFERENCES, "preferences.steps = 0\ndpo = {}", "at least 1"),
    (PREFERENCES, "dpo.beta = 0", "above 0"),
    (PREFERENCES, "dpo.label_smoothing = 0.6", "between 0 and 0.5"),
    (PREFERENCES, "dpo.gamma = -1", "at least 0"),
    (PREFERENCES, "dpo.nll_coefficient = -1", "at least 0"),
    (PREFERENCES, "kto.beta = 0", "above 0"),
    (PREFERENCES, "kto.desirable_weight = -1", "at least 0"),
    (PREFERENCES, "reward_model.margin_scale = -1", "at least 0"),
    (PREFERENCES, "reward_model.center_rewards_coefficient = -1", "at least 0"),
];

#[test]
fn a_value_out_of_its_range_names_file_field_value_and_range() {
    for (data, wrong, range) in CASES {
        let message = refused(&format!("name = 'x'\n{data}\n{wrong}\n"));
        let (field, value) = told(wrong.lines().next().unwrap());
        assert_eq!(message, format!("run.toml: {field}: {value} is not {range}"), "{wrong}");
    }
}

/// The field and the value of an assignment, as an error names them.
fn told(assignment: &str) -> (String, String) {
    let (field, value) = assignment.split_once(" = ").unwrap();
    let inner = |separator: &str| value.rsplit_once(separator).unwrap().1.trim_end_matches([']', '}']).to_string();
    match field {
        "optimizer.betas" => (format!("{field}[1]"), inner(", ")),
        _ if value.contains('{') => {
            let name = value.rsplit_once(" = ").unwrap().0.rsplit_once(", ").unwrap().1;
            (format!("{field}.{name}"), inner(" = "))
        }
        _ => (field.to_string(), value.replace("nan", "NaN")),
    }
}
