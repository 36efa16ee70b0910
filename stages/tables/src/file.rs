//! Table files: Arrow IPC, memory-mapped and not copied, and Parquet. The first bytes of a file decide which of the two it
//! is, since files in the store are named by their digests and have no extension.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::FileWriter;
use arrow::ipc::{Block, Footer, root_as_footer, root_as_message};
use bytes::Bytes;
use memmap2::Mmap;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::error::{Cause, TableError};
use crate::finite::check_batch;

/// Length of the end of an Arrow file: the length of the footer and the magic bytes.
const ARROW_TRAILER: usize = 10;

/// The marker before the length of a message, since Arrow 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The largest compression ratio that a column can have: Zstandard encodes a block of 128 KiB of one value in four bytes;
/// LZ4 stays below that.
const MOST_EXPANSION: usize = 1 << 15;

/// Rows of a Parquet row group. Fixed, so that the bytes do not depend on the default of a library.
const ROW_GROUP: usize = 1 << 20;

/// The `created_by` field of a Parquet file. It has no version: a release that writes the same values must not change
/// digests.
const CREATED_BY: &str = "dnc-run";

/// The form of a table file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Arrow IPC file.
    Arrow,
    /// Parquet.
    Parquet,
}

impl Form {
    /// The file name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Form::Arrow => "arrow",
            Form::Parquet => "parquet",
        }
    }

    /// The form of these bytes; `None` if they are not a table.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"ARROW1") {
            Some(Form::Arrow)
        } else if bytes.starts_with(b"PAR1") {
            Some(Form::Parquet)
        } else {
            None
        }
    }
}

/// The bytes of the file at `path`, memory-mapped.
pub(crate) fn map(path: &Path) -> Result<Bytes, TableError> {
    let read = |source| TableError::file("read", path, source);
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the file is a blob of the store or an output of the running node; the executor guarantees that nothing
    // writes to it meanwhile. Its bytes are checked before they are used as a table.
    let map = unsafe { Mmap::map(&file) }.map_err(read)?;
    Ok(Bytes::from_owner(map))
}

/// An open table file: its schema is known, its rows are not read yet.
pub(crate) struct TableFile {
    pub(crate) schema: SchemaRef,
    form: Form,
    bytes: Bytes,
    path: PathBuf,
}

impl TableFile {
    /// Opens the file at `path`; `Ok(None)` if it is not a table.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, TableError> {
        let bytes = map(path)?;
        let Some(form) = Form::of(&bytes) else { return Ok(None) };
        let schema = match form {
            Form::Arrow => arrow_schema(&bytes),
            Form::Parquet => parquet_schema(&bytes),
        };
        let schema = schema.map_err(|source| TableError::File { action: "read", path: path.to_owned(), source })?;
        Ok(Some(Self { schema, form, bytes, path: path.to_owned() }))
    }

    /// Calls `each` with the rows, batch by batch, in only the `wanted` columns.
    pub(crate) fn batches<E: From<TableError>>(
        &self,
        wanted: impl Fn(&str) -> bool,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns: Vec<usize> =
            (0..self.schema.fields().len()).filter(|&i| wanted(self.schema.field(i).name())).collect();
        let failed = |source| TableError::File { action: "read", path: self.path.clone(), source };
        match self.form {
            Form::Arrow => {
                let arrow = ArrowBatches::new(&self.bytes, &self.schema, columns).map_err(failed)?;
                for block in &arrow.blocks {
                    each(arrow.read(block).map_err(failed)?)?;
                }
            }
            Form::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(self.bytes.clone());
                let builder = builder.map_err(|source| failed(source.into()))?;
                let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
                let reader = builder.with_projection(mask).build().map_err(|source| failed(source.into()))?;
                for batch in reader {
                    each(batch.map_err(|source| failed(source.into()))?)?;
                }
            }
        }
        Ok(())
    }
}

/// Calls `each` with the rows of the table at `path`, batch by batch, in only the `wanted` columns.
///
/// # Errors
/// The file is not a table or is damaged, or `each` fails.
pub fn for_each_batch<E: From<TableError>>(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    let file = TableFile::open(path)?.ok_or_else(|| TableError::NotATable { file: path.display().to_string() })?;
    file.batches(wanted, each)
}

/// One column of a Parquet file, read a few rows at a time.
pub struct ColumnReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl ColumnReader {
    /// Opens the column called `column` of the file at `path`; each batch has `rows` rows.
    ///
    /// # Errors
    /// The file is damaged or has no such column.
    pub fn open(path: &Path, column: &str, rows: usize) -> Result<Self, TableError> {
        let failed = |source: Cause| TableError::File { action: "read", path: path.to_owned(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(map(path)?).map_err(|source| failed(source.into()))?;
        let index = builder.schema().index_of(column).map_err(|source| failed(source.into()))?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
        let reader = builder.with_projection(mask).with_batch_size(rows).build();
        Ok(Self { path: path.to_owned(), reader: reader.map_err(|source| failed(source.into()))? })
    }
}

impl Iterator for ColumnReader {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|source| TableError::File {
            action: "read",
            path: self.path.clone(),
            source: source.into(),
        }))
    }
}

