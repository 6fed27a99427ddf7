//! The architectures of Hugging Face that the Llama family of the decoder can be, and the features of each.

/// A model family related to Llama, with the defaults of transformers for fields that `config.json` leaves out.
pub(super) struct Architecture {
    pub model_type: &'static str,
    pub class: &'static str,
    pub context: usize,
    /// `None`: as many as query heads.
    pub kv_heads: Option<usize>,
    /// `None`: the model's width divided by the number of heads.
    pub head_dim: Option<usize>,
    /// True if query, key and value always have biases.
    pub qkv_bias: bool,
    /// True if its `config.json` has the field `attention_bias`, which stands for all four layers of attention.
    pub has_attention_bias: bool,
    /// True if its `config.json` has the field `mlp_bias`.
    pub has_mlp_bias: bool,
    pub qk_norm: bool,
    /// True if its `config.json` has the field `layer_types`.
    pub has_layer_types: bool,
    /// Default window of a file that names none.
    pub sliding_window: usize,
}

const LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    context: 2048,
    kv_heads: None,
    head_dim: None,
    qkv_bias: false,
    has_attention_bias: true,
    has_mlp_bias: true,
    qk_norm: false,
    has_layer_types: false,
    sliding_window: 0,
};
const MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    class: "MistralForCausalLM",
    context: 4096 * 32,
    kv_heads: Some(8),
    has_attention_bias: false,
    has_mlp_bias: false,
    sliding_window: 4096,
    ..LLAMA
};
const QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    context: 32768,
    kv_heads: Some(32),
    qkv_bias: true,
    has_attention_bias: false,
    has_mlp_bias: false,
    has_layer_types: true,
    ..LLAMA
};
const QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    context: 32768,
    kv_heads: Some(32),
    head_dim: Some(128),
    qk_norm: true,
    has_mlp_bias: false,
    has_layer_types: true,
    ..LLAMA
};
/// All of them, the simplest first.
pub(super) const LLAMA_FAMILY: [&Architecture; 4] = [&LLAMA, &MISTRAL, &QWEN2, &QWEN3];

/// Features of a shape that decide on its architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    pub qk_norm: bool,
    pub sliding_window: bool,
}

/// Returns the simplest architecture that has all of these features; `None` if none has them together.
pub(super) fn with_features(features: Features) -> Option<&'static Architecture> {
    let Features { qkv_bias, output_bias, mlp_bias, qk_norm, sliding_window } = features;
    LLAMA_FAMILY.into_iter().find(|architecture| {
        let has_biases = if architecture.has_attention_bias {
            qkv_bias == output_bias
        } else {
            !output_bias && qkv_bias == architecture.qkv_bias
        };
        has_biases
            && qk_norm == architecture.qk_norm
            && (architecture.has_mlp_bias || !mlp_bias)
            && (architecture.sliding_window > 0 || !sliding_window)
    })
}
