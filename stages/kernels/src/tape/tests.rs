//! Both forms of gradients through the same tests.

use candle_core::{DType, Device, Result, Storage, Tensor, Var};

use super::record::ENTRIES;
use super::*;
use crate::lock::lock;

/// `y = 2x` by an implementation whose gradients are `G`.
fn double<G: Gradient>(x: &Tensor) -> Result<Tensor> {
    struct Double<G>(Option<std::sync::Arc<GradientSlot<G>>>);
    impl<G: Gradient> Backward<G> for Double<G> {
        fn backward(self: Box<Self>, gradient: G) -> Result<()> {
            let Some(slot) = self.0 else {
                return Ok(());
            };
            let gradient = gradient.into_tensor(&3.into(), &Device::Cpu)?;
            slot.add(G::from_tensor(&(gradient * 2.0)?)?)
        }
    }
    let entry = watch::<G>(x)?;
    let doubled: Vec<f32> = x.to_vec1::<f32>()?.iter().map(|x| 2.0 * x).collect();
    let output = Storage::Cpu(candle_core::CpuStorage::F32(doubled));
    record([&entry], output, x.shape(), |_| Box::new(Double(slot_of(&entry))))
}

fn of(gradients: &candle_core::backprop::GradStore, variable: &Var) -> Result<Vec<f32>> {
    gradients.get(variable).expect("every variable has a gradient").to_vec1()
}

#[test]
fn gradients_of_a_chain_with_branches_are_summed() -> Result<()> {
    fn check<G: Gradient>() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let a = double::<G>(&x)?;
        let b = double::<G>(&a)?;
        let sum = ((&b + double::<G>(&b)?)? + &a)?.sum_all()?; // 4x + 8x + 2x
        assert_eq!(of(&sum.backward()?, &x)?, [14.0; 3]);
        assert_eq!(sum.to_scalar::<f32>()?, 84.0);
        Ok(())
    }
    check::<Vec<f32>>()?;
    check::<Tensor>()
}

#[test]
fn implementations_with_different_gradients_can_follow_each_other() -> Result<()> {
    let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
    let sum = double::<Vec<f32>>(&double::<Tensor>(&double::<Vec<f32>>(&x)?)?)?.sum_all()?;
    assert_eq!(of(&backward(&sum)?, &x)?, [8.0; 3]);
    Ok(())
}

#[test]
fn a_variable_gets_the_sum_of_its_gradients_from_kernels_and_from_candle() -> Result<()> {
    fn check<G: Gradient>() -> Result<()> {
        let x = Var::from_vec(vec![1f32, 2.0, 3.0], 3, &Device::Cpu)?;
        let y = Var::from_vec(vec![1f32, 1.0, 1.0], 3, &Device::Cpu)?;
        // 4x + x² + 2y²
        let sum = (double::<G>(&x)? + double::<G>(&x)? + x.sqr()? + double::<G>(&y.sqr()?)?)?.sum_all()?;
        let gradients = backward(&sum)?;
        assert_eq!(of(&gradients, &x)?, [6.0, 8.0, 10.0]);
        assert_eq!(of(&gradients, &y)?, [4.0; 3]);
        Ok(())
    }
    check::<Vec<f32>>()?;
    check::<Tensor>()
}

#[test]
fn a_second_backward_pass_is_refused() -> Result<()> {
    let x = Var::zeros(3, DType::F32, &Device::Cpu)?;
    let sum = double::<Vec<f32>>(&x)?.sum_all()?;
    sum.backward()?;
    assert!(sum.backward().is_err());
    Ok(())
}

#[test]
fn nothing_is_tracked_without_a_variable_and_no_entry_outlives_its_tensor() -> Result<()> {
    let x = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    assert!(!double::<Vec<f32>>(&x)?.track_op());
    let variable = Var::zeros(3, DType::F32, &Device::Cpu)?;
    let id = {
        let y = double::<Vec<f32>>(&variable)?;
        assert!(lock(&ENTRIES).contains_key(&y.id()));
        y.id()
    };
    assert!(!lock(&ENTRIES).contains_key(&id));
    Ok(())
}
