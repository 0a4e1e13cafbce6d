//! The fields that only a distributed Map has: reader, batcher, writer, tolerated failures, label.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::code;
use super::compile::Compiler;
use super::fields::{self, Range};
use super::findings::Place;
use super::json::Node;
use super::query::Reads;
use crate::map::{
    BATCH_BYTES_MAX, CsvFormat, CsvHeaders, Dataset, Format, ITEMS_MAX, ItemBatcher, ItemReader,
    LABEL_CHARS_MAX, OutputType, ResultWriter, Transformation, Writing,
};
use crate::program::{Distributed, Dynamic, ExecutionType, Graph};
use crate::template::Template;
use crate::value::Str;

/// A field that is absent, or read; the outer `None` is an error.
type Optional<T> = Option<Option<T>>;

const COUNT: [&str; 2] = ["ToleratedFailureCount", "ToleratedFailureCountPath"];
const PERCENTAGE: [&str; 2] = ["ToleratedFailurePercentage", "ToleratedFailurePercentagePath"];
const MAX_ITEMS: [&str; 2] = ["MaxItemsPerBatch", "MaxItemsPerBatchPath"];
const MAX_BYTES: [&str; 2] = ["MaxInputBytesPerBatch", "MaxInputBytesPerBatchPath"];
const READERS: [&str; 2] = ["s3:getObject", "s3:listObjectsV2"];
const WRITERS: [&str; 1] = ["s3:putObject"];
const INPUT_TYPES: [&str; 5] = ["CSV", "JSON", "JSONL", "PARQUET", "MANIFEST"];
const MANIFEST_TYPES: [&str; 2] = ["ATHENA_DATA", "S3_INVENTORY"];
const DELIMITERS: [(&str, u8); 5] =
    [("COMMA", b','), ("PIPE", b'|'), ("SEMICOLON", b';'), ("SPACE", b' '), ("TAB", b'\t')];

