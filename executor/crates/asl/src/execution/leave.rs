//! Leaving a state: from its data to its output and what it assigns, in both query languages.
//!
//! Invariants: output and assignments are evaluated on the same data and the same variables, and neither sees the other;
//! nothing takes effect unless all of it could be evaluated. What may fail: an evaluation, a choice without a match, data
//! beyond the bound.

use super::assign::Assigned;
use super::context::Context;
use super::dynamic;
use super::flow;
use super::run::{Run, Step};
use super::threads::Work;
use crate::history::{Field, Observer};
use crate::path::{EvalError, Scope};
use crate::program::{Catcher, ChoiceRule, DataFlow, Guard, JsonPathFlow, Kind, Next, Selection, State};
use crate::template::Template;
use crate::value::{Payload, Value};

/// `Assign` and `Output` of a JSONata state, of its rule or of its catcher.
#[derive(Clone, Copy)]
struct Fields<'p> {
    assign: Option<&'p Template>,
    output: Option<&'p Template>,
}

impl<'a, O: Observer> Run<'a, O> {
    pub fn begin_pass(
        &mut self,
        slot: u32,
        state: &'a State,
        result: Option<&Value>,
    ) -> Result<Step, EvalError> {
        let raw = self.take_input(slot);
        let context = self.context(self.threads.at(slot), state);
        let flow = match &state.flow {
            DataFlow::JsonPath(flow) => flow,
            DataFlow::Jsonata(flow) => {
                let fields = Fields { assign: state.assign.as_ref(), output: flow.output.as_ref() };
                return self.leave(slot, fields, &context.scope(raw.value()), &raw, state.next);
            }
        };
        let given = flow::pass_result(flow, &raw, result, &context, &mut self.log)?;
        if result.is_none() {
            self.note_input(slot, &given);
        }
        // Only TCSL has a ResultSelector here.
        let result = flow::result(flow, given, &context, &mut self.log).map_err(EvalError::uncaught)?;
        let assigned = self.assigned_uncaught(slot, state.assign.as_ref(), &result, &context)?;
        let output = flow::merge(flow, raw, result, &context, &mut self.log)?;
        let output = flow::bounded(output, &state.name, self.spent)?;
        Ok(self.leave_with(slot, output, state.next, assigned))
    }

    /// Goes through a state that has neither work nor anything to wait for: Succeed.
    pub fn through(&mut self, slot: u32, state: &State, next: Next) -> Result<Step, EvalError> {
        let input = self.select_input(slot, state)?;
        self.leave_without_work(slot, state, input, next)
    }

    /// Takes the raw input of a state that has no work, and applies its InputPath.
    pub fn select_input(&mut self, slot: u32, state: &State) -> Result<Payload, EvalError> {
        let raw = self.take_input(slot);
        let DataFlow::JsonPath(flow) = &state.flow else { return Ok(raw) };
        if !O::INSPECTS && matches!(flow.input_path, Selection::Whole) {
            return Ok(raw);
        }
        let input = flow::select(&flow.input_path, raw, &self.context(self.threads.at(slot), state))?;
        self.log.data(Field::InputPath, &input);
        self.note_input(slot, &input);
        Ok(input)
    }

    /// Leaves a Wait or Succeed state, from its effective input.
    pub fn leave_without_work(
        &mut self,
        slot: u32,
        state: &State,
        input: Payload,
        next: Next,
    ) -> Result<Step, EvalError> {
        if state.assign.is_none() && flow::result_replaces(&state.flow) {
            return Ok(self.leave_with(slot, input, next, None));
        }
        let context = self.context(self.threads.at(slot), state);
        match &state.flow {
            DataFlow::JsonPath(flow) => {
                self.pass_on(slot, flow, state.assign.as_ref(), input, &context, next)
            }
            DataFlow::Jsonata(flow) => {
                let fields = Fields { assign: state.assign.as_ref(), output: flow.output.as_ref() };
                self.leave(slot, fields, &context.scope(input.value()), &input, next)
            }
        }
    }

    /// The first rule that holds decides what follows, what is assigned and what goes on.
    pub fn choose(&mut self, slot: u32, state: &'a State) -> Result<Step, EvalError> {
        let Kind::Choice { rules, default } = &state.kind else { return Ok(Step::Idle) };
        let input = self.select_input(slot, state)?;
        let context = self.context(self.threads.at(slot), state);
        let scope = context.scope(input.value());
        let rule = first(rules, &scope)?;
        let next = rule.map(|rule| rule.next).or(*default).ok_or_else(no_choice_matched)?;
        let next = Next::State(next);
        let assign = rule.map_or(state.assign.as_ref(), |rule| rule.assign.as_ref());
        match &state.flow {
            DataFlow::JsonPath(flow) => self.pass_on(slot, flow, assign, input, &context, next),
            DataFlow::Jsonata(flow) => {
                let output = rule.map_or(flow.output.as_ref(), |rule| rule.output.as_ref());
                self.leave(slot, Fields { assign, output }, &scope, &input, next)
            }
        }
    }

