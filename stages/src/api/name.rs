//! Names that users give: stages, inputs and outputs. References and names of files are made of them.

/// Most bytes of a name. With a round and a learner added, it is the name of a file, and file systems limit those to 255 bytes.
pub const LONGEST_NAME: usize = 100;

/// Whether `name` consists of ASCII letters, digits, `-` and `_`, which may stand in references and in the names of files.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