fn arrow_schema(bytes: &Bytes) -> Result<SchemaRef, Cause> {
    Ok(Arc::new(try_fb_to_schema(footer(bytes)?.schema().ok_or("the footer has no schema")?)?))
}

fn parquet_schema(bytes: &Bytes) -> Result<SchemaRef, Cause> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.schema().clone())
}

/// The footer of an Arrow file, which lists its blocks.
fn footer(bytes: &[u8]) -> Result<Footer<'_>, Cause> {
    let trailer = bytes.len().checked_sub(ARROW_TRAILER).ok_or("the file is cut short")?;
    let length = read_footer_length(bytes[trailer..].try_into().expect("the slice has that length"))?;
    let start = trailer.checked_sub(length).ok_or("the file is cut short")?;
    Ok(root_as_footer(&bytes[start..trailer]).map_err(|damage| format!("the footer is damaged: {damage}"))?)
}

/// The record batches of a mapped Arrow file.
struct ArrowBatches {
    decoder: FileDecoder,
    buffer: Buffer,
    blocks: Vec<Block>,
}

impl ArrowBatches {
    fn new(bytes: &Bytes, schema: &SchemaRef, columns: Vec<usize>) -> Result<Self, Cause> {
        let footer = footer(bytes)?;
        let mut decoder = FileDecoder::new(schema.clone(), footer.version()).with_projection(columns);
        let buffer = Buffer::from(bytes.clone());
        for block in footer.dictionaries().iter().flatten() {
            decoder.read_dictionary(block, &slice(&buffer, block)?)?;
        }
        let blocks = footer.recordBatches().iter().flatten().copied().collect();
        Ok(Self { decoder, buffer, blocks })
    }

    fn read(&self, block: &Block) -> Result<RecordBatch, Cause> {
        let batch = self.decoder.read_record_batch(block, &slice(&self.buffer, block)?)?;
        batch.ok_or_else(|| "a block holds no record batch".into())
    }
}

/// The bytes of a block. Its bounds and those of its buffers are checked here, since Arrow's decoder would panic on a damaged
/// file.
fn slice(buffer: &Buffer, block: &Block) -> Result<Buffer, Cause> {
    let start = usize::try_from(block.offset())?;
    let (head, body) = (usize::try_from(block.metaDataLength())?, usize::try_from(block.bodyLength())?);
    let end = head.checked_add(body).and_then(|length| start.checked_add(length)).filter(|&end| end <= buffer.len());
    let block = buffer.slice_with_length(start, end.ok_or("a block lies outside the file")? - start);
    let marked = block.starts_with(&CONTINUATION);
    let message = block.get(if marked { 8 } else { 4 }..head).ok_or("a block has no message")?;
    let message = root_as_message(message).map_err(|damage| format!("a message is damaged: {damage}"))?;
    let batch = match message.header_as_dictionary_batch() {
        Some(dictionary) => dictionary.data(),
        None => message.header_as_record_batch(),
    };
    let is_compressed = batch.is_some_and(|batch| batch.compression().is_some());
    for part in batch.and_then(|batch| batch.buffers()).into_iter().flatten() {
        let (offset, length) = (usize::try_from(part.offset())?, usize::try_from(part.length())?);
        let end = offset.checked_add(length).filter(|&end| end <= body).ok_or("a column lies outside its block")?;
        // The decoder allocates the claimed length before it decompresses a byte.
        let claim = block[head..][offset..end].first_chunk().map_or(0, |claim| i64::from_le_bytes(*claim));
        if is_compressed && claim > length.saturating_mul(MOST_EXPANSION) as i64 {
            return Err(format!("a column claims {claim} bytes in {length}").into());
        }
    }
    Ok(block)
}

/// Writes one table file, batch by batch.
pub(crate) struct TableWriter {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    Arrow(FileWriter<BufWriter<File>>),
    Parquet(ArrowWriter<BufWriter<File>>),
}

impl TableWriter {
    pub(crate) fn create(path: &Path, form: Form, schema: &SchemaRef) -> Result<Self, TableError> {
        let file = File::create(path).map_err(|source| TableError::file("write", path, source))?;
        let file = BufWriter::new(file);
        let failed = |source| TableError::File { action: "write", path: path.to_owned(), source };
        let sink = match form {
            Form::Arrow => Sink::Arrow(FileWriter::try_new(file, schema).map_err(|source| failed(source.into()))?),
            Form::Parquet => {
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties()));
                Sink::Parquet(writer.map_err(|source| failed(source.into()))?)
            }
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        check_batch(batch, &self.path.file_stem().unwrap_or_default().to_string_lossy())?;
        let written: Result<(), Cause> = match &mut self.sink {
            Sink::Arrow(writer) => writer.write(batch).map_err(Into::into),
            Sink::Parquet(writer) => writer.write(batch).map_err(Into::into),
        };
        written.map_err(|source| TableError::File { action: "write", path: self.path.clone(), source })
    }

    pub(crate) fn finish(self) -> Result<(), TableError> {
        let finished: Result<(), Cause> = match self.sink {
            Sink::Arrow(writer) => writer.into_inner().map_err(Into::into).and_then(|mut file| Ok(file.flush()?)),
            Sink::Parquet(writer) => writer.into_inner().map_err(Into::into).and_then(|mut file| Ok(file.flush()?)),
        };
        finished.map_err(|source| TableError::File { action: "write", path: self.path, source })
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd")))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build()
}