    /// From the result of a state's work to its output.
    pub fn complete(&mut self, slot: u32, result: Payload) -> Step {
        let state = self.state(slot);
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Ready;
        if !O::INSPECTS && state.assign.is_none() && flow::result_replaces(&state.flow) {
            return match flow::bounded(result, &state.name, self.spent) {
                Ok(output) => self.leave_with(slot, output, state.next, None),
                Err(error) => Step::Fail(slot, self.evaluation_failed(slot, error)),
            };
        }
        // The raw input is still needed where a catcher or a retry may follow.
        let raw = if state.catch.is_empty() && state.retry.is_empty() {
            self.take_input(slot)
        } else {
            thread.input.clone()
        };
        match self.finish_work(slot, state, raw, result) {
            Ok(step) => step,
            Err(error) => Step::Fail(slot, self.evaluation_failed(slot, error)),
        }
    }

    fn finish_work(
        &mut self,
        slot: u32,
        state: &State,
        raw: Payload,
        result: Payload,
    ) -> Result<Step, EvalError> {
        self.log.data(Field::Result, &result);
        let context = self.context(self.threads.at(slot), state);
        let flow = match &state.flow {
            DataFlow::JsonPath(flow) => flow,
            DataFlow::Jsonata(flow) => {
                let scope = Scope { result: Some(result.value()), ..context.scope(raw.value()) };
                let fields = Fields { assign: state.assign.as_ref(), output: flow.output.as_ref() };
                return self.leave(slot, fields, &scope, &result, state.next);
            }
        };
        let assigned = match &state.assign {
            None => None,
            Some(assign) => self.evaluate_assign(slot, assign, &context.scope(result.value()))?,
        };
        let result = flow::result(flow, result, &context, &mut self.log)?;
        let output = flow::merge(flow, raw, result, &context, &mut self.log)?;
        let output = flow::bounded(output, &state.name, self.spent)?;
        Ok(self.leave_with(slot, output, state.next, assigned))
    }

    /// What a catcher passes on and assigns.
    pub fn caught(
        &mut self,
        slot: u32,
        catcher: &Catcher,
        raw: Payload,
        error_output: Value,
    ) -> Result<Step, EvalError> {
        let state = self.state(slot);
        let next = Next::State(catcher.next);
        if matches!(state.flow, DataFlow::Jsonata(_)) {
            let context = self.context(self.threads.at(slot), state);
            let scope = Scope { error_output: Some(&error_output), ..context.scope(raw.value()) };
            let fields = Fields { assign: catcher.assign.as_ref(), output: catcher.output.as_ref() };
            return self.leave(slot, fields, &scope, &Payload::from_value(error_output.clone()), next);
        }
        let assigned = match &catcher.assign {
            None => None,
            Some(assign) => {
                let context = self.context(self.threads.at(slot), state);
                self.evaluate_assign(slot, assign, &context.scope(&error_output))?
            }
        };
        // A cause may quote the state's input, which then holds itself.
        let output = flow::put(&catcher.result_path, raw, Payload::from_value(error_output))?;
        let output = flow::bounded(output, &state.name, self.spent)?;
        Ok(self.leave_with(slot, output, next, assigned))
    }

    /// Hands a state's output over to be left with.
    fn leave_with(&mut self, slot: u32, output: Payload, next: Next, assigned: Assigned) -> Step {
        self.threads.at_mut(slot).input = output;
        Step::Exit(slot, next, assigned)
    }

    /// Leaves a JSONata state. What has no `Output` passes `default` on.
    fn leave(
        &mut self,
        slot: u32,
        fields: Fields<'_>,
        scope: &Scope<'_>,
        default: &Payload,
        next: Next,
    ) -> Result<Step, EvalError> {
        let assigned = match fields.assign {
            None => None,
            Some(assign) => self.evaluate_assign(slot, assign, scope)?,
        };
        let output = match fields.output {
            None => default.clone(),
            Some(output) => Payload::from_value(output.evaluate(scope)?),
        };
        let output = flow::bounded(output, &self.state(slot).name, self.spent)?;
        Ok(self.leave_with(slot, output, next, assigned))
    }

    /// Leaves a JSONPath state that has no work, from its effective input.
    fn pass_on(
        &mut self,
        slot: u32,
        flow: &JsonPathFlow,
        assign: Option<&Template>,
        input: Payload,
        context: &Context<'_>,
        next: Next,
    ) -> Result<Step, EvalError> {
        let assigned = self.assigned_uncaught(slot, assign, &input, context)?;
        let output = flow::select(&flow.output_path, input, context)?;
        Ok(self.leave_with(slot, output, next, assigned))
    }

    /// What a JSONPath state assigns that can catch nothing.
    fn assigned_uncaught(
        &self,
        slot: u32,
        assign: Option<&Template>,
        input: &Payload,
        context: &Context<'_>,
    ) -> Result<Assigned, EvalError> {
        let Some(assign) = assign else { return Ok(None) };
        self.evaluate_assign(slot, assign, &context.scope(input.value())).map_err(EvalError::uncaught)
    }
}

/// The first rule that holds.
fn first<'p>(rules: &'p [ChoiceRule], scope: &Scope<'_>) -> Result<Option<&'p ChoiceRule>, EvalError> {
    for (index, rule) in rules.iter().enumerate() {
        let holds = match &rule.condition {
            Guard::Rule(condition) => condition.evaluate(scope)?,
            Guard::Condition(condition) => {
                dynamic::boolean(condition, format_args!("Choices[{index}]/Condition"), scope)?
            }
        };
        if holds {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

fn no_choice_matched() -> EvalError {
    EvalError::new(
        "States.NoChoiceMatched",
        "Failed to transition out of the state. The state does not point to a next state.",
    )
}
