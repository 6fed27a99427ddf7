//! Runs that learn from preferences: their parts, and the preferences that they hold out.

use std::sync::Arc;

use palestra_model::{Device, Tensor};

use super::reference;
use crate::agent::{Agent, AgentSpec};
use crate::run_dir::RunDir;
use crate::{Error, Result};
use palestra_learn::accuracy::PreferenceScore;
use palestra_learn::batch::{PromptPreferences, TextRow};
use palestra_learn::collective::Collective;
use palestra_learn::learners::LearnsFromPreferences;
use palestra_learn::learners::preference::{Objective, PreferenceLearner, read_answers_on_ranks};
use palestra_learn::source::{PreferenceConfig, PreferenceData, PreferenceSource};
use palestra_model::Policy;

/// Preferences that the run does not learn from.
pub(super) struct HeldOutPreferences {
    prompts: Vec<PromptPreferences>,
    objective: Arc<dyn Objective>,
    /// Answers per forward pass.
    batch: usize,
}

/// Preferences of a run and their learner, opened and checked.
pub(super) struct OpenPreferences {
    learner: Arc<dyn LearnsFromPreferences>,
    config: PreferenceConfig,
    data: PreferenceData,
}

/// Reads the preferences of a run.
///
/// # Errors
/// As [`PreferenceData::open`]; held-out preferences without two answers that can be compared.
pub(super) fn open(
    agent: &mut AgentSpec,
    learner: &Arc<dyn LearnsFromPreferences>,
    config: PreferenceConfig,
) -> Result<OpenPreferences> {
    let window = config.window_of(agent.model.context)?;
    let template = agent.chat_template()?;
    let data = PreferenceData::open(&config, &agent.tokenizer, template.as_ref(), window, learner.kinds())?;
    tracing::info!("{}: {}", agent.run.name, data.counts);
    agent.run.train.resolve_epochs(data.steps_per_epoch(config.batch), config.steps);
    let answers: usize = data.validation.iter().map(|prompt| prompt.answers.len()).sum();
    match PreferenceScore::new(&data.validation, &vec![0.0; answers], 1.0) {
        Some(_) => Ok(OpenPreferences { learner: Arc::clone(learner), config, data }),
        None => Err(Error::Data(
            "preferences.validation: no two held-out answers can be compared; hold out more, or files with other preferences"
                .into(),
        )),
    }
}

impl OpenPreferences {
    /// Learner, source and held-out preferences of a run in a directory.
    ///
    /// # Errors
    /// Log-probabilities of another reference in the directory; an answer that has probability 0 under the reference.
    pub fn into_parts(
        self,
        agent: &Agent,
        dir: &RunDir,
        device: &Device,
        collective: &dyn Collective,
    ) -> Result<(PreferenceLearner, PreferenceSource, HeldOutPreferences)> {
        let Self { learner, config, mut data } = self;
        if learner.has_reference() {
            reference::fill(&mut data, agent, &dir.reference(), collective)?;
        }
        let known = data.validation.iter().flat_map(|prompt| &prompt.answers).cloned().collect();
        let objective = learner.objective(known);
        let held_out = HeldOutPreferences {
            prompts: data.validation.clone(),
            objective: Arc::clone(&objective),
            batch: config.answers_per_pass(),
        };
        let learner = PreferenceLearner { objective };
        let source = PreferenceSource::new(data, config, agent.spec.run.seed, device.clone());
        Ok((learner, source, held_out))
    }
}

impl HeldOutPreferences {
    /// Agreement of the model's rewards with the held-out preferences.
    ///
    /// # Errors
    /// A rank that takes no part.
    pub fn score(&self, policy: &Policy, collective: &dyn Collective) -> Result<PreferenceScore> {
        let rows: Vec<&TextRow> = self.prompts.iter().flat_map(|prompt| &prompt.answers).collect();
        let numbers = read_answers_on_ranks(policy, self.objective.reading(), &rows, self.batch, collective)?;
        let lengths: Vec<f32> = rows.iter().map(|row| row.counted.len() as f32).collect();
        let own = |prompt: &PromptPreferences| {
            prompt.references.iter().take(prompt.answers.len()).copied().collect::<Vec<_>>()
        };
        let references: Vec<f32> = self.prompts.iter().flat_map(own).collect();
        let device = policy.transformer.device();
        let tensor = |values: &[f32]| Tensor::<1>::from_data(values, &device);
        let references = (!references.is_empty()).then(|| tensor(&references));
        let rewards = self.objective.rewards(tensor(&numbers), references, tensor(&lengths)).into_data();
        let rewards: Vec<f32> = rewards.iter().collect();
        let score = PreferenceScore::new(&self.prompts, &rewards, f64::from(policy.score_scale()));
        Ok(score.expect("what is held out can be compared"))
    }
}
