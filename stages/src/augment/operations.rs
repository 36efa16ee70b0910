//! Parameters of the augmentation operations, as a manifest writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of views per image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ViewCount(pub u32);

impl Default for ViewCount {
    fn default() -> Self {
        ViewCount(8)
    }
}

/// Named set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Random resized crop and horizontal flip, as in the divide-and-conquer papers.
    #[default]
    Standard,
    /// `standard`, plus rotation by up to 15 degrees and cutout.
    Geometric,
    /// `geometric`, plus colour jitter, greyscale and chromatic aberration.
    GeometricColour,
}

/// Random changes of brightness, contrast, saturation and hue, as in torchvision's `ColorJitter`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// Probability that a view is jittered.
    pub share: f64,
    /// Brightness is multiplied by a factor drawn from `[1 - brightness, 1 + brightness]`.
    pub brightness: f64,
    /// Contrast is multiplied by a factor drawn from `[1 - contrast, 1 + contrast]`.
    pub contrast: f64,
    /// Saturation is multiplied by a factor drawn from `[1 - saturation, 1 + saturation]`.
    pub saturation: f64,
    /// Hue is shifted by an angle drawn from `[-hue, hue]`, in turns of the colour wheel; at most 0.5.
    pub hue: f64,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self { share: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }
    }
}

/// Operation with a single strength, drawn uniformly from a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangedOperation {
    /// Probability that the operation is applied to a view.
    pub share: f64,
    /// Strength, `[min, max]`.
    pub range: [f64; 2],
}

/// Erasing of one random rectangle, as in torchvision's `RandomErasing`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cutout {
    /// Probability that a view has an erased rectangle.
    pub share: f64,
    /// Area of the rectangle as a fraction of the view's area, `[min, max]`.
    pub scale: [f64; 2],
    /// Aspect ratio of the rectangle (height / width), `[min, max]`.
    pub ratio: [f64; 2],
}

impl Default for Cutout {
    fn default() -> Self {
        Self { share: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}
