//! `adapter_config.json` of PEFT: the variants of LoRA that can be read, and the scale of each layer's adapter.

use regex::Regex;
use serde_json::Value;

use crate::quantize::Quantization;

/// Settings of a PEFT directory that decide what its adapters compute.
pub(super) struct PeftConfig {
    rank: Option<usize>,
    ranks: Patterns<usize>,
    alpha: f64,
    alphas: Patterns<f64>,
    /// True if alpha is divided by the root of the rank ([Kalajdzievski 2023](https://arxiv.org/abs/2312.03732)).
    by_root: bool,
    /// True if the adapters are those of a sequence classifier, whose head is saved beside them.
    pub is_classifier: bool,
    /// Modules whose whole weights are saved beside the adapters, without a classifier's head.
    pub modules_to_save: Vec<String>,
    /// True if a saved embedding is the output layer too.
    pub ensure_weight_tying: bool,
    /// Form in which the adapters were trained beside the base model.
    pub base_quantization: Quantization,
}

/// Field of the form of the base model.
pub(super) const BASE_QUANTIZATION: &str = "base_quantization";

/// Field of what the adapted model is for, and its value for sequence classifiers.
pub(super) const TASK: &str = "task_type";
pub(super) const CLASSIFICATION: &str = "SEQ_CLS";

/// Modules that PEFT saves with any sequence classifier, where they are there.
pub(super) const CLASSIFIER_HEADS: [&str; 2] = ["classifier", "score"];

/// Values by regular expressions on the ends of layers' names, in the order of the file.
struct Patterns<T>(Vec<(Regex, T)>);

/// Fields of variants of LoRA that compute something else, with the variant's name.
const VARIANTS: [(&str, &str); 13] = [
    ("use_dora", "DoRA"),
    ("alora_invocation_tokens", "aLoRA, which acts behind its invocation tokens alone"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("arrow_config", "Arrow, which mixes several adapters"),
    ("use_qalora", "QALoRA"),
    ("kasa_config", "KaSA"),
    ("velora_config", "VeLoRA"),
    ("monteclora_config", "MonteCLoRA"),
    ("lora_bias", "LoRA with biases"),
    ("target_parameters", "LoRA of parameters"),
    ("trainable_token_indices", "trained tokens"),
    ("layer_replication", "replicated layers"),
    ("megatron_config", "LoRA of Megatron's layers"),
];

/// Values of `init_lora_weights` that leave the base model as it is.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Starts of the values of `init_lora_weights` that replace the weights of the base model by a residual.
const RESIDUAL_STARTS: [&str; 4] = ["pissa", "olora", "corda", "lora_ga"];

impl PeftConfig {
    /// Reads an `adapter_config.json`.
    ///
    /// # Errors
    /// A variant of LoRA that is not supported, or a field of another type, by name.
    pub fn read(config: &Value) -> Result<Self, String> {
        if config["peft_type"] != "LORA" {
            return Err(format!("peft_type is {}; only \"LORA\" can be read", config["peft_type"]));
        }
        for (field, name) in VARIANTS {
            let value = &config[field];
            let is_unused = match value {
                Value::Null | Value::Bool(false) => true,
                // Unused settings are saved as empty ones.
                Value::Array(items) => items.is_empty() && field != "alora_invocation_tokens",
                Value::Object(fields) => fields.is_empty() && field != "use_bdlora" && field != "arrow_config",
                _ => false,
            };
            if !is_unused {
                return Err(format!("{field} is {value}: {name}; only plain LoRA can be read"));
            }
        }
        if !(config["bias"].is_null() || config["bias"] == "none") {
            return Err(format!("bias is {}; only plain LoRA without biases can be read", config["bias"]));
        }
        check_start(&config["init_lora_weights"])?;
        let is_classifier = config[TASK] == CLASSIFICATION;
        let modules: Option<Vec<String>> = match &config["modules_to_save"] {
            Value::Null => Some(Vec::new()),
            value => value.as_array().and_then(|all| all.iter().map(|name| Some(name.as_str()?.to_string())).collect()),
        };
        let mut modules_to_save = modules
            .ok_or_else(|| format!("modules_to_save is {}; it must be a list of names", config["modules_to_save"]))?;
        modules_to_save.retain(|module| !(is_classifier && CLASSIFIER_HEADS.contains(&module.as_str())));
        Ok(Self {
            rank: (!config["r"].is_null()).then(|| rank("r", &config["r"])).transpose()?,
            ranks: Patterns::read(config, "rank_pattern", rank)?,
            alpha: alpha("lora_alpha", &config["lora_alpha"])?,
            alphas: Patterns::read(config, "alpha_pattern", alpha)?,
            by_root: config["use_rslora"] == true,
            is_classifier,
            modules_to_save,
            ensure_weight_tying: config["ensure_weight_tying"] == true,
            base_quantization: base_quantization(&config[BASE_QUANTIZATION])?,
        })
    }

    /// Factor of the output of a layer's adapter, whose matrices have this rank.
    ///
    /// # Errors
    /// A rank other than that of the configuration.
    pub fn scale(&self, layer: &str, rank: usize) -> Result<f64, String> {
        let configured = self.ranks.of(layer).or(self.rank.as_ref());
        if let Some(other) = configured.filter(|configured| **configured != rank) {
            return Err(format!("the adapter of {layer} has the rank {rank}, and adapter_config.json says {other}"));
        }
        let rank = rank as f64;
        Ok(self.alphas.of(layer).unwrap_or(&self.alpha) / if self.by_root { rank.sqrt() } else { rank })
    }
}

impl<T> Patterns<T> {
    fn read(config: &Value, field: &str, value: impl Fn(&str, &Value) -> Result<T, String>) -> Result<Self, String> {
        let found = match &config[field] {
            Value::Null => None,
            Value::Object(patterns) => Some(patterns),
            other => return Err(format!("{field} is {other}; it must be an object of patterns and numbers")),
        };
        let patterns = found.into_iter().flatten().map(|(pattern, number)| {
            // PEFT's own expression, for Python's `re.match`.
            let expression = Regex::new(&format!(r"^(.*\.)?({pattern})$"));
            let expression = expression
                .map_err(|_| format!("{field} has {pattern:?}, which is no regular expression that can be read"))?;
            Ok((expression, value(&format!("{field}[{pattern:?}]"), number)?))
        });
        patterns.collect::<Result<_, String>>().map(Self)
    }

    /// The value of the first pattern that matches a layer's name.
    fn of(&self, layer: &str) -> Option<&T> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(layer)).map(|(_, value)| value)
    }
}

