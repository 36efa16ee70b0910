//! Command lines that are printed for a reader to copy.

/// An argument as a shell reads it.
pub fn quoted(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_./=-@:,+".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_the_command_as_it_was_called() {
        assert_eq!(quoted("stage.train.loss.margin=0.1"), "stage.train.loss.margin=0.1");
        assert_eq!(quoted("name='a b'"), r"'name='\''a b'\'''");
    }
}
