//! Names and types of columns.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use arrow::datatypes::{DataType, Field, Metadata, Schema};
use arrow::error::ArrowError;

/// Flags of a field.
const DICTIONARY_ORDERED: i64 = 1;
const NULLABLE: i64 = 2;

/// A field with its children. Whoever receives it calls `release`.
#[repr(C)]
pub(crate) struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

/// What an [`ArrowSchema`] points to.
struct Owned {
    format: CString,
    name: CString,
    metadata: Option<Vec<u8>>,
    children: Vec<*mut ArrowSchema>,
}

impl ArrowSchema {
    /// A table: a structure whose children are the columns.
    pub(super) fn of_table(schema: &Schema) -> Result<Self, ArrowError> {
        let children = schema.fields().iter().map(|field| Self::of_field(field)).collect::<Result<_, _>>()?;
        Self::new("+s", "", schema.metadata(), 0, (children, None))
    }

    fn of_field(field: &Field) -> Result<Self, ArrowError> {
        let (format, children, dictionary) = parts(field)?;
        let mut flags = if field.is_nullable() { NULLABLE } else { 0 };
        if field.dict_is_ordered() == Some(true) {
            flags |= DICTIONARY_ORDERED;
        }
        Self::new(&format, field.name(), field.metadata(), flags, (children, dictionary))
    }

    fn new(
        format: &str,
        name: &str,
        metadata: &Metadata,
        flags: i64,
        (children, dictionary): (Vec<Self>, Option<Self>),
    ) -> Result<Self, ArrowError> {
        let text = |text: &str| CString::new(text).map_err(|error| ArrowError::CDataInterface(error.to_string()));
        let leaked = |schema: Self| Box::into_raw(Box::new(schema));
        let (format, name) = (text(format)?, text(name)?);
        let metadata = (!metadata.is_empty()).then(|| encoded(metadata));
        let children = children.into_iter().map(leaked).collect();
        let mut owned = Box::new(Owned { format, name, metadata, children });
        Ok(Self {
            format: owned.format.as_ptr(),
            name: owned.name.as_ptr(),
            metadata: owned.metadata.as_ref().map_or(ptr::null(), |bytes| bytes.as_ptr().cast()),
            flags,
            n_children: owned.children.len() as i64,
            children: owned.children.as_mut_ptr(),
            dictionary: dictionary.map_or(ptr::null_mut(), leaked),
            release: Some(release),
            private_data: Box::into_raw(owned).cast(),
        })
    }
}

impl Drop for ArrowSchema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the structure is whole, since it has not been released.
            unsafe { release(self) };
        }
    }
}

/// Frees what a schema points to, and marks it as released.
unsafe extern "C" fn release(schema: *mut ArrowSchema) {
    // SAFETY: the caller passes a schema that was made above and has not been released; what it points to came from `Box::into_raw`.
    unsafe {
        let schema = &mut *schema;
        let owned: Box<Owned> = Box::from_raw(schema.private_data.cast());
        for child in &owned.children {
            drop(Box::from_raw(*child));
        }
        if !schema.dictionary.is_null() {
            drop(Box::from_raw(schema.dictionary));
        }
        schema.release = None;
    }
}

/// The format of a field's type, its children, and the type of the values of a dictionary.
fn parts(field: &Field) -> Result<(String, Vec<ArrowSchema>, Option<ArrowSchema>), ArrowError> {
    let item = |field: &Field| Ok::<_, ArrowError>(vec![ArrowSchema::of_field(field)?]);
    Ok(match field.data_type() {
        DataType::List(inner) => ("+l".to_owned(), item(inner)?, None),
        DataType::LargeList(inner) => ("+L".to_owned(), item(inner)?, None),
        DataType::FixedSizeList(inner, length) => (format!("+w:{length}"), item(inner)?, None),
        DataType::Struct(fields) => {
            let children = fields.iter().map(|field| ArrowSchema::of_field(field)).collect::<Result<_, _>>()?;
            ("+s".to_owned(), children, None)
        }
        DataType::Dictionary(index, values) => {
            let values = ArrowSchema::of_field(&Field::new("", values.as_ref().clone(), true))?;
            (flat(index, field)?, Vec::new(), Some(values))
        }
        other => (flat(other, field)?, Vec::new(), None),
    })
}

/// The format of a type without children.
fn flat(data_type: &DataType, field: &Field) -> Result<String, ArrowError> {
    let format = match data_type {
        DataType::Null => "n",
        DataType::Boolean => "b",
        DataType::Int8 => "c",
        DataType::UInt8 => "C",
        DataType::Int16 => "s",
        DataType::UInt16 => "S",
        DataType::Int32 => "i",
        DataType::UInt32 => "I",
        DataType::Int64 => "l",
        DataType::UInt64 => "L",
        DataType::Float16 => "e",
        DataType::Float32 => "f",
        DataType::Float64 => "g",
        DataType::Utf8 => "u",
        DataType::LargeUtf8 => "U",
        DataType::Binary => "z",
        DataType::LargeBinary => "Z",
        DataType::FixedSizeBinary(length) => return Ok(format!("w:{length}")),
        other => {
            let name = field.name();
            let problem = format!("Column `{name}` has the type {other}, which no table of dnc-run has");
            return Err(ArrowError::CDataInterface(problem));
        }
    };
    Ok(format.to_owned())
}

/// Metadata in the binary form of the interface, sorted by key.
fn encoded(metadata: &Metadata) -> Vec<u8> {
    let mut pairs: Vec<_> = metadata.iter().collect();
    pairs.sort_unstable();
    let mut bytes = Vec::new();
    bytes.extend((pairs.len() as i32).to_ne_bytes());
    for text in pairs.into_iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend((text.len() as i32).to_ne_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}
