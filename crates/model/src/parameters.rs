//! The parameters of any module by name, for saving, loading and optimising.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::Result;
use crate::checkpoint::{NamedTensor, Tensors};

/// The data of every parameter by name, such as `blocks.0.attention.query.weight`.
pub fn collect<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    collect_some(module, &|_| true)
}

/// As [`collect`], for the parameters whose names are selected.
pub fn collect_some<M: Module>(module: &M, is_wanted: &dyn Fn(&str) -> bool) -> BTreeMap<String, TensorData> {
    struct Collect<'a> {
        path: Path,
        is_wanted: &'a dyn Fn(&str) -> bool,
        found: BTreeMap<String, TensorData>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.name();
            if (self.is_wanted)(&name) {
                self.found.insert(name, param.val().into_data());
            }
        }
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.0.pop();
        }
    }
    let mut visitor = Collect { path: Path::default(), is_wanted, found: BTreeMap::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// The name of every parameter.
pub fn names<M: Module>(module: &M) -> BTreeSet<String> {
    struct Names {
        path: Path,
        found: BTreeSet<String>,
    }
    impl ModuleVisitor for Names {
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.found.insert(self.path.name());
        }
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.0.pop();
        }
    }
    let mut visitor = Names { path: Path::default(), found: BTreeSet::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Converts tensors of a file to data of parameters, without copying.
pub fn data_of(tensors: Tensors) -> BTreeMap<String, TensorData> {
    tensors.into_iter().map(|(name, tensor)| (name, TensorData::new(tensor.data, tensor.shape))).collect()
}

/// Converts data of parameters to tensors of a file.
pub fn tensors_of(data: impl IntoIterator<Item = (String, TensorData)>) -> Tensors {
    let named = |(name, data): (String, TensorData)| {
        let shape = data.shape().to_vec();
        (name, NamedTensor::new(shape, data.try_into_vec().expect("parameters are f32")))
    };
    data.into_iter().map(named).collect()
}

/// Replaces every parameter by the tensor of its name.
///
/// # Errors
/// A parameter without a tensor, or with one of another shape. The module is dropped, because it is loaded only in
/// part.
pub fn replace<M: Module>(module: M, tensors: BTreeMap<String, TensorData>) -> Result<M, Vec<String>> {
    let missing = names(&module).into_iter().filter(|name| !tensors.contains_key(name));
    let missing: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
    match (replace_some(module, tensors), missing.is_empty()) {
        (Ok(module), true) => Ok(module),
        (found, _) => Err([missing, found.err().unwrap_or_default()].concat()),
    }
}

/// As [`replace`]; parameters without a tensor keep their values.
///
/// # Errors
/// A tensor of another shape than the parameter's, or without a parameter.
pub fn replace_some<M: Module>(module: M, tensors: BTreeMap<String, TensorData>) -> Result<M, Vec<String>> {
    struct Replace {
        path: Path,
        tensors: BTreeMap<String, TensorData>,
        wrong: Vec<String>,
    }
    impl ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.name();
            let Some(data) = self.tensors.remove(&name) else { return param };
            let (kinds, device) = (param.val().dims(), param.val().device());
            if data.shape().as_slice() != kinds {
                self.wrong.push(format!("{name} has shape {:?} instead of {kinds:?}", data.shape().as_slice()));
                return param;
            }
            param.map(|old| {
                let trains = old.is_require_grad();
                Tensor::from_data(data, &device).set_require_grad(trains)
            })
        }
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.0.pop();
        }
    }
    let mut mapper = Replace { path: Path::default(), tensors, wrong: Vec::new() };
    let module = module.map(&mut mapper);
    mapper.wrong.extend(mapper.tensors.into_keys().map(|name| format!("{name} is unknown to this model")));
    if mapper.wrong.is_empty() { Ok(module) } else { Err(mapper.wrong) }
}

/// Selects the parameters to train by name and by whether they are trained now (never, outside the autodiff context).
/// The others need no gradient and no memory for it.
#[must_use]
pub fn set_trained<M: Module>(module: M, is_trained: &dyn Fn(&str, bool) -> bool) -> M {
    struct Choose<'a> {
        path: Path,
        is_trained: &'a dyn Fn(&str, bool) -> bool,
    }
    impl ModuleMapper for Choose<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let is_trained = (self.is_trained)(&self.path.name(), param.val().is_require_grad());
            param.set_require_grad(is_trained)
        }
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.0.pop();
        }
    }
    module.map(&mut Choose { path: Path::default(), is_trained })
}

/// Number of trained values of a module in the autodiff context.
pub fn count_trained<M: Module>(module: &M) -> u64 {
    struct Count(u64);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            if value.is_require_grad() {
                self.0 += value.dims().iter().product::<usize>() as u64;
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

/// Position in a walk through a module.
#[derive(Default, Clone)]
pub struct Path(pub Vec<String>);

impl Path {
    /// Name of the parameter. The transformer inside a policy is the model that files hold, so it adds no prefix.
    pub fn name(&self) -> String {
        let name = self.0.join(".");
        name.strip_prefix("transformer.").map(str::to_string).unwrap_or(name)
    }
}
