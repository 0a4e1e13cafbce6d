//! What the fields of a distributed Map come to when its state begins: numbers behind paths, parameters of reads and writes.
//!
//! What may fail: a path that leads nowhere or to something else than a number, with `States.Runtime`; a number out of its
//! range.

use std::ops::RangeInclusive;

use super::context::Context;
use super::dynamic;
use super::flow;
use super::map::{count_at, integer_at};
use super::map_run::{Destination, ITEM_READER_FAILED, MapRun, RESULT_WRITER_FAILED};
use crate::map::{Batcher, ITEMS_MAX, ItemBatcher, ItemReader, Source, Tolerance};
use crate::path::EvalError;
use crate::program::{Distributed, Dynamic};
use crate::value::Value;

/// What a count may be.
const COUNT: RangeInclusive<u64> = 0..=ITEMS_MAX;
/// What a percentage may be.
const SHARE: RangeInclusive<f64> = 0.0..=100.0;

/// Reader, batcher and writer, from the state's effective input.
pub(super) fn prepare(
    run: &mut MapRun,
    distributed: &Distributed,
    input: &Value,
    context: &Context<'_>,
) -> Result<(), EvalError> {
    if let Some(reader) = &distributed.reader {
        run.source = source(reader, input, context)?;
    }
    if let Some(batcher) = &distributed.batcher {
        run.batcher = Some(self::batcher(batcher, input, context)?);
    }
    let writer = distributed.writer.as_ref();
    if let Some((writing, writer)) = writer.and_then(|writer| Some((writer.writing.as_ref()?, writer))) {
        let parameters = writing.parameters.evaluate(&context.scope(input))?;
        let text = |name: &str| parameters.get(name).and_then(Value::as_text).cloned();
        let bucket = text("Bucket").filter(|bucket| !bucket.is_empty()).ok_or_else(|| {
            EvalError::new(RESULT_WRITER_FAILED, "The parameters of the ResultWriter name no Bucket.")
        })?;
        run.destination = Some(Destination {
            resource: writing.resource.clone(),
            bucket,
            prefix: text("Prefix").unwrap_or_default(),
            output: writer.output_type,
        });
    }
    Ok(())
}

fn source(reader: &ItemReader, input: &Value, context: &Context<'_>) -> Result<Source, EvalError> {
    let most = positive("MaxItems", reader.max_items.as_ref(), input, context)?.unwrap_or(0);
    let parameters = match &reader.parameters {
        None => Value::empty_object(),
        Some(parameters) => parameters.evaluate(&context.scope(input))?,
    };
    Ok(Source::of_reader(reader, parameters, most))
}

fn batcher(batcher: &ItemBatcher, input: &Value, context: &Context<'_>) -> Result<Batcher, EvalError> {
    let some = |count: Option<u64>| count.filter(|count| *count > 0);
    let max_items = some(positive("MaxItemsPerBatch", batcher.max_items.as_ref(), input, context)?);
    let max_bytes = some(positive("MaxInputBytesPerBatch", batcher.max_bytes.as_ref(), input, context)?);
    let batch_input = batcher.input.as_ref().map(|template| template.evaluate(&context.scope(input)));
    Ok(Batcher::new(max_items, max_bytes, batch_input.transpose()?))
}

/// A number that may be 0, which means that there is no limit.
fn positive(
    field: &str,
    number: Option<&Dynamic<i64>>,
    input: &Value,
    context: &Context<'_>,
) -> Result<Option<u64>, EvalError> {
    let number = match number {
        None => return Ok(None),
        Some(Dynamic::Constant(number)) => *number,
        Some(Dynamic::Path(path)) => integer_at(path, field, input, context)?,
        Some(Dynamic::Expression(expression)) => {
            return dynamic::count(expression, field, &COUNT, &context.scope(input)).map(Some);
        }
    };
    let told = || EvalError::new(ITEM_READER_FAILED, format!("field {field} must be positive"));
    u64::try_from(number).map(Some).map_err(|_| told())
}

pub(super) fn tolerance(
    distributed: &Distributed,
    input: &Value,
    context: &Context<'_>,
) -> Result<Tolerance, EvalError> {
    let count = match &distributed.tolerated_count {
        None => None,
        Some(Dynamic::Constant(count)) => u64::try_from(*count).ok(),
        Some(Dynamic::Path(path)) => Some(count_at(path, "ToleratedFailureCount", input, context)?),
        Some(Dynamic::Expression(expression)) => {
            Some(dynamic::count(expression, "ToleratedFailureCount", &COUNT, &context.scope(input))?)
        }
    };
    let percentage = match &distributed.tolerated_percentage {
        None => None,
        Some(Dynamic::Constant(percentage)) => Some(*percentage),
        Some(Dynamic::Expression(expression)) => {
            Some(dynamic::number(expression, "ToleratedFailurePercentage", &SHARE, &context.scope(input))?)
        }
        Some(Dynamic::Path(path)) => {
            let found = flow::at(path, input, context)?;
            let number = found.as_f64().or_else(|| found.as_str()?.parse().ok());
            let number = number.ok_or_else(|| {
                EvalError::runtime(format!(
                    "The ToleratedFailurePercentagePath field refers to value \"{}\" which is not a valid number: {}",
                    dynamic::plain(&found),
                    path.text()
                ))
            })?;
            if !SHARE.contains(&number) {
                return Err(EvalError::runtime("ToleratedFailurePercentage must be between 0 and 100."));
            }
            Some(number)
        }
    };
    Ok(Tolerance { count, percentage })
}
