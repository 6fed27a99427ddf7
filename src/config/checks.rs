//! Checks of a run file: values that are invalid, alone or in combination.

use super::{RunFile, sections};
use crate::{Error, Result};
use palestra_learn::learners::{AnyConfig, Data, NamedLearner};
use palestra_learn::rollout::Context;
use palestra_learn::source::{DataConfig, PreferenceConfig, TextConfig};
use palestra_model::lora::LoraConfig;
use palestra_settings::{Range, check_ranges};
use palestra_text::TemplateLimits;

impl RunFile {
    /// Checks the run file for invalid values and combinations.
    ///
    /// # Errors
    /// Names the field, its value and what would be right.
    pub fn check(&self) -> Result<()> {
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(in_a_name) {
            return Err(Error::Config(format!(
                "name: {:?} names no directory; write letters, digits, `-`, `_` and `.`",
                self.name
            )));
        }
        if self.start_from.is_some() && self.model.is_some() {
            return Err(Error::Config(
                "start_from: the checkpoint has its own shape; remove either start_from or [model]".to_string(),
            ));
        }
        let own_tokenizers = [
            ("text", self.text.as_ref().and_then(|text| text.tokenizer.as_ref())),
            ("preferences", self.preferences.as_ref().and_then(|preferences| preferences.tokenizer.as_ref())),
        ];
        if let Some((section, _)) = own_tokenizers.iter().find(|(_, own)| own.is_some() && self.start_from.is_some()) {
            return Err(Error::Config(format!(
                "{section}.tokenizer: the checkpoint of start_from has its own; remove it"
            )));
        }
        let model = self.model.clone().unwrap_or_default();
        model.check()?;
        self.lora.as_ref().map_or(Ok(()), LoraConfig::check)?;
        sections::check_rollout(&self.rollout)?;
        self.data.as_ref().map_or(Ok(()), DataConfig::check)?;
        self.text.as_ref().map_or(Ok(()), TextConfig::check)?;
        self.preferences.as_ref().map_or(Ok(()), PreferenceConfig::check)?;
        self.check_data()?;
        let NamedLearner { name, config } = &self.learner;
        config.shared().check()?;
        if self.lora.is_some() && self.start_from.is_none() {
            return Err(Error::Config("[lora]: adapters stand beside a trained model; name it in start_from".into()));
        }
        if self.lora.is_some() && !config.data().trains_adapters() {
            return Err(Error::Config(format!("[lora]: [{name}] trains all of its model; remove [lora]")));
        }
        if self.train.keep_best.is_some() && config.score_head().is_some() {
            return Err(Error::Config(format!(
                "train.keep_best: [{name}] normalises its scores when it ends, and no checkpoint before has them; remove it"
            )));
        }
        if self.train.epochs.is_some() && !matches!(config.data(), Data::Text | Data::Preferences) {
            return Err(Error::Config(format!(
                "train.epochs: [{name}] does not go through a known number of rows; set train.updates"
            )));
        }
        if let AnyConfig::Play(config) = config
            && self.rollout.group < config.min_group()
        {
            return Err(Error::Config(format!(
                "rollout.group: {} is no group; [{name}] holds at least {} completions of a prompt against each other",
                self.rollout.group,
                config.min_group()
            )));
        }
        self.check_chat()?;
        check_template_limits(self.template_limits)?;
        if self.rollout.record && config.data() != Data::Play {
            return Err(Error::Config(format!("rollout.record: [{name}] plays nothing to learn from; remove it")));
        }
        if self.env.is_none() && !self.rewards.is_empty() {
            return Err(Error::Config("[[reward]]: nothing is played, so that nothing is scored; remove it".into()));
        }
        self.optimizer.check()?;
        self.train.check()?;
        self.evaluation.check()
    }
    /// Checks what a run says about its chat template.
    fn check_chat(&self) -> Result<()> {
        let rollout = &self.rollout;
        if rollout.chat && self.start_from.is_none() {
            return Err(Error::Config(
                "rollout.chat: a model from nothing has no chat template; name one that has in start_from".into(),
            ));
        }
        let of_chats = [("chat_template", rollout.chat_template.is_some()), ("history", rollout.history.is_some())];
        if let Some((key, _)) = of_chats.iter().find(|(_, is_set)| *is_set && !rollout.chat) {
            return Err(Error::Config(format!(
                "rollout.{key}: rollouts read no conversations; set rollout.chat = true, or remove it"
            )));
        }
        if rollout.history.is_some() && rollout.context == Context::Observation {
            return Err(Error::Config(
                "rollout.history: nothing is read of earlier turns; set rollout.context = \"transcript\", or remove it"
                    .into(),
            ));
        }
        let mut templates = self.chat_templates();
        let first = templates.next();
        match first.zip(templates.find(|(_, template)| first.is_some_and(|(_, first)| *template != first))) {
            None => Ok(()),
            Some(((first, one), (second, other))) => Err(Error::Config(format!(
                "{second}: {other}, and {first} is {one}: a model has one chat template; name the same"
            ))),
        }
    }
}

/// Checks that a template within its limits can be compiled and rendered on a stack of their size.
fn check_template_limits(limits: TemplateLimits) -> Result<()> {
    let up_to = |most: f64| Range::between(1.0, most);
    Ok(check_ranges(
        "template_limits",
        &[
            ("template_bytes", &limits.template_bytes, up_to(TemplateLimits::MAX_TEMPLATE_BYTES as f64)),
            ("tag_bytes", &limits.tag_bytes, up_to(TemplateLimits::MAX_TAG_BYTES as f64)),
            ("steps", &limits.steps, up_to(TemplateLimits::MAX_STEPS as f64)),
        ],
    )?)
}
