//! The result type that the readers of weights files share.

/// A parsed value, or a problem in words that complete the sentence "Could not parse the weights file …: ".
pub(super) type ParseResult<T> = Result<T, String>;
