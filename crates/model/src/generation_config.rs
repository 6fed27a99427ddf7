//! Generation settings of a Hugging Face directory: how it samples, and which tokens begin, end and pad.

use serde_json::{Map, Value, json};

/// Generation settings of a published model: `generation_config.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Token at the beginning of texts.
    pub bos: Option<u32>,
    /// Tokens that end a text; any of them does.
    pub eos: Vec<u32>,
    /// Padding token.
    pub pad: Option<u32>,
    /// True if tokens are sampled; otherwise decoding is greedy.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Keeps only the k most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the fewest most likely tokens whose probability together reaches this.
    pub top_p: Option<f32>,
    /// Keeps tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f32>,
    /// Makes tokens that the text has less likely.
    pub repetition_penalty: Option<f32>,
    /// Other fields as they are in the file, in its order.
    pub other: Map<String, Value>,
}

/// Fields that change what transformers generates and that are not supported here, with their values of no effect
/// besides null.
const UNSUPPORTED: [(&str, &[f64]); 24] = [
    ("typical_p", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("top_h", &[]),
    ("encoder_repetition_penalty", &[1.0]),
    ("no_repeat_ngram_size", &[0.0]),
    ("encoder_no_repeat_ngram_size", &[0.0]),
    ("num_beams", &[1.0]),
    ("num_beam_groups", &[1.0]),
    ("diversity_penalty", &[0.0]),
    ("penalty_alpha", &[0.0]),
    ("min_length", &[0.0]),
    ("min_new_tokens", &[0.0]),
    ("bad_words_ids", &[]),
    ("force_words_ids", &[]),
    ("constraints", &[]),
    ("suppress_tokens", &[]),
    ("begin_suppress_tokens", &[]),
    ("forced_bos_token_id", &[]),
    ("forced_eos_token_id", &[]),
    ("sequence_bias", &[]),
    ("guidance_scale", &[1.0]),
    ("exponential_decay_length_penalty", &[]),
    ("dola_layers", &[]),
];

/// Fields that are read.
const READ: [&str; 9] = [
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
];

impl GenerationConfig {
    /// Reads a `generation_config.json`.
    ///
    /// # Errors
    /// A field of another type, by name.
    pub fn read(json: &Value) -> Result<Self, String> {
        let number = |field: &str| match &json[field] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or_else(|| format!("{field} is {value}; it must be a number")),
        };
        let float = |field: &str| number(field).map(|found| found.map(|number| number as f32));
        Ok(Self {
            bos: ids(json, "bos_token_id")?.first().copied(),
            eos: ids(json, "eos_token_id")?,
            pad: ids(json, "pad_token_id")?.first().copied(),
            do_sample: json["do_sample"].as_bool(),
            temperature: float("temperature")?,
            top_k: number("top_k")?.map(|k| k as usize),
            top_p: float("top_p")?,
            min_p: float("min_p")?,
            repetition_penalty: float("repetition_penalty")?,
            other: json.as_object().into_iter().flatten().filter(is_other).map(own).collect(),
        })
    }

    /// Reads the settings in a `config.json`, where older models have them. Fields that are not about generation are left
    /// to the model.
    ///
    /// # Errors
    /// A field of another type, by name.
    pub fn read_config(json: &Value) -> Result<Self, String> {
        let mut found = Self::read(json)?;
        found.other.retain(|field, _| UNSUPPORTED.iter().any(|(name, _)| name == field));
        Ok(found)
    }

    /// Settings that change what transformers generates and that are not supported here, as `field = value`.
    pub fn unsupported(&self) -> Vec<String> {
        let has_effect = |value: &Value, neutral: &[f64]| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            value => value.as_f64().is_none_or(|number| !neutral.contains(&number)),
        };
        let found = UNSUPPORTED.iter().filter_map(|(field, neutral)| {
            let value = self.other.get(*field)?;
            has_effect(value, neutral).then(|| format!("{field} = {value}"))
        });
        found.collect()
    }

    /// The settings of `self`; fields that it leaves unset come from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            bos: self.bos.or(other.bos),
            eos: if self.eos.is_empty() { other.eos } else { self.eos },
            pad: self.pad.or(other.pad),
            do_sample: self.do_sample.or(other.do_sample),
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
            other: other.other.into_iter().chain(self.other).collect(),
        }
    }

    /// The settings as the JSON of `generation_config.json`.
    pub fn write(&self) -> Value {
        let mut json = json!({});
        self.put_ids(&mut json);
        let settings = [
            ("do_sample", self.do_sample.map(Value::from)),
            ("temperature", self.temperature.map(decimal)),
            ("top_k", self.top_k.map(Value::from)),
            ("top_p", self.top_p.map(decimal)),
            ("min_p", self.min_p.map(decimal)),
            ("repetition_penalty", self.repetition_penalty.map(decimal)),
        ];
        for (field, value) in settings {
            if let Some(value) = value {
                json[field] = value;
            }
        }
        for (field, value) in &self.other {
            json[field] = value.clone();
        }
        json
    }

    /// Sets the ids of the special tokens, as `config.json` has them too.
    pub fn put_ids(&self, json: &mut Value) {
        json["bos_token_id"] = self.bos.into();
        json["eos_token_id"] = match self.eos.as_slice() {
            [] => Value::Null,
            [only] => (*only).into(),
            several => several.into(),
        };
        json["pad_token_id"] = self.pad.into();
    }
}

