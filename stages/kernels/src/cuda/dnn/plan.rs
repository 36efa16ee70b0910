//! The engine that computes a graph.

use std::ffi::c_void;

use candle_core::{DType, Result};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendBehaviorNote_t as Behaviour,
    cudnnBackendDescriptorType_t as Kind, cudnnBackendHeurMode_t as Mode, cudnnBackendNumericalNote_t as Note,
};

use super::backend::{Answer, Descriptor, Handle, failed};
use super::graph::{Direction, Graph, Operand, Order, Sizes, Tail};
use crate::precision::Precision;

/// Most bytes that an engine may take beside its tensors.
const MOST_WORKSPACE: i64 = 1 << 30;

/// What plans are made for.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The GPU of this handle.
    Gpu(&'a Handle),
    /// A GPU that is described by its properties, on a machine without one.
    #[cfg(test)]
    Described(&'a Descriptor),
}

/// A graph that is ready to run.
pub(super) struct Plan {
    plan: Descriptor,
    workspace: usize,
    pub(super) order: Order,
    _configuration: Descriptor,
    _graph: Graph,
}

impl Plan {
    /// The plan for channels last or, if there is none, for channels first; `None` if no engine is fit for either.
    ///
    /// # Errors
    /// cuDNN fails.
    pub(super) fn new(target: Target, direction: Direction, sizes: &Sizes, tail: Tail) -> Result<Option<Self>> {
        for order in [Order::ChannelsLast, Order::ChannelsFirst] {
            if let Some(plan) = Self::in_order(target, direction, sizes, tail, order)? {
                return Ok(Some(plan));
            }
            // The operands of a tail are in the order of the output, and copying them costs more than a pass of its own.
            if tail != Tail::default() {
                break;
            }
        }
        Ok(None)
    }

    fn in_order(target: Target, direction: Direction, sizes: &Sizes, tail: Tail, order: Order) -> Result<Option<Self>> {
        let handle = match target {
            Target::Gpu(handle) => Some(handle),
            #[cfg(test)]
            Target::Described(_) => None,
        };
        let graph = match Graph::new(handle, direction, sizes, tail, order) {
            Ok(graph) => graph,
            // A graph may be one that no engine supports.
            Err(_) if tail != Tail::default() => return Ok(None),
            Err(error) => return Err(error),
        };
        for mode in [Mode::CUDNN_HEUR_MODE_A, Mode::CUDNN_HEUR_MODE_FALLBACK] {
            let configurations = configurations(target, &graph, mode).map_err(failed("choose an engine"))?;
            for configuration in configurations {
                if is_fit(&configuration, sizes).map_err(failed("describe an engine"))?
                    && let Ok((plan, workspace)) = finalise(target, &configuration)
                    && workspace <= MOST_WORKSPACE
                {
                    let workspace = usize::try_from(workspace).unwrap_or(0);
                    return Ok(Some(Self { plan, workspace, order, _configuration: configuration, _graph: graph }));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn workspace(&self) -> usize {
        self.workspace
    }

    /// Enqueues the plan.
    ///
    /// # Safety
    /// The memory behind the addresses has the sizes and types of the graph's tensors, and the workspace those of the plan.
    ///
    /// # Errors
    /// cuDNN fails.
    pub(super) unsafe fn run(&self, handle: &Handle, operands: &[(Operand, u64)], workspace: u64) -> Result<()> {
        let ids: Vec<i64> = operands.iter().map(|(operand, _)| *operand as i64).collect();
        let pointers: Vec<*mut c_void> = operands.iter().map(|(_, pointer)| *pointer as *mut c_void).collect();
        let run = || {
            let pack = Descriptor::new(Kind::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
                .set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, &ids)?
                .set(Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, &pointers)?
                .set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, &[workspace as *mut c_void])?
                .finalised()?;
            // SAFETY: promised by the caller.
            unsafe { self.plan.execute(handle, &pack) }
        };
        run().map_err(failed("run a convolution"))
    }
}

/// The engines for a graph with their settings, the fastest by cuDNN's heuristic first.
fn configurations(target: Target, graph: &Graph, mode: Mode) -> Answer<Vec<Descriptor>> {
    let heuristic = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .refer(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph.graph])?
        .set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[mode])?;
    let heuristic = match target {
        Target::Gpu(_) => heuristic,
        #[cfg(test)]
        Target::Described(properties) => heuristic.refer(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, &[properties])?,
    };
    // A graph that no engine supports is refused here.
    let Ok(heuristic) = heuristic.finalised() else { return Ok(Vec::new()) };
    heuristic.descriptors(Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
}

/// Whether an engine gives the same bits each time, and computes in the precision that is asked for. Engines that are compiled at run
/// time are refused: they take seconds, and cuDNN lists them only where it finds the compiler, so that bits would depend on that.
fn is_fit(configuration: &Descriptor, sizes: &Sizes) -> Answer<bool> {
    let engines =
        configuration.descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
    let Some(engine) = engines.first() else { return Ok(false) };
    let notes = engine.values(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE)?;
    let has = |note: Note| notes.contains(&(note as u32));
    let behaviour = engine.values(Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, Type::CUDNN_TYPE_BEHAVIOR_NOTE)?;
    if behaviour.contains(&(Behaviour::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION as u32)) {
        return Ok(false);
    }
    // On `f32`, tensor cores round factors to TF32.
    let is_exact = sizes.dtype != DType::F32 || sizes.precision != Precision::F32;
    Ok(!has(Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
        && !has(Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
        && (is_exact
            || !(has(Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE) || has(Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS))))
}

/// The plan of an engine, and the bytes of its workspace; fails for engines that do not support the graph after all.
fn finalise(target: Target, configuration: &Descriptor) -> Answer<(Descriptor, i64)> {
    let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
    let plan = match target {
        Target::Gpu(handle) => plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, &[handle.0])?,
        #[cfg(test)]
        Target::Described(properties) => plan.refer(Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, &[properties])?,
    };
    let plan = plan.refer(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &[configuration])?.finalised()?;
    let workspace = plan.number(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
    Ok((plan, workspace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::cuda::libraries;

    /// Plans for a GPU that is only described, by real cuDNN: for every layer of the backbones there is a deterministic engine in the
    /// precision that was asked for, without copies. `scripts/check_cudnn.sh` runs this test; it needs DNC_CUDNN_DEVICE, the file of a
    /// card's properties.
    #[test]
    fn every_layer_has_a_plan() {
        let Some(file) = std::env::var_os("DNC_CUDNN_DEVICE") else {
            eprintln!("skipped: DNC_CUDNN_DEVICE is not set");
            return;
        };
        libraries::load().expect("cuDNN can be loaded");
        let text = std::fs::read(file).expect("the properties can be read");
        let properties = Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)
            .and_then(|made| made.set(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, &text))
            .and_then(Descriptor::finalised)
            .expect("cuDNN knows the properties");
        let target = Target::Described(&properties);
        // Kernel, stride, channels, out, side of the image.
        let layers = [
            (7, 2, 8, 64, 224),
            (3, 1, 64, 64, 56),
            (3, 2, 128, 128, 56),
            (3, 1, 256, 256, 14),
            (1, 2, 256, 512, 56),
            (1, 2, 1024, 2048, 14),
            (3, 2, 8, 32, 96),
            (3, 1, 64, 64, 16),
            (3, 2, 256, 512, 4),
            (5, 2, 8, 48, 48),
            (3, 1, 48, 96, 24),
        ];
        let precisions = [(DType::BF16, Precision::Bf16), (DType::F32, Precision::Tf32), (DType::F32, Precision::F32)];
        let mut without = Vec::new();
        for (kernel, stride, channels, out, side) in layers {
            for (dtype, precision) in precisions {
                let padding = kernel / 2;
                let rows = (side + 2 * padding - kernel) / stride + 1;
                let channels = if dtype == DType::F32 && channels == 8 { 3 } else { channels };
                let sizes = Sizes {
                    x: [80, side, side, channels],
                    weight: [out, kernel, kernel, channels],
                    y: [80, rows, rows, out],
                    stride,
                    padding: [padding; 2],
                    dtype,
                    precision,
                };
                for direction in [Direction::Forward, Direction::Input, Direction::Weight] {
                    let plan = Plan::new(target, direction, &sizes, Tail::default()).expect("cuDNN answers");
                    let order = plan.map(|plan| plan.order);
                    eprintln!("{direction:?} {sizes:?}: {order:?}");
                    if order.is_none() || (dtype == DType::BF16 && order != Some(Order::ChannelsLast)) {
                        without.push((direction, sizes));
                    }
                }
                let tail = Tail { residual: false, shift: true, activation: Activation::Relu };
                let plan = Plan::new(target, Direction::Forward, &sizes, tail).expect("cuDNN answers");
                eprintln!("{tail:?}: {}", plan.is_some());
                if dtype == DType::BF16 && plan.is_none() {
                    without.push((Direction::Forward, sizes));
                }
            }
        }
        assert!(without.is_empty(), "{without:#?}");
    }
}