impl Compiler<'_> {
    /// What makes the Map at this place distributed; `name` is the state's, `processor` what its children run. There is
    /// none where that is wrong; what is beside it is checked all the same.
    pub(super) fn distributed(
        &mut self,
        node: &Node,
        processor: Option<(Arc<Graph>, ExecutionType)>,
        name: &str,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Distributed> {
        let label = self.label(node, place);
        let reader = self.item_reader(node, jsonata, place);
        let batcher = self.item_batcher(node, jsonata, place);
        let writer = self.result_writer(node, jsonata, place);
        let tolerated_count = self.count(node, COUNT, Range::NATURAL, jsonata, place);
        let tolerated_percentage = self.percentage(node, jsonata, place);
        let (processor, execution_type) = processor?;
        Some(Distributed {
            program: Arc::new(self.program(None, processor)),
            execution_type,
            label: label?.unwrap_or_else(|| label_of(name)),
            reader: reader?,
            batcher: batcher?,
            writer: writer?,
            tolerated_count: tolerated_count?,
            tolerated_percentage: tolerated_percentage?,
        })
    }

    /// The same fields at a Map that is not distributed. Step Functions accepts tolerated failures and a label
    /// there, which then mean nothing; of none may the value be wrong.
    pub(super) fn not_distributed(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<()> {
        let mut sound = self.label(node, place).is_some();
        for member in node.members().unwrap_or_default() {
            if fields::DISTRIBUTED_ONLY.contains(&member.name.as_str()) {
                let message =
                    format!("Field '{}' is only supported by a Map in DISTRIBUTED mode", member.name);
                self.findings.schema(&place.at(member.name_span), message);
                sound = false;
            }
        }
        sound &= self.count(node, COUNT, Range::NATURAL, jsonata, place).is_some();
        sound &= self.percentage(node, jsonata, place).is_some();
        sound.then_some(())
    }

    /// A number, or the path that gives it.
    fn count(
        &mut self,
        node: &Node,
        [constant, path]: [&'static str; 2],
        range: Range,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Optional<Dynamic<i64>> {
        if !self.exclusive(node, &[constant, path], place) {
            return None;
        }
        if jsonata && let Some(expression) = self.query_expression(node, constant, place)? {
            return Some(Some(Dynamic::Expression(expression)));
        }
        if node.member(constant).is_some() {
            let count = self.number_field(node, constant, range, jsonata, place)?;
            return i64::try_from(count).ok().map(|count| Some(Dynamic::Constant(count)));
        }
        let Some(member) = node.member(path) else { return Some(None) };
        self.reference_path(&member.value, &place.member(member)).map(|path| Some(Dynamic::Path(path)))
    }

    fn percentage(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Optional<Dynamic<f64>> {
        if !self.exclusive(node, &PERCENTAGE, place) {
            return None;
        }
        if jsonata && let Some(expression) = self.query_expression(node, PERCENTAGE[0], place)? {
            return Some(Some(Dynamic::Expression(expression)));
        }
        if let Some(member) = node.member(PERCENTAGE[0]) {
            let percentage = self.real(&member.value, 0.0, 100.0, &place.member(member));
            return percentage.map(|percentage| Some(Dynamic::Constant(percentage)));
        }
        let Some(member) = node.member(PERCENTAGE[1]) else { return Some(None) };
        self.reference_path(&member.value, &place.member(member)).map(|path| Some(Dynamic::Path(path)))
    }

    fn item_reader(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Optional<ItemReader> {
        let Some(member) = node.member("ItemReader") else { return Some(None) };
        let place = &place.member(member);
        let reader = &member.value;
        self.object(reader, place)?;
        self.spoken(reader, fields::ITEM_READER, jsonata, place);
        let complete = self.required(reader, &["Resource"], place);
        let resource = self.integration(reader, &READERS, place);
        let parameters = self.call_parameters(reader, "ItemReader/", jsonata, place);
        let lists = resource.as_ref().is_some_and(|resource| resource.ends_with(READERS[1]));
        let (dataset, max_items) = self.reader_config(reader, lists, jsonata, place)?;
        if !complete {
            return None;
        }
        Some(Some(ItemReader { resource: resource?, parameters: parameters?, dataset: dataset?, max_items }))
    }

    /// The parameters of a call: `Parameters`, or `Arguments` of a JSONata state.
    fn call_parameters(
        &mut self,
        node: &Node,
        around: &str,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Optional<Template> {
        match jsonata {
            true => self.query_field(node, "Arguments", around, Reads::INPUT, place),
            false => self.template_field(node, "Parameters", place),
        }
    }

    /// Fields that are not in the table, or not of the query language.
    fn spoken(&mut self, node: &Node, allowed: &[&'static str], jsonata: bool, place: &Place<'_>) {
        self.only(node, allowed, place);
        for member in node.members().unwrap_or_default() {
            let name = member.name.as_str();
            let of_path = name == "Parameters" || name.ends_with("Path");
            let foreign = if jsonata { of_path } else { name == "Arguments" };
            if foreign && allowed.contains(&name) {
                self.field_of_other_language(member, jsonata, place);
            }
        }
    }

    /// An S3 call: `arn:<partition>:states:::<call>`.
    fn integration(&mut self, node: &Node, calls: &[&str], place: &Place<'_>) -> Option<Str> {
        let member = node.member("Resource")?;
        let place = place.member(member);
        let text = self.string(&member.value, &place)?;
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let known = matches!(parts[..], ["arn", _, "states", "", "", call] if calls.contains(&call));
        if !known {
            let calls: Vec<String> = calls.iter().map(|call| format!("arn:aws:states:::{call}")).collect();
            let message = "Value is not a valid resource ARN";
            let note = format!("Here it is one of: {}", calls.join(", "));
            self.findings.schema_noted(&place, message, note);
        }
        known.then(|| Str::from(text))
    }

    /// `ReaderConfig`, which a listing does not need. The inner `None` is an error of the dataset.
    fn reader_config(
        &mut self,
        reader: &Node,
        lists: bool,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<(Option<Dataset>, Option<Dynamic<i64>>)> {
        let Some(member) = reader.member("ReaderConfig") else {
            if !lists {
                self.findings.schema(place, "These fields are required: [ReaderConfig]");
            }
            return Some((lists.then_some(Dataset::Listing), None));
        };
        let place = &place.member(member);
        let config = &member.value;
        self.object(config, place)?;
        self.spoken(config, fields::READER_CONFIG, jsonata, place);
        // 0 is no limit, as Step Functions runs it.
        let range = Range { min: 0, max: ITEMS_MAX };
        let max_items = self.count(config, ["MaxItems", "MaxItemsPath"], range, jsonata, place);
        let dataset = self.dataset(config, lists, place);
        Some((dataset, max_items?))
    }

    fn dataset(&mut self, config: &Node, lists: bool, place: &Place<'_>) -> Option<Dataset> {
        let input_type = self.one_of(config, "InputType", &INPUT_TYPES, place);
        let manifest = self.one_of(config, "ManifestType", &MANIFEST_TYPES, place);
        let flatten = self.one_of(config, "Transformation", &["NONE", "LOAD_AND_FLATTEN"], place);
        let csv = self.csv_format(config, input_type.flatten() == Some("CSV"), place);
        let pointer = self.items_pointer(config, place);
        let format = match input_type? {
            Some("CSV") => Some(Format::Csv(csv?)),
            Some("JSON") => Some(Format::Json { pointer: pointer? }),
            Some("JSONL") => Some(Format::JsonLines),
            Some("PARQUET") => Some(Format::Parquet),
            _ => None,
        };
        let inventory = manifest? == Some("S3_INVENTORY")
            || (manifest? != Some("ATHENA_DATA") && input_type? == Some("MANIFEST"));
        match (lists, flatten? == Some("LOAD_AND_FLATTEN"), manifest?, format) {
            (true, true, None, Some(format)) => Some(Dataset::Listed(format)),
            (true, false, None, _) if input_type?.is_none() => Some(Dataset::Listing),
            (false, false, _, None) if inventory => Some(Dataset::Inventory),
            (false, false, Some("ATHENA_DATA"), Some(format)) => Some(Dataset::Athena(format)),
            (false, false, None, Some(format)) => Some(Dataset::Object(format)),
            (true, true, None, None) | (false, false, _, None) => {
                self.required(config, &["InputType"], place);
                None
            }
            _ => {
                let message = "These values of 'Resource', 'InputType', 'Transformation' and 'ManifestType' do \
                               not go together";
                self.findings.schema(place, message);
                None
            }
        }
    }

    /// The fields of `ReaderConfig` for CSV. The outer `None` is an error.
    fn csv_format(&mut self, config: &Node, wanted: bool, place: &Place<'_>) -> Option<CsvFormat> {
        let location = self.one_of(config, "CSVHeaderLocation", &["FIRST_ROW", "GIVEN"], place);
        let names = DELIMITERS.map(|(name, _)| name);
        let delimiter = self.one_of(config, "CSVDelimiter", &names, place);
        let given = self.csv_headers(config, place);
        let headers = match (location?, given?) {
            (Some("GIVEN"), Some(headers)) => CsvHeaders::Given(headers.into()),
            (Some("GIVEN"), None) => {
                self.required(config, &["CSVHeaders"], place);
                return None;
            }
            (Some(_), _) => CsvHeaders::FirstRow,
            (None, _) => {
                if wanted {
                    self.required(config, &["CSVHeaderLocation"], place);
                }
                return None;
            }
        };
        let delimiter = delimiter?.unwrap_or("COMMA");
        let byte = DELIMITERS.iter().find(|(name, _)| *name == delimiter).map_or(b',', |(_, byte)| *byte);
        Some(CsvFormat { delimiter: byte, headers })
    }

    fn csv_headers(&mut self, config: &Node, place: &Place<'_>) -> Optional<Vec<Str>> {
        let Some(member) = config.member("CSVHeaders") else { return Some(None) };
        let place = place.member(member);
        let items = self.array(&member.value, &place)?;
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            names.push(self.string(item, &place.item(index, item)).map(Str::from));
        }
        let names: Option<Vec<Str>> = names.into_iter().collect();
        names.map(Some)
    }

    fn items_pointer(&mut self, config: &Node, place: &Place<'_>) -> Optional<Str> {
        let Some(member) = config.member("ItemsPointer") else { return Some(None) };
        let place = place.member(member);
        let pointer = self.string(&member.value, &place)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            self.findings.schema(&place, "Value must be a valid JSON pointer such as /a/b");
            return None;
        }
        Some(Some(Str::from(pointer)))
    }

    fn item_batcher(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Optional<ItemBatcher> {
        let Some(member) = node.member("ItemBatcher") else { return Some(None) };
        let place = &place.member(member);
        let batcher = &member.value;
        self.object(batcher, place)?;
        self.spoken(batcher, fields::ITEM_BATCHER, jsonata, place);
        let max_items = self.count(batcher, MAX_ITEMS, Range::POSITIVE, jsonata, place);
        let bytes = Range { min: 1, max: BATCH_BYTES_MAX };
        let max_bytes = self.count(batcher, MAX_BYTES, bytes, jsonata, place);
        let input = match jsonata {
            true => self.query_field(batcher, "BatchInput", "ItemBatcher/", Reads::INPUT, place),
            false => self.template_field(batcher, "BatchInput", place),
        };
        if [MAX_ITEMS, MAX_BYTES].concat().iter().all(|field| batcher.member(field).is_none()) {
            let fields = [MAX_ITEMS, MAX_BYTES].concat().join(", ");
            self.findings.schema(place, format!("At least one of these fields is required: [{fields}]"));
            return None;
        }
        Some(Some(ItemBatcher { max_items: max_items?, max_bytes: max_bytes?, input: input? }))
    }

    fn result_writer(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Optional<ResultWriter> {
        let Some(member) = node.member("ResultWriter") else { return Some(None) };
        let place = &place.member(member);
        let writer = &member.value;
        self.object(writer, place)?;
        self.spoken(writer, fields::RESULT_WRITER, jsonata, place);
        let config = self.writer_config(writer, place);
        let parameters = if jsonata { "Arguments" } else { "Parameters" };
        let writes = ["Resource", parameters].iter().any(|field| writer.member(field).is_some());
        if !writes && writer.member("WriterConfig").is_none() {
            let message = "At least one of these fields is required: [WriterConfig, Resource]";
            self.findings.schema(place, message);
            return None;
        }
        let writing = if writes {
            let complete = self.required(writer, &["Resource", parameters], place);
            let resource = self.integration(writer, &WRITERS, place);
            let parameters = self.call_parameters(writer, "ResultWriter/", jsonata, place);
            if !complete {
                return None;
            }
            Some(Writing { resource: resource?, parameters: parameters?? })
        } else {
            None
        };
        let (transformation, output_type) = config?;
        let default = if writes { Transformation::None } else { Transformation::Compact };
        Some(Some(ResultWriter { writing, transformation: transformation.unwrap_or(default), output_type }))
    }

    fn writer_config(
        &mut self,
        writer: &Node,
        place: &Place<'_>,
    ) -> Option<(Option<Transformation>, OutputType)> {
        let Some(member) = writer.member("WriterConfig") else { return Some((None, OutputType::Json)) };
        let place = &place.member(member);
        let config = &member.value;
        self.object(config, place)?;
        self.only(config, fields::WRITER_CONFIG, place);
        let transformation = self.one_of(config, "Transformation", &["NONE", "COMPACT", "FLATTEN"], place);
        let output = self.one_of(config, "OutputType", &["JSON", "JSONL"], place);
        let transformation = transformation?.map(|name| match name {
            "COMPACT" => Transformation::Compact,
            "FLATTEN" => Transformation::Flatten,
            _ => Transformation::None,
        });
        let output = if output? == Some("JSONL") { OutputType::JsonLines } else { OutputType::Json };
        Some((transformation, output))
    }

    /// `Label`
    fn label(&mut self, node: &Node, place: &Place<'_>) -> Optional<Str> {
        let Some(member) = node.member("Label") else { return Some(None) };
        let place = place.member(member);
        let label = self.string(&member.value, &place)?;
        let refused = |c: char| c.is_control() || c.is_whitespace() || r#"?*<>{}[]:;,\|^~$#%&`""#.contains(c);
        let length = label.chars().count();
        if length == 0 || length > LABEL_CHARS_MAX {
            let message =
                format!("The label exceeds the {LABEL_CHARS_MAX}-character limit allowed by the service");
            let message = if length == 0 { "The label is empty".to_owned() } else { message };
            self.findings.error(code::INVALID_LABEL_NAME, &place, message);
        } else if let Some(character) = label.chars().find(|c| refused(*c)) {
            let message = format!("The label holds the character {character:?}, which is not allowed");
            self.findings.error(code::INVALID_LABEL_NAME, &place, message);
        } else if !self.labels.insert(label.to_owned()) {
            let message = format!("Duplicate Label name: {label}");
            self.findings.error(code::DUPLICATE_LABEL_NAME, &place, message);
        }
        Some(Some(Str::from(label)))
    }
}

/// A label for a Map without one, made from the state's name, which may hold what a label may not.
fn label_of(name: &str) -> Str {
    let hash: [u8; 32] = Sha256::digest(name).into();
    let half = |at: usize| hash[at..at + 8].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    crate::map::uuid(half(0), half(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_made_from_a_name_is_one_that_could_be_written() {
        let label = label_of("\u{5730}\u{56fe} / a name with $ and [brackets]");
        assert!(label.len() <= LABEL_CHARS_MAX);
        assert!(label.chars().all(|c| c.is_ascii_hexdigit() || c == '-'), "{label}");
        assert_eq!(label, label_of("\u{5730}\u{56fe} / a name with $ and [brackets]"));
        assert_ne!(label, label_of("another name"));
    }
}
