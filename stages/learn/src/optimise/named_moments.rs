//! Saves the optimiser's state as named tensors, and restores it.
//!
//! The state of a parameter `p` is three tensors: `p.first` and `p.second` in its shape, and `p.steps`, one `i64`.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::optimiser::{Moments, Optimiser};
use super::settings::Settings;
use crate::error::{LearnError, Result};
use crate::fit::{Fit, ShapeMismatch};
use crate::parameters::Parameters;
use crate::weights::NamedTensor;

impl Optimiser {
    /// The moments as named tensors, ordered by name; `parameters` gives their shapes.
    ///
    /// # Errors
    /// If they cannot be copied from their device.
    pub fn named_moments(&self, parameters: &Parameters) -> Result<Vec<NamedTensor>> {
        let mut tensors = Vec::with_capacity(3 * self.moments.len());
        for (name, state) in &self.moments {
            let shape = parameters.tensor(name)?.dims().to_vec();
            for (index, moment) in ["first", "second"].into_iter().enumerate() {
                let moment_name = format!("{name}.{moment}");
                tensors
                    .push(NamedTensor::from_tensor(&moment_name, &state.values.get(index)?.reshape(shape.clone())?)?);
            }
            let bytes = state.steps.to_le_bytes().to_vec();
            tensors.push(NamedTensor { name: format!("{name}.steps"), dtype: DType::I64, shape: vec![], bytes });
        }
        Ok(tensors)
    }

    /// The optimiser with the moments that [`named_moments`](Self::named_moments) returned. A parameter without moments starts
    /// from zero.
    ///
    /// # Errors
    /// If a tensor belongs to no parameter, or has another shape.
    pub fn restore(settings: Settings, tensors: &[NamedTensor], parameters: &Parameters) -> Result<Self> {
        let mut given: BTreeMap<&str, &NamedTensor> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let (mut moments, mut fit) = (BTreeMap::new(), Fit::default());
        for (name, _, value) in parameters.iter() {
            let [first, second, steps] =
                ["first", "second", "steps"].map(|part| given.remove(format!("{name}.{part}").as_str()));
            if first.or(second).or(steps).is_none() {
                continue;
            }
            let mut complete = true;
            for (part, tensor, wanted) in
                [("first", first, value.dims()), ("second", second, value.dims()), ("steps", steps, &[])]
            {
                let name = format!("{name}.{part}");
                match tensor {
                    None => fit.missing.push(name),
                    Some(tensor) if tensor.shape != wanted => {
                        let (wanted, found) = (wanted.to_vec(), tensor.shape.clone());
                        fit.mismatched.push(ShapeMismatch { name, wanted, found });
                    }
                    Some(_) => continue,
                }
                complete = false;
            }
            if let (true, Some(first), Some(second), Some(steps)) = (complete, first, second, steps) {
                let flat =
                    |tensor: &NamedTensor| -> Result<Tensor> { Ok(tensor.to_tensor(value.device())?.flatten_all()?) };
                let steps = steps.bytes.as_slice().try_into().map(u64::from_le_bytes);
                let steps = steps.map_err(|_| LearnError::Shape {
                    name: format!("{name}.steps"),
                    wanted: "one `i64`".into(),
                    found: vec![],
                })?;
                let state = Moments { values: Tensor::stack(&[flat(first)?, flat(second)?], 0)?, steps };
                moments.insert(name.to_owned(), state);
            }
        }
        fit.unexpected = given.into_keys().map(str::to_owned).collect();
        if fit.is_exact() { Ok(Self { settings, moments }) } else { Err(LearnError::Mismatch { fit: Box::new(fit) }) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::settings::{Algorithm, Rate};
    use super::*;
    use crate::spec::{Initialisation, Spec};
    use crate::streams::Streams;

    fn stepped() -> (Optimiser, Parameters) {
        let specs: Vec<_> = [("a.weight", 3), ("b.weight", 2)]
            .map(|(name, size)| Spec::weight(name, [size], Initialisation::Normal { std: 1.0 }))
            .to_vec();
        let parameters = Parameters::initialise(&specs, &Streams::new(0), &Device::Cpu).unwrap();
        let rate = Rate { lr: 0.1, weight_decay: 0.0 };
        let mut optimiser = Optimiser::new(Settings::uniform(Algorithm::Adam, rate));
        for _ in 0..3 {
            // Only `a.weight` has a gradient.
            let loss = parameters.tensor("a.weight").unwrap().sqr().unwrap().sum_all().unwrap();
            optimiser.step(&parameters, &loss.backward().unwrap()).unwrap();
        }
        (optimiser, parameters)
    }

    #[test]
    fn a_restored_optimiser_continues_bit_for_bit() {
        let (mut optimiser, parameters) = stepped();
        let moments = optimiser.named_moments(&parameters).unwrap();
        let names: Vec<_> = moments.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(
            names,
            ["a.weight.first", "a.weight.second", "a.weight.steps"],
            "`b.weight` has never had a gradient"
        );
        let copy = parameters.duplicate().unwrap();
        let mut restored = Optimiser::restore(optimiser.settings.clone(), &moments, &copy).unwrap();
        for (optimiser, parameters) in [(&mut optimiser, &parameters), (&mut restored, &copy)] {
            let loss = parameters.tensor("a.weight").unwrap().sqr().unwrap().sum_all().unwrap();
            optimiser.step(parameters, &loss.backward().unwrap()).unwrap();
        }
        assert_eq!(parameters.named_tensors().unwrap(), copy.named_tensors().unwrap());
        assert_eq!(optimiser.named_moments(&parameters).unwrap(), restored.named_moments(&copy).unwrap());
    }

    #[test]
    fn moments_of_no_parameter_are_listed() {
        let (optimiser, parameters) = stepped();
        let mut moments = optimiser.named_moments(&parameters).unwrap();
        moments[0].name = "c.weight.first".into();
        let error = Optimiser::restore(optimiser.settings.clone(), &moments, &parameters).unwrap_err();
        insta::assert_snapshot!(
            error,
            @"The tensors do not match the model: 1 missing (`a.weight.first`); 1 unexpected (`c.weight.first`)"
        );
    }
}
