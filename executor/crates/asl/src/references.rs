//! Which variables each state of a program refers to: the `variableReferences` of DescribeStateMachine.
//!
//! Derived when asked for, never kept. Names come without their `$`, each once a state, in the order of their first
//! use. A function that an expression uses as a value (`$map(x, $string)`) looks like a variable; it counts as one only
//! where the machine assigns that name. What may fail: nothing.

use std::collections::HashSet;

use crate::jsonata;
use crate::program::{
    Catcher, ChoiceRule, DataFlow, Distributed, Dynamic, Graph, Guard, Kind, MapState, Program, Selection,
    State, TaskState, Text, Wait,
};
use crate::template::Template;
use crate::value::Str;

/// Takes the names of variables.
type Found<'a> = &'a mut dyn FnMut(&Str);

impl Program {
    /// The states that refer to variables, in the order of the definition, each with their names.
    #[must_use]
    pub fn variable_references(&self) -> Vec<(Str, Vec<Str>)> {
        let mut references = Vec::new();
        graph(&self.root, &mut references);
        let is_function = |name: &Str| jsonata::is_function(name);
        if references.iter().any(|(_, names)| names.iter().any(is_function)) {
            let mut assigned = HashSet::default();
            assigned_names(&self.root, &mut assigned);
            for (_, names) in &mut references {
                names.retain(|name| !is_function(name) || assigned.contains(name));
            }
            references.retain(|(_, names)| !names.is_empty());
        }
        references
    }
}

/// As deep as the definition nests Parallel and Map states.
fn graph(graph: &Graph, references: &mut Vec<(Str, Vec<Str>)>) {
    for state in &graph.states {
        let mut names: Vec<Str> = Vec::new();
        of_state(state, &mut |name| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        });
        if !names.is_empty() {
            references.push((state.name.clone(), names));
        }
        match &state.kind {
            Kind::Parallel { branches } => branches.iter().for_each(|branch| self::graph(branch, references)),
            Kind::Map(map) => self::graph(&map.processor, references),
            _ => {}
        }
    }
}

/// What the states of a graph assign, their rules and catchers, and all that is inside.
fn assigned_names(graph: &Graph, names: &mut HashSet<Str, foldhash::fast::RandomState>) {
    for state in &graph.states {
        let rules: &[ChoiceRule] = match &state.kind {
            Kind::Choice { rules, .. } => rules,
            _ => &[],
        };
        let assigns = rules.iter().map(|rule| &rule.assign).chain([&state.assign]);
        let assigns = assigns.chain(state.catch.iter().map(|catcher| &catcher.assign));
        names.extend(assigns.flatten().flat_map(Template::keys).cloned());
        match &state.kind {
            Kind::Parallel { branches } => branches.iter().for_each(|branch| assigned_names(branch, names)),
            Kind::Map(map) => assigned_names(&map.processor, names),
            _ => {}
        }
    }
}

fn of_state(state: &State, found: Found<'_>) {
    of_flow(&state.flow, found);
    match &state.kind {
        Kind::Task(task) => of_task(task, found),
        Kind::Choice { rules, .. } => rules.iter().for_each(|rule| of_rule(rule, found)),
        Kind::Wait(Wait::Seconds(seconds)) => of_dynamic(Some(seconds), found),
        Kind::Wait(Wait::Until(instant)) => of_dynamic(Some(instant), found),
        Kind::Fail { error, cause } => {
            of_text(error.as_ref(), found);
            of_text(cause.as_ref(), found);
        }
        Kind::Map(map) => of_map(map, found),
        Kind::Pass { .. } | Kind::Succeed | Kind::Parallel { .. } => {}
    }
    of_template(state.assign.as_ref(), found);
    state.catch.iter().for_each(|catcher| of_catcher(catcher, found));
}

