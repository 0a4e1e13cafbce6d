//! What TCSL allows and ASL does not, and the other way round.
//!
//! Purpose: one table of what ASW documents for each type of state. Three answers: documented fields are accepted;
//! what only ASL documents but works here all the same is accepted with a warning, for ASW itself may not take it; what
//! came into ASL after TCSL was cut from it (JSONata, variables, distributed Map) is refused. The types Wait, Succeed
//! and Fail have no page in ASW's documentation; they are accepted as in ASL, and their fields not remarked upon.

use super::code;
use super::compile::Compiler;
use super::fields;
use super::findings::Place;
use super::json::{Member, Node};
use crate::program::Dialect;
use crate::qrn::Qrn;

/// Fields of every state.
const COMMON: &[&str] = &["Type", "Comment", "Next", "End", "InputPath", "OutputPath"];
/// Fields of variables, of JSONata, and of distributed Maps.
const ASL_ONLY: &[&str] = &[
    "Assign",
    "Arguments",
    "Output",
    "Items",
    "Condition",
    "ItemReader",
    "ItemBatcher",
    "ResultWriter",
    "Label",
    "ToleratedFailureCount",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentage",
    "ToleratedFailurePercentagePath",
];

/// The fields that ASW documents for a type of state; `None` where it has no page.
fn documented(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Task" => &["Resource", "Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"],
        "Pass" => &["Result", "ResultPath", "Parameters", "ResultSelector"],
        "Choice" => &["Choices", "Default"],
        "Parallel" => &["Branches", "Parameters", "ResultSelector", "ResultPath", "Retry", "Catch"],
        "Map" => &[
            "Iterator",
            "ItemsPath",
            "MaxConcurrency",
            "Parameters",
            "ResultSelector",
            "ResultPath",
            "Retry",
            "Catch",
        ],
        _ => return None,
    })
}

impl Compiler<'_> {
    /// The machine's own fields, in TCSL.
    pub(super) fn tcsl_machine(&mut self, root: &Node, place: &Place<'_>) {
        if self.dialect == Dialect::Tcsl
            && let Some(member) = root.member("QueryLanguage")
        {
            self.tcsl_language(member, place);
        }
    }

    /// A state's field, in TCSL. True when it was refused: nothing more is to be said about it.
    pub(super) fn tcsl_field(&mut self, kind: &str, member: &Member, place: &Place<'_>) -> bool {
        let name = member.name.as_str();
        if self.dialect != Dialect::Tcsl || COMMON.contains(&name) {
            return false;
        }
        match name {
            "QueryLanguage" => return self.tcsl_language(member, place),
            "Choices" | "Catch" => self.tcsl_items(member, place),
            "Iterator" | "ItemProcessor" => self.tcsl_processor(member, place),
            _ => {}
        }
        let known = documented(kind);
        if known.is_none_or(|known| known.contains(&name)) && !ASL_ONLY.contains(&name) {
            return false;
        }
        if ASL_ONLY.contains(&name) {
            self.tcsl_refused(member, place);
            return true;
        }
        if fields::state_allows(kind, name, false, true) {
            let place = place.within(member).at(member.name_span);
            let message = format!(
                "ASW does not document the field '{name}' of a {kind} state; it works here as in ASL"
            );
            self.findings.warning(code::UNDOCUMENTED_FIELD, &place, message);
        }
        false
    }

    /// Rules and catchers, where ASL has variables and outputs too.
    fn tcsl_items(&mut self, list: &Member, place: &Place<'_>) {
        let place = place.member(list);
        for (index, item) in list.value.items().iter().enumerate() {
            let place = place.item(index, item);
            for member in item.members().unwrap_or_default() {
                if ASL_ONLY.contains(&member.name.as_str()) {
                    self.tcsl_refused(member, &place);
                }
            }
        }
    }

    /// `ProcessorConfig` of an item processor: only inline Maps.
    fn tcsl_processor(&mut self, processor: &Member, place: &Place<'_>) {
        let Some(config) = processor.value.member("ProcessorConfig") else { return };
        let Some(mode) = config.value.member("Mode") else { return };
        if mode.value.as_str() == Some("DISTRIBUTED") {
            let place = place.member(processor);
            let place = place.member(config);
            let message = "TCSL has no Map states in DISTRIBUTED mode";
            self.findings.schema(&place.member(mode), message);
        }
    }

    /// `QueryLanguage`: JSONPath alone. True when it was refused.
    fn tcsl_language(&mut self, member: &Member, place: &Place<'_>) -> bool {
        let refused = member.value.as_str() == Some("JSONata");
        if refused {
            let note = "Write paths in place of the expressions, or make this an ASL definition.".to_owned();
            self.findings.schema_noted(&place.member(member), "TCSL has no JSONata", note);
            self.findings.pass_over(member.span());
        }
        refused
    }

    fn tcsl_refused(&mut self, member: &Member, place: &Place<'_>) {
        let message = format!("Field '{}' is not part of TCSL", member.name);
        let note = "ASL has it; make this an ASL definition, or do without.".to_owned();
        self.findings.schema_noted(&place.within(member).at(member.name_span), message, note);
        self.findings.pass_over(member.span());
    }

    /// A Task's `Resource` that begins as a QRN does. False when it was refused.
    pub(super) fn tcsl_resource(&mut self, text: &str, place: &Place<'_>) -> bool {
        let problem = Qrn::parse(text).err();
        if let Some(problem) = problem {
            let message = format!("Value is not a valid resource QRN: {problem}");
            self.findings.error(code::INVALID_RESOURCE, place, message);
        }
        problem.is_none()
    }
}
