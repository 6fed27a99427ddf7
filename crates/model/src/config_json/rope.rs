//! Rotary positions in `config.json`: `rope_theta` and `rope_scaling`, or both in `rope_parameters` (transformers 5).

use serde_json::{Value, json};

use super::{number, only, size, switch};
use crate::RopeScaling;
use crate::rope_scaling::{beta_fast, beta_slow};
use crate::rotary::{long_rope_attention_factor, yarn_attention_factor};

/// Rotary positions as a file describes them.
#[derive(Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    pub scaling: Option<RopeScaling>,
    /// Part of each head that is rotated.
    pub partial_rotary_factor: f64,
}

/// Values for fields that a file of some family leaves out.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub theta: f64,
    /// True if a part of each head may be rotated.
    pub partial: bool,
    /// First context of LongRoPE; `None`: the model's.
    pub original_context: Option<usize>,
}

/// Those of most families.
pub const DEFAULTS: Defaults = Defaults { theta: 10_000.0, partial: false, original_context: None };

/// The `rope_scaling` of a `config.json`.
pub fn write(scaling: &RopeScaling) -> Value {
    let mut json = match scaling {
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original_context,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "truncate": truncate,
        }),
        RopeScaling::LongRope { short_factor, long_factor, original_context, .. } => json!({
            "rope_type": "longrope",
            "short_factor": short_factor,
            "long_factor": long_factor,
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
    };
    if let RopeScaling::Yarn { attention_factor: Some(factor), .. }
    | RopeScaling::LongRope { attention_factor: Some(factor), .. } = scaling
    {
        json["attention_factor"] = (*factor).into();
    }
    json
}

/// The base of the frequencies and their scaling, where `context` is the model's.
///
/// As in transformers 5, `rope_scaling` is read before `rope_parameters`, and a `rope_theta` within either before one beside it.
///
/// # Errors
/// A type or a field that is not supported, missing or of another type, by name.
pub fn read(json: &Value, context: usize, defaults: &Defaults) -> Result<Rope, String> {
    let is_there = |field: &&str| json[*field].as_object().map_or(!json[*field].is_null(), |object| !object.is_empty());
    let partial_rotary_factor = part(json, defaults, 1.0)?;
    let theta = number(json, "rope_theta", defaults.theta)?;
    let plain = Rope { theta, scaling: None, partial_rotary_factor };
    let Some(field) = ["rope_scaling", "rope_parameters"].into_iter().find(is_there) else { return Ok(plain) };
    if !json[field].is_object() {
        return Err(format!("{field} is {}; it must be an object with a rope_type", json[field]));
    }
    // Some models have the first context beside the other fields, and there it comes first.
    let outer = size(json, "original_max_position_embeddings", Some(0)).ok().filter(|context| *context > 0);
    let outer = outer.or(defaults.original_context);
    read_fields(&json[field], plain, context, outer, defaults).map_err(|(fault, dot)| format!("{field}{dot}{fault}"))
}

/// The part of each head that is rotated; all of it where a family has no choice.
fn part(json: &Value, defaults: &Defaults, beside: f64) -> Result<f64, String> {
    if !defaults.partial {
        only(json, "partial_rotary_factor", &[json!(1.0), json!(1)])?;
    }
    number(json, "partial_rotary_factor", beside)
}

