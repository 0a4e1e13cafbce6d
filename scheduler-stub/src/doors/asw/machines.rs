//! Machines in ASW's API: flow services, as it calls them.
//!
//! Invariants: what is created has the dialect TCSL; whatever the API says of a machine that the core does not have is kept beside
//! it and told back; a list looks at [`MACHINES_MAX`] machines at most. What may fail: whatever the core refuses.

use asl::value::JsonLimits;
use asl::{Dialect, Payload};
use bytes::Bytes;
use front::{Answer, Call, Fault, Kind};
use ids::{LogLevel, Logging, Mode};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::super::Doors;
use super::super::answer::{millis, text};
use super::super::fault::fault;
use super::{short_id, spelt_here};
use crate::templates::{About, AboutChange, Change, NewTemplate, PAGE_MAX, Summary};

/// The one state that machines have.
const ONLINE: &str = "Online";

/// Machines that a list looks at; what is beyond is neither listed nor counted.
const MACHINES_MAX: usize = 10_000;

/// Machines of a page that says no size (asw: DescribeFlowServices).
const PAGE_DEFAULT: u64 = 20;

/// As the API spells how executions are kept.
fn kind(mode: Mode) -> &'static str {
    match mode {
        Mode::Standard => "STANDARD",
        Mode::Express | Mode::SyncExpress => "EXPRESS",
    }
}

/// What `EnableCLS` means for histories: all of them with their data, or none. Where they go is the nodes' configuration.
fn logging(cls: bool) -> Logging {
    match cls {
        true => Logging { level: LogLevel::All, include_data: true },
        false => Logging::default(),
    }
}

