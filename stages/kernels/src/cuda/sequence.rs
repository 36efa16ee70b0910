//! The tokens of a transformer: a class token before the patches, and a position added to each.

use candle_core::{Result, Tensor};

use super::channels::MaskRows;
use super::launch::{Argument, Grid, SEQUENCE, int, launch, packing, small};
use super::memory::{Output, device, pointer};
use crate::tape::Backward;
use crate::tape::walk::{Slot, add, record, watch};

/// `[batch, 1 + patches, width]` from patches `[batch, patches, width]`, and in `f32` a class token of `width` values and positions
/// `[1 + patches, width]`, with any leading axes of length one.
pub(crate) fn embed_tokens(patches: &Tensor, class: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (batch, count, width) = patches.dims3()?;
    let (device, length) = (device(patches)?, count + 1);
    let output = Output::new((batch, length, width), patches.dtype(), &device)?;
    small(output.elements())?;
    let pointers = [pointer(patches)?, pointer(class)?, pointer(positions)?, output.pointer()?];
    let (pack, name) = packing(patches.dtype(), width, &[pointers[0], pointers[3]])?;
    let packs = output.elements() / pack;
    let [from, class_pointer, by, to] = pointers.map(Argument::Pointer);
    let arguments = [from, class_pointer, by, to, int(width)?, int(length)?, int(packs)?];
    // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
    unsafe { launch(&device, SEQUENCE, &format!("embed_tokens_{name}"), Grid::over(packs), &arguments)? };
    let slots = [watch(patches), watch(class), watch(positions)];
    record(&slots, output.into_storage(), (batch, length, width), patches.device(), |_| {
        Box::new(TokensBackward {
            class: class.dims().to_vec(),
            positions: positions.dims().to_vec(),
            slots: slots.clone(),
        })
    })
}

struct TokensBackward {
    /// The shapes of class token and positions.
    class: Vec<usize>,
    positions: Vec<usize>,
    /// Of patches, class token and positions.
    slots: [Slot; 3],
}

impl Backward<Tensor> for TokensBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { class, positions, slots: [patches_slot, class_slot, positions_slot] } = *self;
        let ((batch, length, width), dy) = (dy.dims3()?, dy.contiguous()?);
        if let Some(slot) = patches_slot {
            let device = device(&dy)?;
            let dx = Output::new((batch, length - 1, width), dy.dtype(), &device)?;
            let pointers = [pointer(&dy)?, dx.pointer()?];
            let (pack, name) = packing(dy.dtype(), width, &pointers)?;
            let packs = dx.elements() / pack;
            let [from, to] = pointers.map(Argument::Pointer);
            let arguments = [from, to, int(width)?, int(length)?, int(packs)?];
            let name = format!("embed_tokens_backward_{name}");
            // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
            unsafe { launch(&device, SEQUENCE, &name, Grid::over(packs), &arguments)? };
            slot.add(dx.into_tensor())?;
        }
        if class_slot.is_none() && positions_slot.is_none() {
            return Ok(());
        }
        let sum = MaskRows { sum: true, ..MaskRows::default() };
        let Some(sum) = sum.run(&dy.reshape((batch, length * width))?)?.sum else { return Ok(()) };
        let sum = sum.total(&[length * width])?;
        add(class_slot, Some(sum.narrow(0, 0, width)?.reshape(class)?))?;
        add(positions_slot, Some(sum.reshape(positions)?))
    }
}