fn base_quantization(form: &Value) -> Result<Quantization, String> {
    match form {
        Value::Null => Ok(Quantization::None),
        form => serde_json::from_value(form.clone())
            .map_err(|_| format!("{BASE_QUANTIZATION} is {form}; it must be one of none, bf16, int8, nf4")),
    }
}

/// Refuses adapters that belong to other weights than those of the base model.
fn check_start(start: &Value) -> Result<(), String> {
    let name = match start {
        Value::Null | Value::Bool(_) => return Ok(()),
        Value::String(name) => name.to_lowercase(),
        other => return Err(format!("init_lora_weights is {other}; it must be true, false or a name")),
    };
    if PLAIN_STARTS.contains(&name.as_str()) {
        Ok(())
    } else if RESIDUAL_STARTS.iter().any(|residual| name.starts_with(residual)) {
        Err(format!(
            "init_lora_weights is {start}: these adapters belong to the residual weights that PEFT made of the base model's; \
             convert them with PEFT's save_pretrained(..., path_initial_model_for_weight_conversion=...)"
        ))
    } else if name == "loftq" {
        Err(format!("init_lora_weights is {start}: these adapters belong to quantized weights, which cannot be read"))
    } else {
        Err(format!("init_lora_weights is {start}; true, false, {PLAIN_STARTS:?} can be read"))
    }
}

fn rank(field: &str, value: &Value) -> Result<usize, String> {
    let rank = value.as_u64().filter(|rank| *rank > 0).and_then(|rank| usize::try_from(rank).ok());
    rank.ok_or_else(|| format!("{field} is {value}; it must be a whole number of at least 1"))
}

