use burn::tensor::{Device, Distribution, Tensor, TensorData};
use palestra_testing::{Tolerance, assert_close};
use serde_json::Value;

use super::*;
use crate::ops::{available_devices, open_device};

const FORMS: [Quantization; 3] = [Quantization::Bf16, Quantization::Int8, Quantization::Nf4];

/// Codes and scales that bitsandbytes 0.50.2 makes of [`numbers`]; recorded by `tests/transformers/quantize.py`.
fn recorded() -> Value {
    serde_json::from_str(include_str!("bitsandbytes.json")).unwrap()
}

/// The first rows of a matrix of 20 rows and 832 columns.
fn numbers(rows: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 7919 % 10_007) as f64 - 5003.0) / 5003.0 * (1 + i / 64 % 16) as f64 / 1000.0;
    (0..rows * 832).map(|i| number(i) as f32).collect()
}

/// As numbers of a layer, `[input, output]`.
fn weight(rows: usize, device: &Device) -> Tensor<2> {
    Tensor::<2>::from_data(TensorData::new(numbers(rows), [rows, 832]), device).transpose()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn each_device(test: impl Fn(&Device)) {
    available_devices().into_iter().for_each(|name| test(&open_device(name).unwrap()));
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Bytes of the tensors on the device.
fn held(matrix: &FrozenMatrix) -> usize {
    match &matrix.codes {
        Codes::Bf16(numbers) => numbers.dtype().size() * numbers.shape().num_elements(),
        Codes::Int8(codes) => codes.held(),
        Codes::Nf4(codes) => codes.held(),
    }
}

#[test]
fn four_bits_are_those_of_bitsandbytes() {
    let recorded = &recorded()["nf4"];
    assert_eq!(floats(&recorded["levels"]), nf4::LEVELS);
    // Computed there in 32 bits.
    let rounding = Tolerance { absolute: 0.0, relative: 2e-7 };
    assert_close!(nf4::SCALE_LEVELS.clone(), floats(&recorded["scale_levels"]), rounding);
    each_device(|device| {
        let matrix = FrozenMatrix::new(&weight(20, device), Quantization::Nf4).unwrap();
        let bytes = matrix.to_bytes();
        let (codes, rest) = bytes.split_at(20 * 832 / 2);
        let (scale_codes, rest) = rest.split_at(260);
        assert_eq!((codes, scale_codes), (&hex(&recorded["codes"])[..], &hex(&recorded["scale_codes"])[..]));
        let scales: Vec<f32> = rest.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let of_scales = [floats(&recorded["scales"]), vec![recorded["mean"].as_f64().unwrap() as f32]].concat();
        assert_close!(scales, of_scales, Tolerance { absolute: 0.0, relative: 1e-6 });
        let back = host(matrix.numbers(DType::F32).transpose());
        assert_close!(&back[..832], floats(&recorded["first_row"]), 1e-8);
        let [sum, squares] = [|x: f64| x, |x: f64| x * x].map(|of| back.iter().map(|&x| of(x.into())).sum::<f64>());
        let [sum_recorded, squares_recorded] = ["sum", "sum_of_squares"].map(|key| recorded[key].as_f64().unwrap());
        assert_close!([sum, squares], [sum_recorded, squares_recorded], 1e-6);
    });
}

#[test]
fn eight_bits_are_those_of_bitsandbytes() {
    let recorded = &recorded()["int8"];
    each_device(|device| {
        let matrix = FrozenMatrix::new(&weight(2, device), Quantization::Int8).unwrap();
        assert_eq!(matrix.to_bytes()[..2 * 832], hex(&recorded["codes"]));
        let scales = floats(&recorded["scales"]);
        let back = host(matrix.numbers(DType::F32).transpose());
        let codes = hex(&recorded["codes"]);
        let expected = codes.iter().enumerate().map(|(at, &code)| f32::from(code as i8) * scales[at / 832] / 127.0);
        assert_close!(back, expected.collect::<Vec<f32>>(), 3e-9);
    });
}

/// Matrices whose numbers fill no whole blocks, and one of zeros.
#[test]
fn bytes_are_those_of_the_formula_and_errors_those_of_the_levels() {
    each_device(|device| {
        for shape in [[832, 20], [7, 5], [64, 3], [1, 1], [130, 257]] {
            let random = Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.02), device);
            for (form, most) in FORMS.into_iter().zip([1.0 / 256.0, 0.5 / 127.0, 0.5 * (1.0 - 0.696)]) {
                let matrix = FrozenMatrix::new(&random, form).unwrap();
                assert_eq!((matrix.dims(), matrix.quantization()), (shape, form));
                assert_eq!(
                    (matrix.to_bytes().len(), held(&matrix)),
                    (form.bytes(shape), form.bytes(shape)),
                    "{form:?} {shape:?}"
                );
                let error = (matrix.numbers(DType::F32) - random.clone()).abs().max().into_scalar::<f32>();
                let largest = random.clone().abs().max().into_scalar::<f32>();
                assert!(error <= 1.05 * most * largest, "{form:?} {shape:?}: {error} of {largest}");
                let zeros = FrozenMatrix::new(&Tensor::zeros(shape, device), form).unwrap();
                assert_eq!(host(zeros.numbers(DType::F32)), vec![0.0; shape[0] * shape[1]]);
            }
        }
        assert!(FrozenMatrix::new(&weight(1, device), Quantization::None).is_none());
    });
}

