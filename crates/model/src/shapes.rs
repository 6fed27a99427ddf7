//! Names and shapes of a decoder's parameters, without making it.

use super::ModelConfig;
use super::families::{Activation, NormKind, NormPlacement};

/// Our name and the shape of every parameter of a model of this shape. `config` must be resolved.
///
/// Linear layers are `[input, output]`.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let &ModelConfig { vocab_size, context, layers, width, tie_embeddings, .. } = config;
    let decoder = config.decoder();
    let mut shapes = vec![("embedding".to_string(), vec![vocab_size, width])];
    if decoder.learned_positions {
        shapes.push(("positions".into(), vec![context, width]));
    }
    norm(config, "norm".into(), &mut shapes);
    if !tie_embeddings {
        shapes.push(("head.weight".into(), vec![width, vocab_size]));
    }
    for layer in 0..layers {
        block(config, layer, &mut shapes);
    }
    shapes
}

fn norm(config: &ModelConfig, name: String, shapes: &mut Vec<(String, Vec<usize>)>) {
    shapes.push((format!("{name}.weight"), vec![config.width]));
    if config.decoder().norm == NormKind::Layer {
        shapes.push((format!("{name}.bias"), vec![config.width]));
    }
}

fn block(config: &ModelConfig, layer: usize, shapes: &mut Vec<(String, Vec<usize>)>) {
    let &ModelConfig { width, heads, kv_heads, qkv_bias, output_bias, mlp_bias, .. } = config;
    let decoder = config.decoder();
    let (head_dim, all_biases) = (config.head_dim(), decoder.all_biases);
    let (query_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    for sublayer in ["attention", "feed_forward"] {
        if decoder.norm_placement != NormPlacement::Behind {
            norm(config, format!("blocks.{layer}.{sublayer}_norm"), shapes);
        }
        if decoder.norm_placement != NormPlacement::Before {
            norm(config, format!("blocks.{layer}.{sublayer}_post_norm"), shapes);
        }
    }
    if config.qk_norm {
        let widths = if decoder.whole_qk_norm { [query_width, kv_width] } else { [head_dim; 2] };
        shapes.push((format!("blocks.{layer}.attention.query_norm.weight"), vec![widths[0]]));
        shapes.push((format!("blocks.{layer}.attention.key_norm.weight"), vec![widths[1]]));
    }
    let mut linear = |name: String, input, output, has_bias: bool| {
        shapes.push((format!("blocks.{layer}.{name}.weight"), vec![input, output]));
        if has_bias || all_biases {
            shapes.push((format!("blocks.{layer}.{name}.bias"), vec![output]));
        }
    };
    linear("attention.query".into(), width, query_width, qkv_bias);
    linear("attention.key".into(), width, kv_width, qkv_bias);
    linear("attention.value".into(), width, kv_width, qkv_bias);
    linear("attention.output".into(), query_width, width, output_bias);
    let mut feed_forward = |name: &str, inner| {
        if decoder.activation != Activation::Gelu {
            linear(format!("{name}.gate"), width, inner, mlp_bias);
        }
        linear(format!("{name}.up"), width, inner, mlp_bias);
        linear(format!("{name}.down"), inner, width, mlp_bias);
    };
    match config.experts_of(layer) {
        None => feed_forward("feed_forward", config.feed_forward),
        Some(experts) => {
            (0..experts.count).for_each(|at| feed_forward(&format!("feed_forward.experts.{at}"), experts.feed_forward));
            linear("feed_forward.router".into(), width, experts.count, false);
        }
    }
}
