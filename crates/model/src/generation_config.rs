//! Generation settings of a Hugging Face directory: how it samples, and which tokens begin, end and pad.

use serde_json::{Value, json};

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
}

impl GenerationConfig {
    /// Reads a `generation_config.json` or a `config.json`.
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
        })
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
        ];
        for (field, value) in settings {
            if let Some(value) = value {
                json[field] = value;
            }
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
    fn what_is_no_token_is_refused() {
        let read = |id: Value| GenerationConfig::read(&json!({ "eos_token_id": id }));
        assert!(read(json!(-1)).unwrap().eos.is_empty());
        let message = read(json!("</s>")).unwrap_err();
        assert_eq!(message, "eos_token_id is \"</s>\"; it must be a token id, or a list of them");
        let message = GenerationConfig::read(&json!({"top_p": "high"})).unwrap_err();
        assert_eq!(message, "top_p is \"high\"; it must be a number");
    }
}
