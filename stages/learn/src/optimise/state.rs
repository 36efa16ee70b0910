//! The moments of a parameter, as rows and back.
//!
//! A parameter `p` has three rows: `p.first` and `p.second` in its shape, and `p.steps`, one `i64`.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use super::{Optimiser, Settings};
use crate::error::{LearnError, Result};
use crate::parameters::Parameters;
use crate::weights::{Fit, Misshapen, NamedTensor};

/// What Adam keeps of a parameter.
#[derive(Clone, Debug)]
pub struct State {
    /// Means of the gradients and of their squares, `[2, n]`.
    pub(super) moments: Tensor,
    /// How often it was stepped.
    pub(super) steps: u64,
}

impl State {
    pub(super) fn new(parameter: &Var) -> Result<Self> {
        let moments = Tensor::zeros((2, parameter.elem_count()), DType::F32, parameter.device())?;
        Ok(Self { moments, steps: 0 })
    }
}

impl Optimiser {
    /// The moments as rows, ordered by name; `parameters` gives their shapes.
    ///
    /// # Errors
    /// If they cannot be copied from their device.
    pub fn rows(&self, parameters: &Parameters) -> Result<Vec<NamedTensor>> {
        let mut rows = Vec::with_capacity(3 * self.moments.len());
        for (name, state) in &self.moments {
            let shape = parameters.tensor(name)?.dims().to_vec();
            for (index, moment) in ["first", "second"].into_iter().enumerate() {
                let moment_name = format!("{name}.{moment}");
                rows.push(NamedTensor::from_tensor(&moment_name, &state.moments.get(index)?.reshape(shape.clone())?)?);
            }
            let bytes = state.steps.to_le_bytes().to_vec();
            rows.push(NamedTensor { name: format!("{name}.steps"), dtype: DType::I64, shape: vec![], bytes });
        }
        Ok(rows)
    }

    /// The optimiser whose moments [`rows`](Self::rows) gave. A parameter without rows begins anew.
    ///
    /// # Errors
    /// If rows belong to no parameter, or are not of its shape.
    pub fn restore(settings: Settings, rows: &[NamedTensor], parameters: &Parameters) -> Result<Self> {
        let mut given: BTreeMap<&str, &NamedTensor> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let (mut moments, mut fit) = (BTreeMap::new(), Fit::default());
        for (name, _, value) in parameters.iter() {
            let [first, second, steps] =
                ["first", "second", "steps"].map(|part| given.remove(format!("{name}.{part}").as_str()));
            if first.or(second).or(steps).is_none() {
                continue;
            }
            let mut complete = true;
            for (part, row, wanted) in
                [("first", first, value.dims()), ("second", second, value.dims()), ("steps", steps, &[])]
            {
                let name = format!("{name}.{part}");
                match row {
                    None => fit.missing.push(name),
                    Some(row) if row.shape != wanted => {
                        let (wanted, found) = (wanted.to_vec(), row.shape.clone());
                        fit.misshapen.push(Misshapen { name, wanted, found });
                    }
                    Some(_) => continue,
                }
                complete = false;
            }
            if let (true, Some(first), Some(second), Some(steps)) = (complete, first, second, steps) {
                let flat = |row: &NamedTensor| -> Result<Tensor> { Ok(row.to_tensor(value.device())?.flatten_all()?) };
                let steps = steps.bytes.as_slice().try_into().map(u64::from_le_bytes);
                let steps = steps.map_err(|_| LearnError::Shape {
                    name: format!("{name}.steps"),
                    wanted: "one `i64`".into(),
                    found: vec![],
                })?;
                let state = State { moments: Tensor::stack(&[flat(first)?, flat(second)?], 0)?, steps };
                moments.insert(name.to_owned(), state);
            }
        }
        fit.superfluous = given.into_keys().map(str::to_owned).collect();
        if fit.is_exact() { Ok(Self { settings, moments }) } else { Err(LearnError::Misfit { fit }) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{Kind, Rate};
    use super::*;
    use crate::parameters::{Init, Spec};
    use crate::streams::Streams;

    fn stepped() -> (Optimiser, Parameters) {
        let specs: Vec<_> = [("a.weight", 3), ("b.weight", 2)]
            .map(|(name, size)| Spec::weight(name, [size], Init::Normal { std: 1.0 }))
            .to_vec();
        let parameters = Parameters::initialise(&specs, &Streams::new(0), &Device::Cpu).unwrap();
        let rate = Rate { lr: 0.1, weight_decay: 0.0 };
        let mut optimiser = Optimiser::new(Settings::uniform(Kind::Adam, rate));
        for _ in 0..3 {
            // Only `a.weight` has a gradient.
            let loss = parameters.tensor("a.weight").unwrap().sqr().unwrap().sum_all().unwrap();
            optimiser.step(&parameters, &loss.backward().unwrap()).unwrap();
        }
        (optimiser, parameters)
    }

    #[test]
    fn a_restored_optimiser_goes_on_bit_for_bit() {
        let (mut optimiser, parameters) = stepped();
        let rows = optimiser.rows(&parameters).unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a.weight.first", "a.weight.second", "a.weight.steps"], "`b.weight` never stepped");
        let copy = parameters.duplicate().unwrap();
        let mut restored = Optimiser::restore(optimiser.settings.clone(), &rows, &copy).unwrap();
        for (optimiser, parameters) in [(&mut optimiser, &parameters), (&mut restored, &copy)] {
            let loss = parameters.tensor("a.weight").unwrap().sqr().unwrap().sum_all().unwrap();
            optimiser.step(parameters, &loss.backward().unwrap()).unwrap();
        }
        assert_eq!(parameters.rows().unwrap(), copy.rows().unwrap());
        assert_eq!(optimiser.rows(&parameters).unwrap(), restored.rows(&copy).unwrap());
    }

    #[test]
    fn rows_that_do_not_fit_are_listed() {
        let (optimiser, parameters) = stepped();
        let mut rows = optimiser.rows(&parameters).unwrap();
        rows[0].name = "c.weight.first".into();
        let error = Optimiser::restore(optimiser.settings.clone(), &rows, &parameters).unwrap_err();
        insta::assert_snapshot!(
            error,
            @"The tensors do not fit the model: 1 missing (`a.weight.first`); 1 superfluous (`c.weight.first`)"
        );
    }
}
