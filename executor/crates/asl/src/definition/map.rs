//! Map states: the item processor, the selector, concurrency.

use std::sync::Arc;

use super::MachineType;
use super::compile::Compiler;
use super::fields::{self, Range};
use super::findings::Place;
use super::json::{Node, Shape};
use super::query::Reads;
use crate::program::{DataFlow, Dialect, Dynamic, ExecutionType, Kind, MapState};

impl Compiler<'_> {
    /// A Map state and its data flow; `name` is the state's.
    pub(super) fn map(
        &mut self,
        name: &str,
        node: &Node,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<(Kind, DataFlow)> {
        let processor = self.processor(node, place);
        let items_path = self.items_path(node, place);
        let items = if jsonata { self.items(node, place) } else { Some(None) };
        let item_selector = match jsonata {
            true => self.query_field(node, "ItemSelector", "", Reads::INPUT, place),
            false => self.item_selector(node, place),
        };
        let max_concurrency = self.max_concurrency(node, jsonata, place);
        let processor = processor.map(|(graph, execution_type)| (Arc::new(graph), execution_type));
        // By the text, so that what is wrong with the processor does not hide what is wrong beside it.
        let distributed = if is_distributed(node) {
            let children = processor.as_ref().and_then(|(graph, kind)| Some((Arc::clone(graph), (*kind)?)));
            let distributed = self.distributed(node, children, name, jsonata, place);
            distributed.map(|distributed| Some(Box::new(distributed)))
        } else {
            self.not_distributed(node, jsonata, place).map(|()| None)
        };
        let flow = match jsonata {
            true => self.query_flow("Map", node, place),
            false => self.path_flow(node, place).map(DataFlow::JsonPath),
        };
        let map = MapState {
            processor: processor?.0,
            items_path: items_path?,
            items: items?,
            item_selector: item_selector?,
            max_concurrency: max_concurrency?,
            distributed: distributed?,
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

    /// `Items`: an array, or an expression that gives one.
    fn items(&mut self, node: &Node, place: &Place<'_>) -> Option<Option<crate::template::Template>> {
        if let Some(member) = node.member("Items")
            && !matches!(&member.value.shape, Shape::Array(_) | Shape::Object(_) | Shape::String(_))
        {
            self.findings.schema(&place.member(member), "Expected value of type Array");
            return None;
        }
        self.query_field(node, "Items", "", Reads::INPUT, place)
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

    fn max_concurrency(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<Dynamic<u32>> {
        const FIELDS: [&str; 2] = ["MaxConcurrency", "MaxConcurrencyPath"];
        if !self.exclusive(node, &FIELDS, place) {
            return None;
        }
        if let Some(member) = node.member(FIELDS[1]) {
            return self.reference_path(&member.value, &place.member(member)).map(Dynamic::Path);
        }
        if jsonata && let Some(expression) = self.query_expression(node, FIELDS[0], place)? {
            return Some(Dynamic::Expression(expression));
        }
        if node.member(FIELDS[0]).is_none() {
            let default = match self.dialect {
                Dialect::Asl => 0,
                Dialect::Tcsl => 1,
            };
            return Some(Dynamic::Constant(default));
        }
        let limit = self.number_field(node, FIELDS[0], Range::NATURAL, jsonata, place)?;
        Some(Dynamic::Constant(u32::try_from(limit).unwrap_or(u32::MAX)))
    }
}

fn is_distributed(map: &Node) -> bool {
    let processor = map.get("ItemProcessor").or_else(|| map.get("Iterator"));
    let mode = processor.and_then(|processor| processor.get("ProcessorConfig")?.get("Mode")?.as_str());
    mode == Some("DISTRIBUTED")
}
