//! Table files: Arrow IPC, memory-mapped and not copied, and Parquet. Which of the two a file is, its first bytes tell,
//! since blobs are called by their digests.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
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

use crate::error::StageError;

/// The ten bytes at the end of an Arrow file: the footer's length and the magic word.
const ARROW_TRAILER: usize = 10;

/// Stands before the length of a message, since Arrow 0.15.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// How many bytes a compressed byte of a column can stand for: Zstandard writes a block of 128 KiB of one value in four
/// bytes, and LZ4 less.
const MOST_EXPANSION: usize = 1 << 15;

/// Rows of a Parquet row group. Fixed, so that the bytes do not hang on a library's default.
const ROW_GROUP: usize = 1 << 20;

/// Who wrote a Parquet file, as the file says. Our own name without a version: a release that writes the same bytes
/// otherwise must not change digests.
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
    /// What the names of such files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Form::Arrow => "arrow",
            Form::Parquet => "parquet",
        }
    }

    /// The form of these bytes, where they are a table at all.
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

/// The bytes of the file at `path`, mapped.
pub(crate) fn map(path: &Path) -> Result<Bytes, StageError> {
    let read = |source| StageError::file("read", path, source);
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the file is a blob of the store or a node's own output; the executor's contract is that nobody writes to
    // it while a stage runs. Whatever its bytes are, they are checked before they are used as a table.
    let map = unsafe { Mmap::map(&file) }.map_err(read)?;
    Ok(Bytes::from_owner(map))
}

/// A table file that is open: its schema is known, its rows are not read yet.
pub(super) struct TableFile {
    pub(super) schema: SchemaRef,
    form: Form,
    bytes: Bytes,
    path: PathBuf,
}

impl TableFile {
    /// Opens the file at `path`; `Ok(None)` if it is no table.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StageError> {
        let bytes = map(path)?;
        let Some(form) = Form::of(&bytes) else { return Ok(None) };
        let schema = match form {
            Form::Arrow => arrow_schema(&bytes),
            Form::Parquet => parquet_schema(&bytes),
        };
        let schema = schema.map_err(|source| StageError::File { action: "read", path: path.to_owned(), source })?;
        Ok(Some(Self { schema, form, bytes, path: path.to_owned() }))
    }

    /// Hands the rows, batch by batch, to `each`, with only the columns that `wanted` names.
    pub(super) fn batches(
        &self,
        wanted: impl Fn(&str) -> bool,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let columns: Vec<usize> =
            (0..self.schema.fields().len()).filter(|&i| wanted(self.schema.field(i).name())).collect();
        let failed = |source| StageError::File { action: "read", path: self.path.clone(), source };
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

/// Hands the rows of the table at `path`, batch by batch, to `each`, with only the columns that `wanted` names.
pub(crate) fn batches_of(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), StageError>,
) -> Result<(), StageError> {
    let file = TableFile::open(path)?
        .ok_or_else(|| StageError::input(format!("The file `{}` is neither Arrow nor Parquet", path.display())))?;
    file.batches(wanted, each)
}

/// One column of a Parquet file, read a few rows at a time.
pub(crate) struct RowReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl RowReader {
    pub(crate) fn open(path: &Path, column: &str, rows: usize) -> Result<Self, StageError> {
        let failed = |source: Failure| StageError::File { action: "read", path: path.to_owned(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(map(path)?).map_err(|source| failed(source.into()))?;
        let index = builder.schema().index_of(column).map_err(|source| failed(source.into()))?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
        let reader = builder.with_projection(mask).with_batch_size(rows).build();
        Ok(Self { path: path.to_owned(), reader: reader.map_err(|source| failed(source.into()))? })
    }
}

impl Iterator for RowReader {
    type Item = Result<RecordBatch, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|source| StageError::File {
            action: "read",
            path: self.path.clone(),
            source: source.into(),
        }))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn arrow_schema(bytes: &Bytes) -> Result<SchemaRef, Failure> {
    Ok(Arc::new(try_fb_to_schema(footer(bytes)?.schema().ok_or("the footer has no schema")?)?))
}

fn parquet_schema(bytes: &Bytes) -> Result<SchemaRef, Failure> {
    Ok(ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.schema().clone())
}

/// The footer of an Arrow file, which says where its blocks are.
fn footer(bytes: &[u8]) -> Result<Footer<'_>, Failure> {
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
    fn new(bytes: &Bytes, schema: &SchemaRef, columns: Vec<usize>) -> Result<Self, Failure> {
        let footer = footer(bytes)?;
        let mut decoder = FileDecoder::new(schema.clone(), footer.version()).with_projection(columns);
        let buffer = Buffer::from(bytes.clone());
        for block in footer.dictionaries().iter().flatten() {
            decoder.read_dictionary(block, &slice(&buffer, block)?)?;
        }
        let blocks = footer.recordBatches().iter().flatten().copied().collect();
        Ok(Self { decoder, buffer, blocks })
    }

