use palestra_model::Device;
use palestra_settings::{Range, check_ranges};

use crate::language_model::Writing;
use crate::{Error, Result};
use palestra_model::math::Sampling;
use palestra_model::ops::{open_device, set_threads};
use palestra_model::quantize::Quantization;

/// Generation options, for every command that lets a language model write.
#[derive(clap::Args)]
pub struct WritingArgs {
    /// Maximum number of tokens to generate (in each answer)
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    max_new_tokens: u64,
    /// Text that ends the generation; can be repeated; \n is a line break
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Take the likeliest token, whatever the directory says
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    pub greedy: bool,
    /// Sampling temperature, which divides the logits: below 1 sharpens, above 1 flattens; 0 is greedy
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Sample among the K likeliest tokens; 0 means all
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample among the fewest likeliest tokens that have this probability together; 1 means all
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Sample among tokens at least this fraction as likely as the likeliest, from 0 to 1; 0 means all
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divide the positive logits of tokens that the text has, and multiply the negative ones; 1 leaves them
    #[arg(long, value_name = "P")]
    repetition_penalty: Option<f32>,
}

impl WritingArgs {
    /// Applies the options to a model's own sampling. An option for sampling on a greedy model switches sampling on.
    ///
    /// # Errors
    /// A value out of its range, with the name of its option.
    pub fn over(&self, own: Sampling, seed: u64) -> Result<Writing> {
        Ok(Writing {
            sampling: self.sampling(own)?,
            max_new_tokens: usize::try_from(self.max_new_tokens).unwrap_or(usize::MAX),
            stop: self.stop.iter().map(|text| text.replace("\\n", "\n")).collect(),
            seed,
        })
    }

    fn sampling(&self, own: Sampling) -> Result<Sampling> {
        let repetition_penalty = self.repetition_penalty.unwrap_or(own.repetition_penalty);
        check_ranges("", &[("--repetition-penalty", &repetition_penalty, Range::POSITIVE)])?;
        if self.greedy {
            return Ok(Sampling { repetition_penalty, ..Sampling::GREEDY });
        }
        let asked = self.top_k.is_some() || self.top_p.is_some() || self.min_p.is_some();
        let own = if asked && own.temperature == 0.0 { Sampling::default() } else { own };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repetition_penalty,
        };
        check_ranges(
            "",
            &[
                ("--temperature", &sampling.temperature, Range::AT_LEAST_ZERO),
                ("--top-p", &sampling.top_p, Range::above_to(0.0, 1.0)),
                ("--min-p", &sampling.min_p, Range::UNIT),
            ],
        )?;
        Ok(sampling)
    }
}

/// Form of the weights that a language model is computed with.
#[derive(clap::Args)]
pub struct QuantizeArgs {
    /// Form of the matrices of the model's blocks and output layer: none, bf16, int8 or nf4; fewer bits take less memory, and
    /// change the text a little
    #[arg(long, value_name = "FORM", default_value = "none", value_parser = quantization)]
    pub quantize: Quantization,
}

/// The form of this name.
pub fn quantization(name: &str) -> Result<Quantization, String> {
    let found = Quantization::ALL.into_iter().find(|form| form.name() == name);
    found.ok_or_else(|| format!("it is one of {}", Quantization::ALL.map(Quantization::name).join(", ")))
}

/// Device and threads that a language model is computed with.
#[derive(clap::Args)]
pub struct MachineArgs {
    /// Device to compute on: auto, cpu, cuda, cuda:<index>, flex, libtorch [default: auto: a GPU if there is one, else the CPU]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Number of threads that libtorch uses
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl MachineArgs {
    /// Sets the number of threads, and opens the device.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn open(&self) -> Result<Device> {
        self.threads.into_iter().for_each(|count| set_threads(count.into()));
        open_device(self.device.as_deref().unwrap_or("auto")).map_err(Error::Device)
    }
}
