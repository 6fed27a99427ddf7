//! The parameters of any module by name: for saving, loading and optimising.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::Result;

/// Calls `each` with the name, such as `blocks.0.attention.query.weight`, and the data of every parameter.
pub fn collect<M: Module>(module: &M) -> BTreeMap<String, TensorData> {
    struct Collect {
        path: Path,
        found: BTreeMap<String, TensorData>,
    }
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.found.insert(self.path.name(), param.val().into_data());
        }
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.0.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.0.pop();
        }
    }
    let mut visitor = Collect { path: Path::default(), found: BTreeMap::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Replaces every parameter by the tensor of its name.
///
/// # Errors
/// A parameter without a tensor, or with one of another shape. The module is dropped: half a load is none.
pub fn replace<M: Module>(module: M, tensors: BTreeMap<String, TensorData>) -> Result<M, Vec<String>> {
    struct Replace {
        path: Path,
        tensors: BTreeMap<String, TensorData>,
        wrong: Vec<String>,
    }
    impl ModuleMapper for Replace {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.name();
            let (wanted, device) = (param.val().dims(), param.val().device());
            match self.tensors.remove(&name) {
                Some(data) if data.shape().as_slice() == wanted => param.map(|old| {
                    let trains = old.is_require_grad();
                    Tensor::from_data(data, &device).set_require_grad(trains)
                }),
                Some(data) => {
                    self.wrong.push(format!("{name} has shape {:?} instead of {wanted:?}", data.shape().as_slice()));
                    param
                }
                None => {
                    self.wrong.push(format!("{name} is missing"));
                    param
                }
            }
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

/// Where a walk through a module stands.
#[derive(Default, Clone)]
pub struct Path(pub Vec<String>);

impl Path {
    /// The parameter's name. The transformer inside a policy is the model that files hold, so it adds no prefix.
    pub fn name(&self) -> String {
        let name = self.0.join(".");
        name.strip_prefix("transformer.").map(str::to_string).unwrap_or(name)
    }
}
