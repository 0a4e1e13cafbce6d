//! Map states: the item processor, the selector, concurrency.

use std::sync::Arc;

use super::compile::Compiler;
use super::fields::{self, Range};
use super::findings::Place;
use super::json::Node;
use super::{MachineType, code};
use crate::program::{DataFlow, Dialect, Distributed, Dynamic, ExecutionType, Kind, MapState};
use crate::value::Str;

/// The longest `Label`, in characters.
const LABEL_MAX: usize = 40;
/// Fields that only a distributed Map has and this version does not run.
const LATER: &[&str] = &[
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
];

impl Compiler<'_> {
    /// A Map state and its data flow.
    pub(super) fn map(&mut self, node: &Node, place: &Place<'_>) -> Option<(Kind, DataFlow)> {
        let processor = self.processor(node, place);
        let items_path = self.items_path(node, place);
        let item_selector = self.item_selector(node, place);
        let max_concurrency = self.max_concurrency(node, place);
        let label = self.label(node, place);
        self.tolerance(node, place);
        for member in node.members().unwrap_or_default() {
            if LATER.contains(&member.name.as_str()) {
                self.unsupported("Distributed Map", &place.member(member));
            }
        }
        let flow = self.data_flow(node, place);
        let (graph, execution_type) = processor?;
        let distributed = execution_type.map(|execution_type| Distributed { execution_type, label });
        let map = MapState {
            processor: Arc::new(graph),
            items_path: items_path?,
            item_selector: item_selector?,
            max_concurrency: max_concurrency?,
            distributed,
        };
        Some((Kind::Map(Box::new(map)), flow?))
    }

    fn processor(
        &mut self,
        node: &Node,
        place: &Place<'_>,
    ) -> Option<(crate::program::Graph, Option<ExecutionType>)> {
        if !self.exactly_one(node, &["ItemProcessor", "Iterator"], place) {
            return None;
        }
        let member = node.member("ItemProcessor").or_else(|| node.member("Iterator"))?;
        let place = place.member(member);
        let processor = &member.value;
        self.object(processor, &place)?;
        self.only(processor, fields::PROCESSOR, &place);
        let execution_type = self.processor_config(processor, &place);
        let graph = self.graph(processor, &place)?;
        Some((graph, execution_type?))
    }

    /// The execution type of a distributed Map; the inner `None` is an inline one.
    fn processor_config(&mut self, node: &Node, place: &Place<'_>) -> Option<Option<ExecutionType>> {
        let Some(member) = node.member("ProcessorConfig") else { return Some(None) };
        let place = place.member(member);
        let config = &member.value;
        self.object(config, &place)?;
        self.only(config, fields::PROCESSOR_CONFIG, &place);
        let mode = self.one_of(config, "Mode", &["INLINE", "DISTRIBUTED"], &place)?;
        let kind = self.one_of(config, "ExecutionType", &["STANDARD", "EXPRESS"], &place)?;
        if mode == Some("INLINE")
            && let Some(member) = config.member("ExecutionType")
        {
            self.unsupported_field(member, "Only a distributed Map has it".to_owned(), &place);
        }
        if mode != Some("DISTRIBUTED") {
            return Some(None);
        }
        if self.machine == MachineType::Express {
            let message =
                "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines";
            self.findings.schema(&config.member("Mode").map_or(place, |mode| place.member(mode)), message);
        }
        match kind {
            Some("EXPRESS") => Some(Some(ExecutionType::Express)),
            Some(_) => Some(Some(ExecutionType::Standard)),
            None => {
                self.required(config, &["ExecutionType"], &place);
                None
            }
        }
    }

    /// `ItemsPath`; the outer `None` is an error.
    fn items_path(&mut self, node: &Node, place: &Place<'_>) -> Option<Option<crate::path::Path>> {
        let Some(member) = node.member("ItemsPath") else { return Some(None) };
        self.reference_path(&member.value, &place.member(member)).map(Some)
    }

    /// `ItemSelector`, or the legacy `Parameters`.
    fn item_selector(&mut self, node: &Node, place: &Place<'_>) -> Option<Option<crate::template::Template>> {
        if !self.exclusive(node, &["ItemSelector", "Parameters"], place) {
            return None;
        }
        let selector = self.template_field(node, "ItemSelector", place)?;
        let legacy = self.template_field(node, "Parameters", place)?;
        Some(selector.or(legacy))
    }

    fn max_concurrency(&mut self, node: &Node, place: &Place<'_>) -> Option<Dynamic<u32>> {
        const FIELDS: [&str; 2] = ["MaxConcurrency", "MaxConcurrencyPath"];
        if !self.exclusive(node, &FIELDS, place) {
            return None;
        }
        if let Some(member) = node.member(FIELDS[1]) {
            return self.reference_path(&member.value, &place.member(member)).map(Dynamic::Path);
        }
        if node.member(FIELDS[0]).is_none() {
            let default = match self.dialect {
                Dialect::Asl => 0,
                Dialect::Tcsl => 1,
            };
            return Some(Dynamic::Constant(default));
        }
        let limit = self.integer_field(node, FIELDS[0], Range::NATURAL, place)?;
        Some(Dynamic::Constant(u32::try_from(limit).unwrap_or(u32::MAX)))
    }

    /// `Label` of a distributed Map.
    fn label(&mut self, node: &Node, place: &Place<'_>) -> Option<Str> {
        let member = node.member("Label")?;
        let place = place.member(member);
        let label = self.string(&member.value, &place)?;
        let refused = |c: char| c.is_control() || c.is_whitespace() || r#"?*<>{}[]:;,\|^~$#%&`""#.contains(c);
        let length = label.chars().count();
        if length == 0 || length > LABEL_MAX {
            let message = format!("The label exceeds the {LABEL_MAX}-character limit allowed by the service");
            let message = if length == 0 { "The label is empty".to_owned() } else { message };
            self.findings.error(code::INVALID_LABEL_NAME, &place, message);
        } else if let Some(character) = label.chars().find(|c| refused(*c)) {
            let message = format!("The label holds the character {character:?}, which is not allowed");
            self.findings.error(code::INVALID_LABEL_NAME, &place, message);
        } else if !self.labels.insert(label.to_owned()) {
            let message = format!("Duplicate Label name: {label}");
            self.findings.error(code::DUPLICATE_LABEL_NAME, &place, message);
        }
        Some(Str::from(label))
    }

    fn tolerance(&mut self, node: &Node, place: &Place<'_>) {
        self.exclusive(node, &["ToleratedFailureCount", "ToleratedFailureCountPath"], place);
        self.exclusive(node, &["ToleratedFailurePercentage", "ToleratedFailurePercentagePath"], place);
        self.integer_field(node, "ToleratedFailureCount", Range::NATURAL, place);
        if let Some(member) = node.member("ToleratedFailurePercentage") {
            self.real(&member.value, 0.0, 100.0, &place.member(member));
        }
    }
}
