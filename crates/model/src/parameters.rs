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
        is_wanted: &'a dyn Fn(&str) -> bool,
        found: BTreeMap<String, TensorData>,
    }
    impl Visit for Collect<'_> {
        fn parameter<const D: usize>(&mut self, name: String, param: &Param<Tensor<D>>) {
            if (self.is_wanted)(&name) {
                self.found.insert(name, param.val().into_data());
            }
        }
    }
    let mut visitor = Collect { is_wanted, found: BTreeMap::new() };
    visit(module, &mut visitor);
    visitor.found
}

/// The name of every parameter.
pub fn names<M: Module>(module: &M) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visit for Names {
        fn parameter<const D: usize>(&mut self, name: String, _param: &Param<Tensor<D>>) {
            self.0.insert(name);
        }
    }
    let mut names = Names(BTreeSet::new());
    visit(module, &mut names);
    names.0
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
        tensors: BTreeMap<String, TensorData>,
        wrong: Vec<String>,
    }
    impl Map for Replace {
        fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
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
    }
    let mut mapper = Replace { tensors, wrong: Vec::new() };
    let module = map(module, &mut mapper);
    mapper.wrong.extend(mapper.tensors.into_keys().map(|name| format!("{name} is unknown to this model")));
    if mapper.wrong.is_empty() { Ok(module) } else { Err(mapper.wrong) }
}

/// Selects the parameters to train by name and by whether they are trained now (never, outside the autodiff context).
/// The others need no gradient and no memory for it.
#[must_use]
pub fn set_trained<M: Module>(module: M, is_trained: &dyn Fn(&str, bool) -> bool) -> M {
    struct Choose<'a> {
        is_trained: &'a dyn Fn(&str, bool) -> bool,
    }
    impl Map for Choose<'_> {
        fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let is_trained = (self.is_trained)(&name, param.val().is_require_grad());
            param.set_require_grad(is_trained)
        }
    }
    map(module, &mut Choose { is_trained })
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

/// Reads the parameters of a module one by one.
pub trait Visit {
    /// Reads a parameter.
    fn parameter<const D: usize>(&mut self, name: String, param: &Param<Tensor<D>>);
}

/// Changes the parameters of a module one by one.
pub trait Map {
    /// Returns what takes the place of a parameter.
    fn parameter<const D: usize>(&mut self, name: String, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// Reads every parameter of a module with its name.
pub fn visit<M: Module>(module: &M, visitor: &mut impl Visit) {
    module.visit(&mut Walk { path: Vec::new(), each: visitor });
}

/// Changes every parameter of a module by its name.
#[must_use]
pub fn map<M: Module>(module: M, mapper: &mut impl Map) -> M {
    module.map(&mut Walk { path: Vec::new(), each: mapper })
}

/// Replaces the values of a parameter by what `change` makes of them, flat, outside autodiff.
pub(crate) fn map_flat<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<1>) -> Tensor<1>,
) -> Param<Tensor<D>> {
    let (id, value, mapper) = param.consume();
    let (shape, trains) = (value.dims(), value.is_require_grad());
    let flat = value.inner().reshape([shape.iter().product::<usize>()]);
    let value = Tensor::from_inner(change(flat).reshape(shape)).set_require_grad(trains);
    Param::from_mapped_value(id, value, mapper)
}

/// Walk through a module, which keeps track of names.
struct Walk<'a, E> {
    path: Vec<String>,
    each: &'a mut E,
}

/// Start of burn's name for the kind of a module that is one of several; which one is no part of a parameter's name.
const ENUM: &str = "Enum:";

impl<E> Walk<'_, E> {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with(ENUM) {
            self.path.push(name.to_string());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with(ENUM) {
            self.path.pop();
        }
    }

    /// Name of the parameter. The transformer inside a policy is the model that files hold, so it adds no prefix.
    fn name(&self) -> String {
        let name = self.path.join(".");
        name.strip_prefix("transformer.").map(str::to_string).unwrap_or(name)
    }
}

impl<E: Visit> ModuleVisitor for Walk<'_, E> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.each.parameter(self.name(), param);
    }
    fn enter_module(&mut self, name: &str, container: &str) {
        self.enter(name, container);
    }
    fn exit_module(&mut self, _name: &str, container: &str) {
        self.exit(container);
    }
}

impl<E: Map> ModuleMapper for Walk<'_, E> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.each.parameter(self.name(), param)
    }
    fn enter_module(&mut self, name: &str, container: &str) {
        self.enter(name, container);
    }
    fn exit_module(&mut self, _name: &str, container: &str) {
        self.exit(container);
    }
}