/// A batch of `columns` in the order of `schema`.
pub(crate) fn batch(schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>) -> Result<RecordBatch, TableError> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|source| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        TableError::arrow(format!("make a table of the columns {}", names.join(", ")), source)
    })
}

/// The schema of a table without its rows, which are in these files one after the other; `None` if the first one is not a table.
///
/// # Errors
/// A file cannot be read, its schema is damaged, or it does not have the columns of the first one in the same order.
pub fn schema_of<'a>(parts: impl IntoIterator<Item = &'a Path>) -> Result<Option<Schema>, TableError> {
    let schema_in = |path: &Path| Ok::<_, TableError>(TableFile::open(path)?.map(|file| file.schema));
    let mut parts = parts.into_iter();
    let Some(schema) = parts.next().map(schema_in).transpose()?.flatten() else { return Ok(None) };
    for path in parts {
        if !schema_in(path)?.is_some_and(|part| have_same_columns(&schema, &part)) {
            let problem = "they differ in the names, the types or the order of their columns";
            return Err(TableError::arrow("read the parts of the table as one", problem));
        }
    }
    Ok(Some(schema.as_ref().clone()))
}

fn have_same_columns(one: &Schema, other: &Schema) -> bool {
    let is_same =
        |(one, other): (&FieldRef, &FieldRef)| one.name() == other.name() && one.data_type() == other.data_type();
    one.fields().len() == other.fields().len() && one.fields().iter().zip(other.fields().iter()).all(is_same)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::IpcWriteOptions;

    use super::*;

    /// A table of 1,000 equal texts as pandas and polars compress it.
    fn compressed(codec: CompressionType) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.feather");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["cat/1.png"; 1000]));
        let batch = RecordBatch::try_from_iter([("image", texts)]).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, batch.schema_ref(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        (folder, path)
    }

    fn texts(path: &Path) -> Result<Vec<ArrayRef>, TableError> {
        let mut columns = Vec::new();
        for_each_batch(path, |_| true, &mut |batch| {
            columns.push(batch.column(0).clone());
            Ok::<_, TableError>(())
        })?;
        Ok(columns)
    }

    #[test]
    fn the_parts_of_a_table_have_the_same_columns() {
        let folder = tempfile::tempdir().unwrap();
        let part = |name: &str, columns: [&str; 2]| {
            let path = folder.path().join(name);
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["text"]));
            let batch = RecordBatch::try_from_iter(columns.map(|column| (column, texts.clone()))).unwrap();
            let mut writer = FileWriter::try_new(File::create(&path).unwrap(), batch.schema_ref()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            path
        };
        let (first, same, swapped) = (part("1", ["a", "b"]), part("2", ["a", "b"]), part("3", ["b", "a"]));
        let schema = schema_of([first.as_path(), same.as_path()]).unwrap().unwrap();
        assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let error = schema_of([first.as_path(), swapped.as_path()]).unwrap_err();
        assert_eq!(error.to_string(), "Cannot read the parts of the table as one");
    }

    #[test]
    fn compressed_columns_are_read() {
        for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            let (_folder, path) = compressed(codec);
            assert!(std::fs::metadata(&path).unwrap().len() < 9000);
            let expected: ArrayRef = Arc::new(StringArray::from(vec!["cat/1.png"; 1000]));
            assert_eq!(texts(&path).unwrap(), [expected]);
        }
    }

    #[test]
    fn a_column_that_claims_more_than_it_can_hold_is_refused() {
        let (_folder, path) = compressed(CompressionType::LZ4_FRAME);
        let mut bytes = std::fs::read(&path).unwrap();
        // The texts take 9,000 bytes; the claimed length is followed by an LZ4 frame.
        let claim = [&9000_i64.to_le_bytes()[..], &[0x04, 0x22, 0x4d, 0x18]].concat();
        let position = bytes.windows(12).position(|window| window == claim).unwrap();
        bytes[position..position + 8].copy_from_slice(&(1_i64 << 50).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let TableError::File { source, .. } = texts(&path).unwrap_err() else { panic!("not an error of the file") };
        assert!(source.to_string().starts_with("a column claims 1125899906842624 bytes in "), "{source}");
    }
}