fn of_flow(flow: &DataFlow, found: Found<'_>) {
    match flow {
        DataFlow::JsonPath(flow) => {
            of_selection(&flow.input_path, found);
            of_template(flow.parameters.as_ref(), found);
            of_template(flow.result_selector.as_ref(), found);
            of_selection(&flow.output_path, found);
        }
        DataFlow::Jsonata(flow) => {
            of_template(flow.arguments.as_ref(), found);
            of_template(flow.output.as_ref(), found);
        }
    }
}

fn of_task(task: &TaskState, found: Found<'_>) {
    of_dynamic(task.timeout_seconds.as_ref(), found);
    of_dynamic(task.heartbeat_seconds.as_ref(), found);
    of_template(task.credentials.as_ref(), found);
}

fn of_map(map: &MapState, found: Found<'_>) {
    if let Some(path) = &map.items_path {
        path.variables(found);
    }
    of_template(map.items.as_ref(), found);
    of_template(map.item_selector.as_ref(), found);
    of_dynamic(Some(&map.max_concurrency), found);
    if let Some(distributed) = &map.distributed {
        of_distributed(distributed, found);
    }
}

fn of_distributed(distributed: &Distributed, found: Found<'_>) {
    if let Some(reader) = &distributed.reader {
        of_template(reader.parameters.as_ref(), found);
        of_dynamic(reader.max_items.as_ref(), found);
    }
    if let Some(batcher) = &distributed.batcher {
        of_dynamic(batcher.max_items.as_ref(), found);
        of_dynamic(batcher.max_bytes.as_ref(), found);
        of_template(batcher.input.as_ref(), found);
    }
    let writing = distributed.writer.as_ref().and_then(|writer| writer.writing.as_ref());
    of_template(writing.map(|writing| &writing.parameters), found);
    of_dynamic(distributed.tolerated_count.as_ref(), found);
    of_dynamic(distributed.tolerated_percentage.as_ref(), found);
}

fn of_rule(rule: &ChoiceRule, found: Found<'_>) {
    match &rule.condition {
        Guard::Rule(condition) => condition.variables(found),
        Guard::Condition(condition) => of_dynamic(Some(condition), found),
    }
    of_template(rule.assign.as_ref(), found);
    of_template(rule.output.as_ref(), found);
}

fn of_catcher(catcher: &Catcher, found: Found<'_>) {
    of_template(catcher.assign.as_ref(), found);
    of_template(catcher.output.as_ref(), found);
}

fn of_selection(selection: &Selection, found: Found<'_>) {
    if let Selection::Path(path) = selection {
        path.variables(found);
    }
}

fn of_dynamic<T>(value: Option<&Dynamic<T>>, found: Found<'_>) {
    match value {
        None | Some(Dynamic::Constant(_)) => {}
        Some(Dynamic::Path(path)) => path.variables(found),
        Some(Dynamic::Expression(expression)) => expression.references().variables.iter().for_each(found),
    }
}

fn of_text(text: Option<&Text>, found: Found<'_>) {
    match text {
        None | Some(Text::Constant(_)) => {}
        Some(Text::Path(path)) => path.variables(found),
        Some(Text::Intrinsic(intrinsic)) => {
            intrinsic.paths().into_iter().for_each(|path| path.variables(found));
        }
        Some(Text::Expression(expression)) => expression.references().variables.iter().for_each(found),
    }
}