/// A role, which clients send as it is or as a part of a URL. In neither form has its name a percent sign.
fn role(given: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(given).decode_utf8();
    let decoded =
        decoded.map_err(|_| Fault::new(Kind::Validation, "RoleResource: what it encodes is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// The input of starts that give none: JSON, as theirs is.
fn check_default_input(given: &str) -> Result<(), Fault> {
    if given.is_empty() {
        return Ok(());
    }
    let limits = JsonLimits { bytes: given.len(), ..JsonLimits::PAYLOAD };
    match Payload::check(Bytes::copy_from_slice(given.as_bytes()), limits) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!("Input is not valid JSON: {error}. Starts that give no input would fail");
            Err(Fault::new(Kind::InvalidExecutionInput, message))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    definition: String,
    flow_service_name: String,
    r#type: String,
    #[serde(default)]
    flow_service_chinese_name: String,
    #[serde(default)]
    role_resource: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "EnableCLS")]
    enable_cls: bool,
    #[serde(default)]
    input: String,
}

/// `CreateFlowService`. `IsNewRole` changes nothing: roles are made by their operator.
pub(super) async fn create_flow_service(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output<'a> {
        flow_service_resource: &'a str,
        create_date: String,
    }
    let input: CreateInput = call.read()?;
    check_default_input(&input.input)?;
    let new = NewTemplate {
        mode: if input.r#type == "EXPRESS" { Mode::Express } else { Mode::Standard },
        dialect: Dialect::Tcsl,
        role_arn: role(&input.role_resource)?,
        comment: input.description,
        logging: logging(input.enable_cls),
        about: About {
            chinese_name: input.flow_service_chinese_name,
            default_input: input.input,
            cls: input.enable_cls,
            ..About::default()
        },
        ..NewTemplate::new(input.flow_service_name, input.definition)
    };
    let stored = doors.templates.create(new).await.map_err(|error| fault(&call, error))?;
    let template = &stored.template;
    Answer::of(&Output { flow_service_resource: &template.arn, create_date: millis(template.created_ms) })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ModifyInput {
    definition: String,
    flow_service_name: String,
    r#type: String,
    flow_service_chinese_name: String,
    role_resource: String,
    /// Empty: it is to have none; absent: as before.
    description: Option<String>,
    #[serde(rename = "EnableCLS")]
    enable_cls: Option<bool>,
}

/// `ModifyFlowService`. A machine's name and type are for ever: they have to be the ones that it has.
pub(super) async fn modify_flow_service(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output<'a> {
        flow_service_resource: &'a str,
        update_date: String,
    }
    let input: ModifyInput = call.read()?;
    let machine = spelt_here(doors, &call, "FlowServiceResource").await?;
    let known = doors.templates.describe(&machine, 0).await.map_err(|error| fault(&call, error))?;
    let kept = [
        ("FlowServiceName", &*input.flow_service_name, &*known.name),
        ("Type", &input.r#type, kind(known.mode)),
    ];
    if let Some((member, given, has)) = kept.into_iter().find(|(_, given, has)| given != has) {
        let message =
            format!("{member} cannot be changed: it is {has:?}, not {given:?}; create another flow service");
        return Err(Fault::new(Kind::Validation, message));
    }
    let change = Change {
        definition: input.definition.into(),
        comment: input.description,
        role_arn: Some(role(&input.role_resource)?),
        logging: input.enable_cls.map(logging),
        about: AboutChange {
            chinese_name: Some(input.flow_service_chinese_name),
            cls: input.enable_cls,
            ..AboutChange::default()
        },
        ..Change::default()
    };
    let stored = doors.templates.update(&machine, change).await.map_err(|error| fault(&call, error))?;
    let template = &stored.template;
    Answer::of(&Output { flow_service_resource: &template.arn, update_date: millis(template.updated_ms) })
}

/// `DeleteFlowService`: not among the published actions, but called by Tencent's tools.
pub(super) async fn delete_flow_service(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let machine = spelt_here(doors, &call, "FlowServiceResource").await?;
    doors.templates.delete(&machine).await.map_err(|error| fault(&call, error))?;
    Ok(Answer::empty())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Detail<'a> {
    flow_service_name: &'a str,
    status: &'static str,
    definition: &'a str,
    role_resource: &'a str,
    r#type: &'static str,
    create_date: String,
    description: &'a str,
    flow_service_chinese_name: &'a str,
    #[serde(rename = "EnableCLS")]
    enable_cls: bool,
    /// Nothing here has a page to look at.
    #[serde(rename = "CLSUrl")]
    cls_url: Option<&'a str>,
    flow_input: &'a str,
}

/// `DescribeFlowServiceDetail`.
pub(super) async fn describe_flow_service_detail(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let machine = spelt_here(doors, &call, "FlowServiceResource").await?;
    let described = doors.templates.describe_as(&machine).await.map_err(|error| fault(&call, error))?;
    let template = &described.template;
    Answer::of(&Detail {
        flow_service_name: &template.name,
        status: ONLINE,
        definition: text(&template.definition)?,
        role_resource: &template.role_arn,
        r#type: kind(template.mode),
        create_date: millis(template.created_ms),
        description: &template.comment,
        flow_service_chinese_name: &template.about.chinese_name,
        enable_cls: template.about.cls,
        cls_url: None,
        flow_input: &template.about.default_input,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    #[serde(default)]
    offset: u64,
    limit: Option<u64>,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    name: String,
    values: Vec<String>,
}

impl Filter {
    /// Whether a machine has one of the values.
    fn takes(&self, machine: &Summary) -> bool {
        let has = match self.name.as_str() {
            "FlowServiceName" => &machine.name,
            "Type" => kind(machine.mode),
            // The door lets no other name in.
            _ => ONLINE,
        };
        self.values.iter().any(|value| value == has)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    flow_service_set: Vec<Listed>,
    total_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    flow_service_resource: String,
    r#type: &'static str,
    flow_service_name: String,
    flow_service_chinese_name: String,
    create_date: String,
    modify_date: String,
    status: &'static str,
    /// Who made or changed a machine is not kept.
    creator: &'static str,
    modifier: &'static str,
    flow_service_id: String,
    template_id: String,
    description: String,
}

impl From<Summary> for Listed {
    fn from(machine: Summary) -> Self {
        let id = short_id(&machine.arn, &machine.name);
        Self {
            r#type: kind(machine.mode),
            create_date: millis(machine.created_ms),
            modify_date: millis(machine.updated_ms),
            status: ONLINE,
            creator: "",
            modifier: "",
            flow_service_id: format!("svc-{id}"),
            template_id: format!("tpl-{id}"),
            flow_service_resource: machine.arn,
            flow_service_name: machine.name,
            flow_service_chinese_name: machine.chinese_name,
            description: machine.comment,
        }
    }
}

/// What a list has found so far.
struct Page {
    input: ListInput,
    output: ListOutput,
}

impl Page {
    fn new(input: ListInput) -> Self {
        Self { input, output: ListOutput { flow_service_set: Vec::new(), total_count: 0 } }
    }

    fn see(&mut self, machine: Summary) {
        let Self { input, output } = self;
        if !input.filters.iter().all(|filter| filter.takes(&machine)) {
            return;
        }
        let at = output.total_count;
        output.total_count += 1;
        let length = output.flow_service_set.len() as u64;
        if at >= input.offset && length < input.limit.unwrap_or(PAGE_DEFAULT) {
            output.flow_service_set.push(machine.into());
        }
    }
}

/// `DescribeFlowServices`: in the order of their QRNs and ARNs.
pub(super) async fn describe_flow_services(doors: &Doors, call: Call) -> Result<Answer, Fault> {
    let mut page = Page::new(call.read()?);
    let mut token = String::new();
    for _ in 0..MACHINES_MAX.div_ceil(PAGE_MAX as usize) {
        let listed = doors.templates.list(PAGE_MAX, &token).await;
        let (machines, next) = listed.map_err(|error| fault(&call, error))?;
        machines.into_iter().for_each(|machine| page.see(machine));
        if next.is_empty() {
            break;
        }
        token = next;
    }
    Answer::of(&page.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(number: u32) -> Summary {
        let name = format!("m{number:02}");
        Summary {
            arn: format!("qrn:qcs:asw:local:1:http:json:flowmachine:{name}:abcd23{number:02}"),
            name,
            mode: if number.is_multiple_of(2) { Mode::Standard } else { Mode::Express },
            dialect: Dialect::Tcsl,
            version: 1,
            created_ms: 1_700_000_000_123,
            updated_ms: 1_700_000_000_124,
            role_arn: String::new(),
            comment: "for people".to_owned(),
            chinese_name: String::new(),
        }
    }

    /// Names on the page, and how many there are.
    fn listed(input: serde_json::Value) -> (Vec<String>, u64) {
        let mut page = Page::new(serde_json::from_value(input).expect("an input"));
        (0..30).for_each(|number| page.see(machine(number)));
        let names = page.output.flow_service_set.into_iter().map(|machine| machine.flow_service_name);
        (names.collect(), page.output.total_count)
    }

    #[test]
    fn a_page_has_20_machines_unless_it_is_said_and_the_count_is_of_all_that_fit() {
        let (names, count) = listed(serde_json::json!({}));
        assert_eq!((names.len(), &*names[0], count), (20, "m00", 30));
        let (names, count) = listed(serde_json::json!({"Offset": 28, "Limit": 5}));
        assert_eq!((names, count), (vec!["m28".to_owned(), "m29".to_owned()], 30));
        assert_eq!(listed(serde_json::json!({"Offset": 99})), (vec![], 30));
    }

    #[test]
    fn a_machine_has_one_value_of_every_filter() {
        let filters = serde_json::json!({"Limit": 1, "Filters": [
            {"Name": "Type", "Values": ["EXPRESS"]}, {"Name": "FlowServiceName", "Values": ["m02", "m03", "m05"]}]});
        assert_eq!(listed(filters), (vec!["m03".to_owned()], 2));
        let status = |status| serde_json::json!({"Filters": [{"Name": "Status", "Values": [status]}]});
        assert_eq!((listed(status("Online")).1, listed(status("Offline")).1), (30, 0));
    }

    #[test]
    fn a_role_is_taken_as_it_is_and_as_a_part_of_a_url() {
        let name = "qcs::cam::uin/100000000001:roleName/orders";
        for given in [name, "qcs%3A%3Acam%3A%3Auin%2F100000000001%3AroleName%2Forders"] {
            assert_eq!(role(given).expect("a role"), name);
        }
        assert_eq!(role("%ff").expect_err("no text").kind(), Kind::Validation);
    }

    #[test]
    fn a_default_input_is_json() {
        assert!(check_default_input("").is_ok() && check_default_input(r#"{"n": 1}"#).is_ok());
        assert_eq!(check_default_input("{").expect_err("no JSON").kind().asw(), "InvalidParameterValue");
    }
}