/// Reads the fields of one object. An error comes with what stands between the name of the object and it.
fn read_fields(
    json: &Value,
    beside: Rope,
    context: usize,
    outer_context: Option<usize>,
    defaults: &Defaults,
) -> Result<Rope, (String, &'static str)> {
    let within = |fault: String| (fault, ".");
    if let Some((layers, _)) = json.as_object().into_iter().flatten().find(|(_, value)| value.is_object()) {
        return Err((
            format!("has an object {layers:?}; only models with the same rotary positions in all layers can be read"),
            " ",
        ));
    }
    let kind = ["rope_type", "type"].into_iter().map(|field| &json[field]).find(|kind| !kind.is_null());
    let kind = kind.cloned().unwrap_or_else(|| "default".into());
    let partial_rotary_factor = part(json, defaults, beside.partial_rotary_factor).map_err(within)?;
    let theta = number(json, "rope_theta", beside.theta).map_err(within)?;
    let optional = |name: &str| match &json[name] {
        Value::Null => Ok(None),
        _ => number(json, name, 0.0).map(Some).map_err(within),
    };
    let need = |name: &str| optional(name)?.ok_or_else(|| within(format!("{name} is missing; {kind} needs it")));
    let need_several = |name: &str| match &json[name] {
        Value::Null => Err(within(format!("{name} is missing; {kind} needs it"))),
        value => {
            let numbers = value.as_array().map(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
            numbers.flatten().ok_or_else(|| within(format!("{name} is {value}; it must be a list of numbers")))
        }
    };
    let original = || match outer_context {
        Some(outer) => Ok(outer),
        None => size(json, "original_max_position_embeddings", Some(context)).map_err(within),
    };
    let scaling = match kind.as_str() {
        Some("default") => return Ok(Rope { theta, scaling: None, partial_rotary_factor }),
        Some("linear") => RopeScaling::Linear { factor: need("factor")? },
        Some("dynamic") => RopeScaling::Dynamic { factor: need("factor")? },
        Some("yarn") => {
            let original_context = original()?;
            let factor = match json.get("factor") {
                Some(Value::Null) => context as f64 / original_context as f64,
                _ => need("factor")?,
            };
            let weights = optional("mscale")?.zip(optional("mscale_all_dim")?);
            let of_weights =
                weights.map(|(one, all)| yarn_attention_factor(factor, one) / yarn_attention_factor(factor, all));
            RopeScaling::Yarn {
                factor,
                original_context,
                attention_factor: optional("attention_factor")?.or(of_weights),
                beta_fast: optional("beta_fast")?.unwrap_or(beta_fast()),
                beta_slow: optional("beta_slow")?.unwrap_or(beta_slow()),
                truncate: switch(json, "truncate", true).map_err(within)?,
            }
        }
        Some("longrope") => {
            let original_context = original()?;
            let of_factor = optional("factor")?.map(|factor| long_rope_attention_factor(factor, original_context));
            RopeScaling::LongRope {
                short_factor: need_several("short_factor")?,
                long_factor: need_several("long_factor")?,
                original_context,
                attention_factor: optional("attention_factor")?.or(of_factor),
            }
        }
        Some("llama3") => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_context: original()?,
        },
        _ => {
            const KNOWN: &str = r#""default", "linear", "dynamic", "yarn", "longrope" and "llama3" can be read"#;
            return Err((format!("has rope_type {kind}; {KNOWN}"), " "));
        }
    };
    Ok(Rope { theta, scaling: Some(scaling), partial_rotary_factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: Value) -> String {
        read(&json, 64, &DEFAULTS).unwrap_err()
    }

    /// As `AutoConfig.from_pretrained(...).rope_parameters` of transformers 5.24 has them.
    #[test]
    fn the_base_is_the_one_nearest_to_the_scaling() {
        let cases = [
            (json!({}), 1e4),
            (json!({"rope_theta": 5e5}), 5e5),
            (json!({"rope_theta": 5e5, "rope_parameters": {"rope_type": "default"}}), 5e5),
            (json!({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 7e5}}), 7e5),
            (json!({"rope_scaling": {"rope_type": "default", "rope_theta": 5e5}}), 5e5),
            (json!({"rope_theta": 3e5, "rope_scaling": {"type": "default", "rope_theta": 5e5}}), 5e5),
            (json!({"rope_scaling": {"rope_theta": 5e5}, "rope_parameters": {"rope_theta": 7e5}}), 5e5),
            (json!({"rope_scaling": {}, "rope_parameters": {"rope_theta": 7e5}}), 7e5),
            (json!({"rope_scaling": null, "rope_parameters": {"rope_type": "default"}}), 1e4),
        ];
        for (json, theta) in cases {
            let expected = Rope { theta, scaling: None, partial_rotary_factor: 1.0 };
            assert_eq!(read(&json, 64, &DEFAULTS).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn fields_that_are_left_out_have_the_values_of_transformers() {
        let scaling = |json: Value| read(&json, 64, &DEFAULTS).unwrap().scaling.unwrap();
        let yarn = |factor, original_context, attention_factor| RopeScaling::Yarn {
            factor,
            original_context,
            attention_factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
        };
        let found = scaling(json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}));
        assert_eq!(found, yarn(4.0, 64, None));
        let inner = json!({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 16});
        assert_eq!(scaling(json!({"rope_scaling": inner})), yarn(4.0, 16, None));
        let outer = json!({"rope_scaling": inner, "original_max_position_embeddings": 32});
        assert_eq!(scaling(outer), yarn(2.0, 32, None));
        let weights = json!({"rope_type": "yarn", "factor": 4.0, "mscale": 2.0, "mscale_all_dim": 1.0});
        let factor = (0.2 * 4f64.ln() + 1.0) / (0.1 * 4f64.ln() + 1.0);
        assert_eq!(scaling(json!({"rope_parameters": weights})), yarn(4.0, 64, Some(factor)));
        let long = json!({"rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 3], "factor": 4.0,
                          "original_max_position_embeddings": 16});
        let expected = RopeScaling::LongRope {
            short_factor: vec![1.0, 1.5],
            long_factor: vec![2.0, 3.0],
            original_context: 16,
            attention_factor: Some(1.5f64.sqrt()),
        };
        assert_eq!(scaling(json!({"rope_scaling": long})), expected);
    }

    #[test]
    fn what_is_missing_or_not_supported_is_named() {
        let scaling = |json: Value| refused(json!({ "rope_scaling": json }));
        let known = r#""default", "linear", "dynamic", "yarn", "longrope" and "llama3" can be read"#;
        assert_eq!(scaling(json!({"type": "su"})), format!("rope_scaling has rope_type \"su\"; {known}"));
        let message = scaling(json!({"rope_type": "llama3", "factor": 8.0}));
        assert_eq!(message, r#"rope_scaling.low_freq_factor is missing; "llama3" needs it"#);
        assert!(scaling(json!({"type": "yarn"})).starts_with("rope_scaling.factor is missing"));
        assert!(scaling(json!({"type": "longrope"})).starts_with("rope_scaling.short_factor is missing"));
        let message = scaling(json!({"type": "longrope", "short_factor": "1"}));
        assert_eq!(message, "rope_scaling.short_factor is \"1\"; it must be a list of numbers");
        assert!(
            scaling(json!({"partial_rotary_factor": 0.5})).starts_with("rope_scaling.partial_rotary_factor is 0.5")
        );
        assert!(refused(json!({"partial_rotary_factor": 0.5})).starts_with("partial_rotary_factor is 0.5; only"));
        assert!(scaling(json!({"rope_theta": "high"})).starts_with("rope_scaling.rope_theta is \"high\"; it must be"));
        assert!(scaling(json!("yarn")).starts_with("rope_scaling is \"yarn\"; it must be an object"));
        let layers = json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}});
        assert!(
            refused(layers).starts_with("rope_parameters has an object \"full_attention\"; only models with the same")
        );
    }
}