#[test]
fn a_product_and_its_gradient_are_those_of_the_dequantised_matrix() {
    each_device(|device| {
        let by_row = Tensor::<2>::from_data(TensorData::new(numbers(20), [832, 20]), device);
        let weights = [weight(20, device), by_row];
        for (form, weight) in FORMS.into_iter().flat_map(|form| weights.iter().map(move |weight| (form, weight))) {
            let matrix = FrozenMatrix::new(weight, form).unwrap();
            let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
            let (input, factor) = (random([3, 832]), random([3, 20]));
            let products = |product: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                let input = input.clone().autodiff().require_grad();
                let output = product(input.clone());
                let gradients = (output.clone() * factor.clone().autodiff()).sum().backward();
                [host(output.inner()), host(input.grad(&gradients).unwrap())]
            };
            let dense = matrix.numbers(DType::F32).autodiff();
            let [expected, gradient] = products(&|input| input.matmul(dense.clone()));
            let [found, found_gradient] = products(&|input| matrix.forward(input));
            assert_close!(found, expected, 1e-6);
            assert_close!(found_gradient, gradient, 1e-6);
            assert_close!(host(matrix.forward(input.clone())), found, 1e-6, "outside autodiff");
            let alone = host(matrix.forward(input.narrow(0, 2, 1)));
            assert_close!(alone, &found[40..], 1e-6, "one row");
        }
    });
}

#[test]
fn an_output_layer_in_fewer_bits_writes_and_scores_by_the_same_numbers() {
    use crate::generate::tests::{VOCAB, policy};
    for name in available_devices() {
        for tie_embeddings in [true, false] {
            let shape = crate::ModelConfig { width: 64, heads: 4, tie_embeddings, ..crate::ModelConfig::default() };
            let device = open_device(name).unwrap();
            let model = policy(&shape.resolve(VOCAB).unwrap(), &device).transformer;
            let hidden = Tensor::<2>::random([3, 64], Distribution::Normal(0.0, 1.0), &device);
            let exact = host(model.logits(hidden.clone()));
            for form in FORMS {
                let frozen = model.clone().with_quantized_output(form);
                let found = host(frozen.logits(hidden.clone()));
                assert_ne!(found, exact, "{form:?}");
                let largest = exact.iter().fold(0.0_f64, |most, &x| most.max(f64::from(x.abs())));
                assert_close!(&found, &exact, 0.02 * largest);
                assert_close!(host(hidden.clone().matmul(frozen.next_token().weight)), found, 1e-5, "{form:?}");
                assert_eq!(host(frozen.embedding.val()), host(model.embedding.val()));
            }
        }
    }
}
