//! One state: its type, its fields, what follows.

use super::MachineType;
use super::code;
use super::compile::Compiler;
use super::fields::{self, Range};
use super::findings::Place;
use super::flow::looks_evaluated;
use super::graph::Targets;
use super::json::{Member, Node, Shape};
use super::query::Reads;
use crate::program::{DataFlow, Dialect, Dynamic, JsonPathFlow, Kind, Next, State, TaskState, Text, Wait};
use crate::timestamp::Timestamp;
use crate::value::Str;

/// The heartbeat and timeout fields of a Task: constant, and path.
const TIMEOUT: [&str; 2] = ["TimeoutSeconds", "TimeoutSecondsPath"];
const HEARTBEAT: [&str; 2] = ["HeartbeatSeconds", "HeartbeatSecondsPath"];

impl Compiler<'_> {
    /// A member of `States`. `None` where no state can be made of it; the reason has been recorded.
    pub(super) fn state(
        &mut self,
        member: &Member,
        targets: &Targets<'_>,
        place: &Place<'_>,
    ) -> Option<State> {
        let node = &member.value;
        self.object(node, place)?;
        let kind = self.kind_name(node, place)?;
        let jsonata = self.state_language(node, place);
        self.state_fields(node, kind, jsonata, place);
        self.string_field(node, "Comment", place);
        let next = self.next(kind, node, targets, place);
        let retry = self.retry(node, place);
        let catch = self.catch(node, targets, jsonata, place);
        // Everything is looked at before anything is given up, so that all problems are found at once.
        let assign = self.assign(node, jsonata.then(|| Reads::behind(kind)), "", place);
        let (kind, flow) = match kind {
            "Map" => self.map(&member.name, node, jsonata, place).unzip(),
            _ => (self.kind(kind, node, targets, jsonata, place), self.flow(kind, node, jsonata, place)),
        };
        let number = self.placed;
        self.placed += 1;
        Some(State {
            name: Str::from(&member.name),
            place: number,
            kind: kind?,
            flow: flow?,
            assign: assign?,
            next: next?,
            retry: retry?,
            catch: catch?,
        })
    }

    fn state_language(&mut self, node: &Node, place: &Place<'_>) -> bool {
        let own = self.query_language(node, place);
        // Recorded of the machine's own states; inside of branches and item processors, definitions in use have it.
        if self.jsonata && own == Some(false) && place.depth() == 2 {
            let message = "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine";
            self.findings.schema(place, message);
        }
        own.unwrap_or(self.jsonata)
    }

    /// `Type`, in its proper spelling.
    fn kind_name(&mut self, node: &Node, place: &Place<'_>) -> Option<&'static str> {
        if !self.required(node, &["Type"], place) {
            return None;
        }
        let member = node.member("Type")?;
        let place = place.member(member);
        let written = self.string(&member.value, &place)?;
        if let Some(kind) = fields::TYPES.iter().find(|kind| **kind == written) {
            return Some(kind);
        }
        let similar = fields::TYPES.iter().find(|kind| kind.eq_ignore_ascii_case(written));
        if let (Dialect::Tcsl, Some(kind)) = (self.dialect, similar) {
            let message = format!("The field 'Type' is spelt '{written}'; it is read as '{kind}'");
            self.findings.warning(code::TYPE_SPELLING, &place, message);
            return Some(kind);
        }
        let types = fields::TYPES.join(", ");
        self.findings.schema(&place, format!("The field 'Type' should have one of these values: [{types}]"));
        None
    }

    /// `Next` or `End`.
    fn next(&mut self, kind: &str, node: &Node, targets: &Targets<'_>, place: &Place<'_>) -> Option<Next> {
        if ["Choice", "Succeed", "Fail"].contains(&kind) {
            return Some(Next::Nothing);
        }
        let target = self.target_field(node, "Next", targets, place);
        let ends = node.member("End").map(|member| {
            let place = place.member(member);
            self.boolean(&member.value, &place)
        });
        match (node.member("Next"), ends) {
            (None, Some(end)) => match end? {
                true => Some(Next::End),
                false => {
                    self.findings.schema(place, "These fields are required: [Next] when 'End' is false");
                    None
                }
            },
            (Some(_), None | Some(Some(false))) => target.map(Next::State),
            _ => {
                self.exactly_one(node, &["Next", "End"], place);
                None
            }
        }
    }

    fn kind(
        &mut self,
        kind: &str,
        node: &Node,
        targets: &Targets<'_>,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Kind> {
        match kind {
            "Pass" => self.pass(node, place),
            "Task" => self.task(node, jsonata, place),
            "Choice" => self.choice(node, targets, jsonata, place),
            "Wait" => self.wait(node, jsonata, place).map(Kind::Wait),
            "Succeed" => Some(Kind::Succeed),
            "Fail" => self.fail(node, jsonata, place),
            _ => self.parallel(node, place),
        }
    }

    fn pass(&mut self, node: &Node, place: &Place<'_>) -> Option<Kind> {
        let Some(member) = node.member("Result") else { return Some(Kind::Pass { result: None }) };
        let place = place.member(member);
        self.remark_static_result(&member.value, &place);
        self.value(&member.value, &place).map(|result| Kind::Pass { result: Some(result) })
    }

    /// Warns where `Result` seems to hold paths: they stay text.
    fn remark_static_result(&mut self, result: &Node, place: &Place<'_>) {
        if let Shape::Object(members) = &result.shape
            && let Some(member) = members.iter().find(|member| member.name.ends_with(".$"))
        {
            let place = place.member(member).at(member.name_span);
            let message = "A Pass state's 'Result' is static; use 'Parameters' to evaluate paths";
            self.findings.warning(code::PASS_RESULT_IS_STATIC, &place, message);
        }
    }

    fn fail(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<Kind> {
        let error = self.text_or_path(node, ["Error", "ErrorPath"], jsonata, place);
        let cause = self.text_or_path(node, ["Cause", "CausePath"], jsonata, place);
        Some(Kind::Fail { error: error?, cause: cause? })
    }

    /// A text, or what gives one. The outer `None` is an error, the inner an absent pair.
    fn text_or_path(
        &mut self,
        node: &Node,
        [constant, path]: [&'static str; 2],
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Option<Text>> {
        if jsonata && let Some(expression) = self.query_expression(node, constant, place)? {
            return Some(Some(Text::Expression(expression)));
        }
        if !self.exclusive(node, &[constant, path], place) {
            return None;
        }
        if let Some(member) = node.member(constant) {
            let place = place.member(member);
            let text = self.string(&member.value, &place)?;
            if constant == "Error" && text.starts_with("States.") {
                self.remark_reserved_name(text, &place);
            }
            if !jsonata && looks_evaluated(text) {
                let message = format!("The value looks evaluated; to evaluate it name the field '{path}'");
                self.findings.warning(code::NO_PATH, &place, message);
            }
            return Some(Some(Text::Constant(Str::from(text))));
        }
        let Some(member) = node.member(path) else { return Some(None) };
        let place = place.member(member);
        self.text_path(&member.value, &place).map(Some)
    }

    fn wait(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<Wait> {
        let forms: &[&str] = match jsonata {
            true => &["Seconds", "Timestamp"],
            false => &["SecondsPath", "Seconds", "TimestampPath", "Timestamp"],
        };
        if !self.exactly_one(node, forms, place) {
            return None;
        }
        if let Some(seconds) = self.dynamic_integer(node, "Seconds", Range::NATURAL, jsonata, place)? {
            return Some(Wait::Seconds(seconds));
        }
        if jsonata && let Some(expression) = self.query_expression(node, "Timestamp", place)? {
            return Some(Wait::Until(Dynamic::Expression(expression)));
        }
        if let Some(member) = node.member("SecondsPath") {
            let path = self.reference_path(&member.value, &place.member(member))?;
            return Some(Wait::Seconds(Dynamic::Path(path)));
        }
        if let Some(member) = node.member("TimestampPath") {
            let path = self.reference_path(&member.value, &place.member(member))?;
            return Some(Wait::Until(Dynamic::Path(path)));
        }
        let member = node.member("Timestamp")?;
        let place = place.member(member);
        let text = self.string(&member.value, &place)?;
        let parsed = Timestamp::parse(text);
        if parsed.is_err() {
            let note = match text.starts_with('$') {
                true => fields::evaluation("Timestamp", text, jsonata),
                false => "Written like 2016-03-14T01:59:00Z or 2016-03-14T01:59:00.5+02:00".to_owned(),
            };
            self.findings.schema_noted(&place, "String does not match RFC3339 timestamp", note);
        }
        parsed.ok().map(|instant| Wait::Until(Dynamic::Constant(instant)))
    }

    fn task(&mut self, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<Kind> {
        let complete = self.required(node, &["Resource"], place);
        let resource = self.resource(node, place);
        let timeout_seconds = self.seconds(node, TIMEOUT, jsonata, place);
        let heartbeat_seconds = self.seconds(node, HEARTBEAT, jsonata, place);
        if let (
            Some(Some(Dynamic::Constant(timeout))),
            Some(Some(Dynamic::Constant(heartbeat))),
            Some(member),
        ) = (&timeout_seconds, &heartbeat_seconds, node.member(HEARTBEAT[0]))
            && heartbeat >= timeout
        {
            let message = "The field 'HeartbeatSeconds' must be less than 'TimeoutSeconds'";
            self.findings.schema(&place.member(member), message);
        }
        let credentials = match node.member("Credentials") {
            _ if jsonata => self.query_field(node, "Credentials", "", Reads::INPUT, place)?,
            None => None,
            Some(member) => {
                let place = place.member(member);
                self.object(&member.value, &place)?;
                Some(self.template(&member.value, &place)?)
            }
        };
        if !complete {
            return None;
        }
        Some(Kind::Task(Box::new(TaskState {
            resource: resource?,
            timeout_seconds: timeout_seconds?,
            heartbeat_seconds: heartbeat_seconds?,
            credentials,
        })))
    }

    /// A number of seconds, or the path or expression that gives it. The outer `None` is an error, the inner an absent
    /// pair.
    pub(super) fn seconds(
        &mut self,
        node: &Node,
        [constant, path]: [&'static str; 2],
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Option<Dynamic<u64>>> {
        if !self.exclusive(node, &[constant, path], place) {
            return None;
        }
        if node.member(constant).is_some() {
            return self.dynamic_integer(node, constant, Range::POSITIVE, jsonata, place);
        }
        let Some(member) = node.member(path) else { return Some(None) };
        self.reference_path(&member.value, &place.member(member)).map(|path| Some(Dynamic::Path(path)))
    }

    /// `Resource`: an ARN, in TCSL also a QRN.
    fn resource(&mut self, node: &Node, place: &Place<'_>) -> Option<Str> {
        let member = node.member("Resource")?;
        let place = place.member(member);
        let text = self.string(&member.value, &place)?;
        let qrn = self.dialect == Dialect::Tcsl && text.starts_with("qrn:");
        if qrn && !self.tcsl_resource(text, &place) {
            return None;
        }
        let arn = text.starts_with("arn:") && text.split(':').count() >= 6;
        if !arn && !qrn {
            let (code, message) = match self.dialect {
                Dialect::Asl => (code::SCHEMA_VALIDATION_FAILED, "Value is not a valid resource ARN"),
                Dialect::Tcsl => (code::INVALID_RESOURCE, "Value is not a valid resource QRN or ARN"),
            };
            self.findings.error(code, &place, message);
            return None;
        }
        if self.machine == MachineType::Express {
            self.express_resource(text, &place);
        }
        self.remark_misspelt_integration(text, &place);
        Some(Str::from(text))
    }

    /// What an EXPRESS machine cannot wait for.
    fn express_resource(&mut self, resource: &str, place: &Place<'_>) {
        let pattern = if resource.ends_with(".waitForTaskToken") {
            // The space at the end stands in AWS's message.
            "'.waitForTaskToken' service integration "
        } else if resource.ends_with(".sync") || resource.ends_with(".sync:2") {
            "'.sync' service integration"
        } else if resource.split(':').nth(5) == Some("activity") {
            "Activity ARN"
        } else {
            return;
        };
        self.findings.schema(place, format!("Express state machine does not support {pattern}"));
    }

    fn parallel(&mut self, node: &Node, place: &Place<'_>) -> Option<Kind> {
        self.required(node, &["Branches"], place);
        let member = node.member("Branches")?;
        let place = place.member(member);
        let items = self.array(&member.value, &place)?;
        let mut branches = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index, item);
            self.object(item, &place)?;
            self.only(item, fields::BRANCH, &place);
            branches.push(self.graph(item, &place).map(std::sync::Arc::new));
        }
        let branches: Option<Box<[_]>> = branches.into_iter().collect();
        branches.map(|branches| Kind::Parallel { branches })
    }

    /// The data flow of every state but Map.
    fn flow(&mut self, kind: &str, node: &Node, jsonata: bool, place: &Place<'_>) -> Option<DataFlow> {
        if jsonata {
            return self.query_flow(kind, node, place);
        }
        let parameters = self.template_field(node, "Parameters", place);
        let flow = self.path_flow(node, place)?;
        Some(DataFlow::JsonPath(JsonPathFlow { parameters: parameters?, ..flow }))
    }
}