fn is_other((field, _): &(&String, &Value)) -> bool {
    !READ.contains(&field.as_str())
}

fn own((field, value): (&String, &Value)) -> (String, Value) {
    (field.clone(), value.clone())
}

/// A 32-bit number in its shortest form: 0.9 and not 0.8999999762.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// One id or several; -1 and null are none.
fn ids(json: &Value, field: &str) -> Result<Vec<u32>, String> {
    let id = |value: &Value| {
        let number = value.as_u64().and_then(|id| u32::try_from(id).ok());
        number.ok_or_else(|| format!("{field} is {}; it must be a token id, or a list of them", json[field]))
    };
    match &json[field] {
        Value::Null => Ok(Vec::new()),
        Value::Array(several) => several.iter().map(id).collect(),
        one if one.as_i64() == Some(-1) => Ok(Vec::new()),
        one => id(one).map(|id| vec![id]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let config = GenerationConfig {
            bos: Some(1),
            eos: vec![2, 5],
            do_sample: Some(true),
            temperature: Some(0.6),
            top_k: Some(20),
            ..GenerationConfig::default()
        };
        let json = config.write();
        assert_eq!((&json["temperature"], &json["eos_token_id"]), (&json!(0.6), &json!([2, 5])));
        assert_eq!(GenerationConfig::read(&json).unwrap(), config);
        let older = GenerationConfig { eos: vec![9], pad: Some(3), ..GenerationConfig::default() };
        let both = config.clone().or(older);
        assert_eq!((both.eos, both.pad), (vec![2, 5], Some(3)));
    }

    #[test]
    fn settings_that_are_not_supported_are_named_and_kept() {
        let json = json!({
            "eos_token_id": 2, "num_beams": 1, "typical_p": 0.9, "suppress_tokens": [], "no_repeat_ngram_size": 3,
            "guidance_scale": null, "repetition_penalty": 1.1, "transformers_version": "5.0"
        });
        let config = GenerationConfig::read(&json).unwrap();
        assert_eq!(config.unsupported(), ["typical_p = 0.9", "no_repeat_ngram_size = 3"]);
        let written = config.write();
        assert_eq!((&written["typical_p"], &written["transformers_version"]), (&json!(0.9), &json!("5.0")));
        assert_eq!(written["repetition_penalty"], json!(1.1));
        let shape = GenerationConfig::read_config(&json!({ "hidden_size": 64, "num_beams": 4 })).unwrap();
        assert_eq!(shape.unsupported(), ["num_beams = 4"]);
        assert!(!shape.other.contains_key("hidden_size"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let read = |id: Value| GenerationConfig::read(&json!({ "eos_token_id": id }));
        assert!(read(json!(-1)).unwrap().eos.is_empty());
        let message = read(json!("</s>")).unwrap_err();
        assert_eq!(message, "eos_token_id is \"</s>\"; it must be a token id, or a list of them");
        let message = GenerationConfig::read(&json!({"top_p": "high"})).unwrap_err();
        assert_eq!(message, "top_p is \"high\"; it must be a number");
    }
}
