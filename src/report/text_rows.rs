//! Rows of a table as text: CSV and JSON.
//!
//! The writers of the `arrow` crate would do, but enabling them brings a dozen crates for what are two short loops over values
//! that Arrow already prints.

use std::io::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Number, Value};

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A column cannot be printed.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// The first line of a CSV file, without its line break.
pub fn csv_heading(schema: &Schema) -> String {
    let names: Vec<String> = schema.fields().iter().map(|field| csv_cell(field.name())).collect();
    names.join(",")
}

/// Writes the rows as CSV (RFC 4180). A null is an empty cell; a list is text such as `[1, 2]`.
///
/// # Errors
/// The output fails, or Arrow cannot print a column.
pub fn csv(batch: &RecordBatch, output: &mut impl Write) -> Result<(), TextError> {
    let options = FormatOptions::default();
    let formatters: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<_, _>>()?;
    for row in 0..batch.num_rows() {
        for (column, formatter) in formatters.iter().enumerate() {
            let comma = if column == 0 { "" } else { "," };
            write!(output, "{comma}{}", csv_cell(&formatter.value(row).try_to_string()?))?;
        }
        writeln!(output)?;
    }
    Ok(())
}

/// A cell of a CSV file, in quotes if it needs them.
pub fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Writes each row as a JSON object on a line of its own. Binary values are lists of bytes.
///
/// # Errors
/// The output fails, or Arrow cannot print a column.
pub fn json(batch: &RecordBatch, output: &mut impl Write) -> Result<(), TextError> {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let mut separator = '{';
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            let (name, value) = (Value::from(field.name().as_str()), json_value(column, row)?);
            write!(output, "{separator}{name}:{value}")?;
            separator = ',';
        }
        writeln!(output, "}}")?;
    }
    Ok(())
}

fn json_value(column: &ArrayRef, row: usize) -> Result<Value, TextError> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |values: &ArrayRef| -> Result<Value, TextError> {
        (0..values.len()).map(|item| json_value(values, item)).collect::<Result<Vec<_>, _>>().map(Value::Array)
    };
    Ok(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Binary => column.as_binary::<i32>().value(row).into(),
        DataType::LargeBinary => column.as_binary::<i64>().value(row).into(),
        DataType::List(_) => list(&column.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(&column.as_fixed_size_list().value(row))?,
        other => {
            let options = FormatOptions::default();
            let text = ArrayFormatter::try_new(column, &options)?.value(row).try_to_string()?;
            // Arrow prints numbers as JSON has them; what is not finite, and text in a dictionary, becomes a string.
            let number = other.is_numeric().then(|| number(&text)).flatten();
            number.unwrap_or(Value::String(text))
        }
    })
}

/// A number without a loss; serde_json's own parser may miss the last bit.
fn number(text: &str) -> Option<Value> {
    let whole = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
    whole.ok().or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, ListArray, StringArray, UInt32Array};
    use arrow::datatypes::{Field, Float32Type};

    use super::*;

    #[test]
    fn rows_are_csv_and_json() {
        let lists =
            ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(0.5), Some(1.0)]), Some(vec![]), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(UInt32Array::from(vec![1, 2, 3]))),
            ("class", Arc::new(StringArray::from(vec![Some("a,b"), Some("say \"x\"\n"), None]))),
            ("value", Arc::new(Float32Array::from(vec![0.25, -1.5e-7, 3.0]))),
            ("exact", Arc::new(Float64Array::from(vec![0.043_048_583_256_298_484, f64::NAN, 1e300]))),
            ("vector", Arc::new(lists)),
        ];
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the columns match");
        let mut written = format!("{}\n", csv_heading(&batch.schema())).into_bytes();
        csv(&batch, &mut written).expect("a vector takes all bytes");
        json(&batch, &mut written).expect("a vector takes all bytes");
        insta::assert_snapshot!(String::from_utf8(written).expect("it is text"), @r#"
        id,class,value,exact,vector
        1,"a,b",0.25,0.043048583256298484,"[0.5, 1.0]"
        2,"say ""x""
        ",-1.5e-7,NaN,[]
        3,,3.0,1e300,
        {"id":1,"class":"a,b","value":0.25,"exact":0.043048583256298484,"vector":[0.5,1.0]}
        {"id":2,"class":"say \"x\"\n","value":-1.5e-7,"exact":"NaN","vector":[]}
        {"id":3,"class":null,"value":3.0,"exact":1e+300,"vector":null}
        "#);
    }
}