fn alpha(field: &str, value: &Value) -> Result<f64, String> {
    value.as_f64().filter(|alpha| alpha.is_finite()).ok_or_else(|| format!("{field} is {value}; it must be a number"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(fields: Value) -> Result<PeftConfig, String> {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "modules_to_save": null});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        PeftConfig::read(&config)
    }

    #[test]
    fn variants_are_refused_by_name_and_unused_settings_are_not() {
        let unused = json!({"use_dora": false, "modules_to_save": [], "loftq_config": {"loftq_bits": 4}, "eva_config": null,
                            "arrow_config": null, "layer_replication": [], "lora_alpha": 8.5});
        assert!(config(unused).unwrap().modules_to_save.is_empty());
        for start in [json!(true), json!(false), json!("gaussian"), json!("eva"), json!("orthogonal")] {
            assert!(config(json!({ "init_lora_weights": start })).is_ok(), "{start}");
        }
        let refused = |fields: Value| config(fields).err().unwrap();
        for start in ["pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "lora_ga"] {
            let message = refused(json!({ "init_lora_weights": start }));
            let expected = format!("init_lora_weights is {start:?}: these adapters belong to the residual weights");
            assert!(message.starts_with(&expected), "{message}");
        }
        let cases = [
            (
                json!({"init_lora_weights": "loftq"}),
                "init_lora_weights is \"loftq\": these adapters belong to quantized",
            ),
            (json!({"init_lora_weights": "new"}), "init_lora_weights is \"new\"; true, false, [\"gaussian\""),
            (json!({"use_dora": true}), "use_dora is true: DoRA; only plain LoRA can be read"),
            (json!({"alora_invocation_tokens": [5, 6]}), "alora_invocation_tokens is [5,6]: aLoRA"),
            (json!({"use_bdlora": {"nblocks": 2}}), "use_bdlora is {\"nblocks\":2}: block-diagonal LoRA"),
            (json!({"arrow_config": {"top_k": 3}}), "arrow_config is {\"top_k\":3}: Arrow"),
            (json!({"bias": "all"}), "bias is \"all\"; only plain LoRA without biases"),
            (json!({"peft_type": "IA3"}), "peft_type is \"IA3\"; only"),
            (json!({"lora_alpha": "8"}), "lora_alpha is \"8\"; it must be a number"),
            (json!({"rank_pattern": {"q_proj": 0}}), "rank_pattern[\"q_proj\"] is 0; it must be a whole number"),
            (json!({"alpha_pattern": {"(?!q)": 2}}), "alpha_pattern has \"(?!q)\", which is no regular expression"),
            (json!({"alpha_pattern": "a"}), "alpha_pattern is \"a\"; it must be an object"),
            (json!({"modules_to_save": "lm_head"}), "modules_to_save is \"lm_head\"; it must be a list of names"),
        ];
        for (fields, expected) in cases {
            let message = refused(fields);
            assert!(message.starts_with(expected), "{message}");
        }
    }

    /// The scales are those that PEFT 0.21 gives the layers.
    #[test]
    fn the_first_pattern_that_matches_gives_the_scale() {
        let (first, second) = ("model.layers.0.self_attn", "model.layers.1.self_attn");
        let scales = |patterns: Value| {
            let config = config(json!({ "alpha_pattern": patterns })).unwrap();
            ["q_proj", "v_proj"]
                .map(|part| [first, second].map(|layer| config.scale(&format!("{layer}.{part}"), 4).unwrap()))
        };
        let plain = [2.0, 2.0];
        assert_eq!(scales(json!({".*\\.1\\.self_attn\\.q_proj": 64})), [[2.0, 16.0], plain]);
        assert_eq!(scales(json!({"v_proj": 16, "0.self_attn.v_proj": 64})), [plain, [4.0, 4.0]]);
        assert_eq!(scales(json!({"0.self_attn.v_proj": 64, "v_proj": 16})), [plain, [16.0, 4.0]]);
        assert_eq!(scales(json!({"layers.1.self.attn.q_proj": 64})), [[2.0, 16.0], plain], "a dot is any character");
        assert_eq!(scales(json!({"q_proj": 32, "model.layers.1.self_attn.q_proj": 64})), [[8.0, 8.0], plain]);
        assert_eq!(scales(json!({"proj": 32})), [plain, plain], "a whole part of the name");
        let config = config(json!({"rank_pattern": {"q_proj": 2}, "use_rslora": true})).unwrap();
        assert_eq!(config.scale("a.q_proj", 2).unwrap(), 8.0 / 2f64.sqrt());
        assert_eq!(config.scale("a.v_proj", 4).unwrap(), 4.0);
        let message = config.scale("a.q_proj", 4).unwrap_err();
        assert_eq!(message, "the adapter of a.q_proj has the rank 4, and adapter_config.json says 2");
    }
}
