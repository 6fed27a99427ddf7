use std::time::Duration;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use palestra_testing::assert_close;

use super::*;
use crate::collective::Threads;
use palestra_model::ops::{available_devices, open_device};
use palestra_model::optim::{OptimizerConfig, ParameterGroup};
use palestra_model::parameters;

/// A matrix, a vector that is shorter than there are ranks, and one without a gradient.
#[derive(Module, Debug)]
struct Model {
    matrix: Param<Tensor<2>>,
    short: Param<Tensor<1>>,
    unused: Param<Tensor<1>>,
}

const MATRIX: [usize; 2] = [5, 3];
const SHORT: usize = 2;

fn model(device: &Device) -> Model {
    let values = |count: usize| (0..count).map(|at| (at as f32 * 0.7).sin()).collect::<Vec<_>>();
    let flat = |count: usize| Tensor::<1>::from_data(&values(count)[..], device);
    Model {
        matrix: Param::from_tensor(flat(15).reshape(MATRIX)),
        short: Param::from_tensor(flat(SHORT)),
        unused: Param::from_tensor(flat(4)),
    }
}

fn optimizer(shard: Shard) -> AdamW {
    let group = ParameterGroup { pattern: "short".into(), learning_rate_scale: 0.5, weight_decay: Some(0.2) };
    let config = OptimizerConfig { weight_decay: 0.1, max_grad_norm: 0.5, groups: vec![group], ..Default::default() };
    AdamW::new(config).unwrap().with_shard(shard)
}

/// The gradients of a step, whole or a shard of them.
fn gradients(step: usize, shard: Shard, device: &Device) -> GradientSum {
    let values = |count: usize| (0..count).map(|at| ((at + 5 * step) as f32).cos()).collect::<Vec<f32>>();
    let arrays = [("matrix", values(15)), ("short", values(SHORT))];
    let square: f64 = arrays.iter().flat_map(|(_, values)| values).map(|&it| f64::from(it).powi(2)).sum();
    let share = |(name, values): (&str, Vec<f32>)| {
        let own = shard.range(values.len());
        (!own.is_empty()).then(|| (name.to_string(), Tensor::from_data(&values[own], device)))
    };
    GradientSum::over_ranks(arrays.into_iter().filter_map(share).collect(), 2.0, square)
}

type Arrays = BTreeMap<String, Vec<f32>>;

/// Parameters and moments after some steps on ranks, of which the second half is resumed from a state on other ranks.
fn trained(sizes: [usize; 2], device: &Device) -> (Arrays, Arrays) {
    let flat = |arrays: BTreeMap<String, TensorData>| -> Arrays {
        arrays.into_iter().map(|(name, data)| (name, data.try_into_vec().unwrap())).collect()
    };
    let steps = |size: usize, start: Model, saved: (u64, BTreeMap<String, TensorData>)| {
        let mut found = Threads::run(size, Duration::from_secs(60), |collective| {
            let device = device.clone();
            let mut optimizer = optimizer(collective.shard());
            optimizer.restore(saved.0, saved.1.clone(), &device).unwrap();
            let mut model = start.clone();
            for at in 0..3 {
                let own = gradients(at + saved.0 as usize, collective.shard(), &device);
                (model, _) = step(&mut optimizer, model, own, 1e-2, collective).unwrap();
            }
            let held: usize = optimizer.state().1.values().map(|moment| moment.dims()[0]).sum();
            let whole = 2 * (15 + SHORT);
            assert!(held <= whole.div_ceil(size) + 2, "rank {} of {size} holds {held} numbers", collective.rank());
            (model, state(&optimizer, collective).unwrap(), held)
        });
        assert_eq!(found.iter().map(|(_, _, held)| held).sum::<usize>(), 2 * (15 + SHORT), "each moment is held once");
        assert!(found[1..].iter().all(|(_, state, _)| state.is_none()));
        let models = found.iter().map(|(model, ..)| flat(parameters::collect(model)));
        let first = flat(parameters::collect(&found[0].0));
        assert!(models.into_iter().all(|model| model == first), "all ranks have the same bits");
        let (model, state, _) = found.swap_remove(0);
        let (steps, moments) = state.unwrap();
        (model, (steps, moments.into_iter().map(|(name, values)| (name, values.into_data())).collect()))
    };
    let (model, saved) = steps(sizes[0], model(&device.clone().autodiff()), (0, BTreeMap::new()));
    let (model, saved) = steps(sizes[1], model, saved);
    assert_eq!(saved.0, 6);
    (flat(parameters::collect(&model)), flat(saved.1))
}

#[test]
fn a_divided_optimiser_takes_the_steps_of_a_whole_one() {
    for device in available_devices() {
        let device = open_device(device).unwrap();
        let (model, moments) = trained([1, 1], &device);
        let start: Vec<f32> =
            parameters::collect(&super::tests::model(&device))["unused"].clone().try_into_vec().unwrap();
        assert_eq!(model["unused"], start);
        for sizes in [[2, 2], [4, 1], [1, 4], [2, 3]] {
            let (found, found_moments) = trained(sizes, &device);
            for (expected, found) in [(&model, found), (&moments, found_moments)] {
                assert!(found.keys().eq(expected.keys()));
                expected.iter().for_each(|(name, values)| assert_close!(found[name], *values, 1e-7));
            }
        }
    }
}
