//! The messages in TensorBoard's logs, as far as they are written here.
//!
//! Source: `event.proto`, `summary.proto`, `tensor.proto` and `plugins/pr_curve/plugin_data.proto` of TensorBoard 2; names and numbers are
//! its own.

use prost::Message;

use super::curves::{Curve, THRESHOLDS};

/// An entry of a log.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<SummaryMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryMetadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PrCurvePluginData {
    #[prost(uint32, tag = "2")]
    num_thresholds: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShapeProto>,
    #[prost(float, repeated, tag = "5")]
    float_val: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// TensorFlow's number of `f32`.
const FLOAT: i32 = 1;
/// The class of data that the plugin for precision-recall curves reads.
const TENSORS: i32 = 2;

impl Event {
    /// The first entry of a log.
    pub(super) fn version(wall_time: f64) -> Self {
        Self { wall_time, file_version: Some("brain.Event:2".into()), ..Self::default() }
    }

    /// A number.
    pub(super) fn scalar(wall_time: f64, step: i64, tag: String, value: f64) -> Self {
        Self::of(wall_time, step, Value { tag, simple_value: Some(value as f32), ..Value::default() })
    }

    /// A precision-recall curve.
    pub(super) fn curve(wall_time: f64, step: i64, tag: String, curve: &Curve) -> Self {
        let content = PrCurvePluginData { num_thresholds: THRESHOLDS as u32 }.encode_to_vec();
        let plugin_data = Some(PluginData { plugin_name: "pr_curves".into(), content });
        let dim = [curve.len(), THRESHOLDS].map(|length| Dim { size: length as i64 }).to_vec();
        let tensor = TensorProto {
            dtype: FLOAT,
            tensor_shape: Some(TensorShapeProto { dim }),
            float_val: curve.iter().flatten().map(|&value| value as f32).collect(),
        };
        let metadata = Some(SummaryMetadata { plugin_data, data_class: TENSORS });
        Self::of(wall_time, step, Value { tag, tensor: Some(tensor), metadata, ..Value::default() })
    }

    fn of(wall_time: f64, step: i64, value: Value) -> Self {
        Self { wall_time, step, summary: Some(Summary { value: vec![value] }), ..Self::default() }
    }
}