    fn read(&self, block: &Block) -> Result<RecordBatch, Failure> {
        let batch = self.decoder.read_record_batch(block, &slice(&self.buffer, block)?)?;
        batch.ok_or_else(|| "a block holds no record batch".into())
    }
}

/// The bytes of a block, which in a damaged file may lie anywhere, and its buffers anywhere in it: arrow's decoder
/// would panic.
fn slice(buffer: &Buffer, block: &Block) -> Result<Buffer, Failure> {
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
        // Memory is taken for what is claimed before a byte of it is there.
        let claim = block[head..][offset..end].first_chunk().map_or(0, |claim| i64::from_le_bytes(*claim));
        if is_compressed && claim > length.saturating_mul(MOST_EXPANSION) as i64 {
            return Err(format!("a column claims {claim} bytes in {length}").into());
        }
    }
    Ok(block)
}

/// Writes one table file, batch by batch.
pub(super) struct TableWriter {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    Arrow(FileWriter<BufWriter<File>>),
    Parquet(ArrowWriter<BufWriter<File>>),
}

impl TableWriter {
    pub(super) fn create(path: &Path, form: Form, schema: &SchemaRef) -> Result<Self, StageError> {
        let file = File::create(path).map_err(|source| StageError::file("write", path, source))?;
        let file = BufWriter::new(file);
        let failed = |source| StageError::File { action: "write", path: path.to_owned(), source };
        let sink = match form {
            Form::Arrow => Sink::Arrow(FileWriter::try_new(file, schema).map_err(|source| failed(source.into()))?),
            Form::Parquet => {
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties()));
                Sink::Parquet(writer.map_err(|source| failed(source.into()))?)
            }
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), StageError> {
        let written: Result<(), Failure> = match &mut self.sink {
            Sink::Arrow(writer) => writer.write(batch).map_err(Into::into),
            Sink::Parquet(writer) => writer.write(batch).map_err(Into::into),
        };
        written.map_err(|source| StageError::File { action: "write", path: self.path.clone(), source })
    }

    pub(super) fn finish(self) -> Result<(), StageError> {
        let finished: Result<(), Failure> = match self.sink {
            Sink::Arrow(writer) => writer.into_inner().map_err(Into::into).and_then(|mut file| Ok(file.flush()?)),
            Sink::Parquet(writer) => writer.into_inner().map_err(Into::into).and_then(|mut file| Ok(file.flush()?)),
        };
        finished.map_err(|source| StageError::File { action: "write", path: self.path, source })
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
pub(super) fn batch(schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>) -> Result<RecordBatch, StageError> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|source| {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        StageError::table(format!("make a table of the columns {}", names.join(", ")), source)
    })
}

/// The schema of a table without its rows; `None` if the file is no table.
pub fn schema_of(path: &Path) -> Result<Option<Schema>, StageError> {
    Ok(TableFile::open(path)?.map(|file| file.schema.as_ref().clone()))
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

    fn texts(path: &Path) -> Result<Vec<ArrayRef>, StageError> {
        let mut columns = Vec::new();
        batches_of(path, |_| true, &mut |batch| {
            columns.push(batch.column(0).clone());
            Ok(())
        })?;
        Ok(columns)
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
        // The texts take 9,000 bytes; behind the claim begins a frame of LZ4.
        let claim = [&9000_i64.to_le_bytes()[..], &[0x04, 0x22, 0x4d, 0x18]].concat();
        let place = bytes.windows(12).position(|window| window == claim).unwrap();
        bytes[place..place + 8].copy_from_slice(&(1_i64 << 50).to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let StageError::File { source, .. } = texts(&path).unwrap_err() else { panic!("it is the file's fault") };
        assert!(source.to_string().starts_with("a column claims 1125899906842624 bytes in "), "{source}");
    }
}
