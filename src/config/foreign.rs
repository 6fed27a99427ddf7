//! Names of settings in other tools, TRL, PEFT, transformers and CleanRL, for errors that say what they are called here.

/// The last part of a key elsewhere, and the key here.
const NAMES: [(&str, &str); 64] = [
    ("adam_beta1", "optimizer.betas"),
    ("adam_beta2", "optimizer.betas"),
    ("adam_epsilon", "optimizer.eps"),
    ("anneal_lr", "optimizer.schedule = \"linear\""),
    ("bf16", "train.precision = \"bf16\""),
    ("bnb_4bit_quant_type", "lora.quantize"),
    ("center_rewards_coefficient", "reward_model.center_rewards_coefficient"),
    ("clip_coef", "ppo.clip"),
    ("clip_ratio", "ppo.clip"),
    ("cliprange", "ppo.clip"),
    ("cliprange_value", "ppo.value_clip"),
    ("dataset", "text.files, preferences.files or data.files"),
    ("desirable_weight", "kto.desirable_weight"),
    ("ent_coef", "ppo.entropy_coefficient"),
    ("entropy_coef", "ppo.entropy_coefficient"),
    ("env_id", "env.id"),
    ("epsilon", "grpo.clip_low"),
    ("epsilon_high", "grpo.clip_high"),
    ("eval_steps", "train.evaluate_every"),
    ("gae_lambda", "ppo.lambda"),
    (
        "gradient_accumulation_steps",
        "micro_batch of [text] or [preferences]: a batch is computed in parts of this size",
    ),
    ("init_kl_coef", "ppo.kl_coefficient"),
    ("kl_coef", "ppo.kl_coefficient"),
    ("lam", "ppo.lambda"),
    ("learning_rate", "optimizer.learning_rate"),
    ("load_in_4bit", "lora.quantize = \"nf4\""),
    ("load_in_8bit", "lora.quantize = \"int8\""),
    ("lora_alpha", "lora.alpha"),
    ("lora_r", "lora.rank"),
    ("lora_target_modules", "lora.targets"),
    ("lr", "optimizer.learning_rate"),
    ("lr_scheduler_type", "optimizer.schedule"),
    ("mask_truncated_completions", "grpo.mask_truncated_completions"),
    ("max_completion_length", "rollout.max_new_tokens"),
    ("max_grad_norm", "optimizer.max_grad_norm"),
    ("max_length", "text.window or preferences.window"),
    ("max_new_tokens", "rollout.max_new_tokens"),
    ("max_seq_length", "text.window"),
    ("max_steps", "train.updates"),
    ("micro_batch_size", "micro_batch of [text] or [preferences]"),
    ("model", "start_from for a trained model; [model] is the shape of one from random weights"),
    ("model_name_or_path", "start_from"),
    ("n_epochs", "ppo.epochs"),
    ("norm_adv", "ppo.whiten_advantages"),
    ("num_envs", "rollout.environments"),
    ("num_epochs", "train.epochs"),
    ("num_generations", "rollout.group"),
    ("num_iterations", "grpo.epochs"),
    ("num_minibatches", "ppo.batch, the samples of an optimiser step"),
    ("num_steps", "rollout.episodes: rollouts play whole episodes"),
    ("num_train_epochs", "train.epochs"),
    ("output_dir", "the option --out of palestra train"),
    ("per_device_train_batch_size", "batch of [text] or [preferences]"),
    ("ppo_epochs", "ppo.epochs"),
    ("r", "lora.rank"),
    ("save_steps", "train.checkpoint_every"),
    ("save_total_limit", "train.keep_checkpoints"),
    ("target_modules", "lora.targets"),
    ("temperature", "rollout.sampling.temperature"),
    ("total_timesteps", "train.updates: each plays rollout.episodes"),
    ("undesirable_weight", "kto.undesirable_weight"),
    ("update_epochs", "ppo.epochs"),
    ("vf_coef", "ppo.value_coefficient"),
    ("warmup_ratio", "optimizer.warmup"),
];

/// Names that other tools have for a key of a run file.
pub fn names_elsewhere(key: &str) -> Vec<&'static str> {
    NAMES
        .iter()
        .filter(|(_, here)| *here == key)
        .map(|(name, _)| *name)
        .filter(|name| !key.ends_with(&format!(".{name}")))
        .collect()
}

/// The key of a run file that has this name in another tool.
pub fn name_here(key: &str) -> Option<&'static str> {
    NAMES.iter().find(|(name, _)| *name == key).map(|(_, here)| *here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunFile;

    #[test]
    fn the_names_of_other_tools_are_understood_in_errors() {
        let refused = |text: &str| RunFile::from_toml("run.toml", text, &[] as &[&str]).unwrap_err().to_string();
        let lake = "name = 'x'\n[env]\nid = 'frozen-lake-4x4'\n";
        assert_eq!(
            refused(&format!("{lake}[optimizer]\nlr = 1e-3\n")),
            "run.toml:5: unknown key `lr` in [optimizer]: that is optimizer.learning_rate here"
        );
        assert_eq!(
            refused(&format!("{lake}[ppo]\nent_coef = 0.01\n")),
            "run.toml:5: unknown key `ent_coef` in [ppo]: that is ppo.entropy_coefficient here"
        );
        assert_eq!(
            refused(&format!("num_generations = 8\n{lake}")),
            "run.toml:1: unknown key `num_generations`: that is rollout.group here"
        );
        assert_eq!(
            refused(&format!("{lake}[lora]\nr = 8\n")),
            "run.toml:5: unknown key `r` in [lora]: that is lora.rank here"
        );
    }

    #[test]
    fn what_it_names_is_there() {
        let whole = "name = 'x'\nstart_from = 'm'\n[preferences]\nfiles = ['a']\n[lora]\n[reward_model]\n";
        for (name, here) in NAMES {
            let Some((section, key)) =
                here.split_once('.').filter(|(_, key)| key.chars().all(|c| c == '_' || c.is_alphanumeric()))
            else {
                continue;
            };
            if ["ppo", "grpo", "kto", "dpo", "reward_model", "optimizer", "train", "lora", "rollout"].contains(&section)
            {
                let text = match section {
                    "ppo" | "grpo" => format!("name = 'x'\n[env]\nid = 'snake-6x6'\n[{section}]\nno_such_key = 1\n"),
                    "kto" => format!("name = 'x'\n[preferences]\nfiles = ['a']\n[{section}]\nno_such_key = 1\n"),
                    "reward_model" | "lora" => {
                        whole.replace(&format!("[{section}]\n"), &format!("[{section}]\nno_such_key = 1\n"))
                    }
                    _ => format!("{whole}[{section}]\nno_such_key = 1\n"),
                };
                let known = RunFile::from_toml("run.toml", &text, &[] as &[&str]).unwrap_err().to_string();
                let keys = known.split("known keys: ").nth(1).unwrap_or_default();
                assert!(keys.split(", ").any(|it| it == key), "{name}: {here} is not among {keys} ({known})");
            }
        }
    }
}