fn of_template(template: Option<&Template>, found: Found<'_>) {
    if let Some(template) = template {
        template.variables(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Dialect;

    fn references(states: &str) -> Vec<(String, Vec<String>)> {
        let text = format!(r#"{{"StartAt":"A","States":{{{states}}}}}"#);
        let compiled = Program::compile(text.as_bytes(), Dialect::Asl).unwrap();
        let listed = compiled.program.variable_references().into_iter();
        let plain = |names: Vec<Str>| names.into_iter().map(String::from).collect();
        listed.map(|(state, names)| (String::from(state), plain(names))).collect()
    }

    fn one(name: &str, names: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn each_state_lists_its_variables_once_and_states_without_any_are_left_out() {
        let states = r#""A":{"Type":"Pass","Assign":{"x":1,"y.$":"$.x"},"Next":"B"},
            "B":{"Type":"Pass","InputPath":"$x.a","Parameters":{"p.$":"$y","q":[{"r.$":"$x"}]},"Next":"C"},
            "C":{"Type":"Succeed","OutputPath":"$.x"}"#;
        assert_eq!(references(states), [one("B", &["x", "y"])]);
    }

    #[test]
    fn every_field_that_takes_a_path_counts() {
        let states = r#""A":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:f",
                "TimeoutSecondsPath":"$a","HeartbeatSecondsPath":"$b","Credentials":{"RoleArn.$":"$c"},
                "ResultSelector":{"s.$":"$d"},"OutputPath":"$e","Assign":{"x.$":"$f"},
                "Catch":[{"ErrorEquals":["E"],"Next":"B","Assign":{"x.$":"$g"}}],"Next":"B"},
            "B":{"Type":"Choice","Choices":[{"Not":{"Variable":"$h","StringEqualsPath":"$i"},
                "Assign":{"y.$":"$j"},"Next":"C"}],"Default":"C"},
            "C":{"Type":"Wait","SecondsPath":"$k","Next":"D"},
            "D":{"Type":"Map","ItemsPath":"$l","ItemSelector":{"m.$":"$m"},"MaxConcurrencyPath":"$n","Next":"E",
                "ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Succeed","InputPath":"$o"}}}},
            "E":{"Type":"Fail","ErrorPath":"$p","CausePath":"$q"}"#;
        let expected = [
            one("A", &["d", "e", "a", "b", "c", "f", "g"]),
            one("B", &["h", "i", "j"]),
            one("C", &["k"]),
            one("D", &["l", "m", "n"]),
            one("I", &["o"]),
            one("E", &["p", "q"]),
        ];
        assert_eq!(references(states), expected);
    }

    #[test]
    fn functions_used_as_values_are_no_variables_unless_the_machine_assigns_the_name() {
        let states = r#""A":{"QueryLanguage":"JSONata","Type":"Pass",
                "Output":"{% $map([1], $string) ~> $append($x) %}","Assign":{"count":1},"Next":"B"},
            "B":{"QueryLanguage":"JSONata","Type":"Choice","Choices":[{"Condition":"{% $count > 0 %}","Next":"C",
                "Output":"{% ($local := $y; $local) %}"}]},
            "C":{"QueryLanguage":"JSONata","Type":"Wait","Seconds":"{% $z %}","Next":"D"},
            "D":{"QueryLanguage":"JSONata","Type":"Pass","Output":"{% $map([1], $string) %}","End":true}"#;
        assert_eq!(references(states), [one("A", &["x"]), one("B", &["count", "y"]), one("C", &["z"])]);
    }

    #[test]
    fn readers_batchers_writers_and_tolerances_count() {
        let states = r#""A":{"Type":"Map","End":true,"ToleratedFailureCountPath":"$f",
            "ToleratedFailurePercentagePath":"$g",
            "ItemReader":{"Resource":"arn:aws:states:::s3:getObject","Parameters":{"Bucket.$":"$a","Key":"k"},
                "ReaderConfig":{"InputType":"JSON","MaxItemsPath":"$b"}},
            "ItemBatcher":{"MaxItemsPerBatchPath":"$c","MaxInputBytesPerBatchPath":"$d","BatchInput":{"x.$":"$e"}},
            "ResultWriter":{"Resource":"arn:aws:states:::s3:putObject","Parameters":{"Bucket.$":"$h"}},
            "ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED","ExecutionType":"EXPRESS"},
                "StartAt":"I","States":{"I":{"Type":"Succeed"}}}}"#;
        let found = references(states);
        let all: String = found[0].1.concat();
        assert_eq!((found[0].0.as_str(), all.as_str()), ("A", "abcdehfg"));
    }
}
