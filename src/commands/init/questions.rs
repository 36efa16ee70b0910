//! Questions with yes or no as the answer.

use std::io::{self, BufRead, Write as _};

/// Who answers.
pub(super) enum Questions {
    /// Nobody: the default is the answer.
    Defaults,
    /// The user at the terminal.
    Terminal,
}

impl Questions {
    /// Asks on standard error and reads the answer from standard input. An empty answer is the default.
    pub(super) fn ask(&self, question: &str, default: bool) -> bool {
        match self {
            Questions::Defaults => default,
            Questions::Terminal => answer(question, default, &mut io::stdin().lock()),
        }
    }
}

/// Asks until the answer is understood or there is no more input.
fn answer(question: &str, default: bool, input: &mut dyn BufRead) -> bool {
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    loop {
        eprint!("{question} {choices} ");
        // What cannot be shown is still answered by the default.
        let _ = io::stderr().flush();
        let mut line = String::new();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return default;
        }
        match line.trim().to_lowercase().as_str() {
            "" => return default,
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => eprintln!("Please answer `y` or `n`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_until_one_is_understood() {
        let answer = |default, text: &str| answer("Well?", default, &mut text.as_bytes());
        assert!(answer(true, "\n") && answer(false, "yes\n") && answer(true, ""));
        assert!(!answer(true, "perhaps\nn\n") && !answer(false, "\n"));
        assert!(Questions::Defaults.ask("Well?", true));
    }
}
