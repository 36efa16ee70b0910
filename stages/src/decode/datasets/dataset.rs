//! The trait that every data set implements.

use std::path::Path;

use crate::decode::distribution::Distribution;
use crate::decode::error::DecodeError;
use crate::decode::listing::Listing;

/// A data set with a particular layout on disk. The fields of the type are its parameters.
pub trait Dataset {
    /// Lists every image of the data set in the folder or file `root`, in the data set's own order, and prepares the reader of
    /// their bytes. Images themselves are not read yet.
    ///
    /// # Errors
    /// A file is missing, unreadable or in another format; the message names it.
    fn list(&self, root: &Path) -> Result<Listing, DecodeError>;

    /// Where it is distributed and what its root contains, for a published data set.
    fn distribution(&self) -> Option<&'static Distribution> {
        None
    }
}
