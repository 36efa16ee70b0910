//! The trait that every data set implements.

use crate::decode::data_folder::DataFolder;
use crate::decode::distribution::Distribution;
use crate::decode::error::DecodeError;
use crate::decode::listing::Listing;

/// A data set with a particular layout on disk. The fields of the type are its parameters.
pub trait Dataset {
    /// Lists every image of the data set in the folder or file `root`, in the data set's own order, and prepares the reader of
    /// their bytes. Images themselves are not read yet. What is no image is passed over, and what is broken is named
    /// ([`Strays`](crate::decode::listing::Strays)): one stray thing must not stop a data set.
    ///
    /// # Errors
    /// A file is missing, unreadable or in another format; the message names it.
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError>;

    /// Extensions, in lower case, of the files that it reads. The contents of other files are not part of the key. Empty for all.
    fn extensions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where it is distributed and what its root contains, for a published data set.
    fn distribution(&self) -> Option<&'static Distribution> {
        None
    }
}
