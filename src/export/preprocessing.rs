//! `preprocess.py`: the preprocessing of pictures as Python code.

use std::path::Path;

use dnc_stages::decode::PictureFile;
use serde_json::Value;

use super::error::ExportError;
use super::files;
use super::subject::Subject;

const CODE: &str = include_str!("python/preprocess.py");

/// Writes `preprocess.py`, with the run's own background colour and size of decoded images.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<(), ExportError> {
    let decode = subject.decode();
    let background = serde_json::from_value::<PictureFile>(decode.clone()).map_or([255; 3], |file| file.background);
    let [red, green, blue] = background;
    let text = CODE
        .replace("{background}", &format!("({red}, {green}, {blue})"))
        .replace("{size}", &size(decode.get("resize")).unwrap_or_else(|| "None".to_owned()));
    files::write(&folder.join("preprocess.py"), text)
}

/// The size of decoded images in Python: height and width, or the length of the shorter side.
fn size(resize: Option<&Value>) -> Option<String> {
    let resize = resize?;
    if let Some(shorter) = resize.get("shorter") {
        return Some(shorter.to_string());
    }
    let lengths = resize.get("exact")?.as_array()?;
    Some(format!("({}, {})", lengths.first()?, lengths.get(1)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_size_of_decoded_images_becomes_python() {
        let check = |resize: Value, expected: Option<&str>| assert_eq!(size(Some(&resize)).as_deref(), expected);
        check(json!({ "shorter": 256 }), Some("256"));
        check(json!({ "exact": [64, 48] }), Some("(64, 48)"));
        check(Value::Null, None);
    }
}
