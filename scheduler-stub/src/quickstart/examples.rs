//! The example workflows, compiled in: quick start works from any directory.

use asl::Dialect;
use ids::Mode;

/// An example with its sample inputs.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The machine's name.
    pub name: &'static str,
    /// Where it stands in the repository.
    pub file: &'static str,
    /// The text of its definition.
    pub definition: &'static str,
    /// A JSON array of inputs.
    pub inputs: &'static str,
    /// The language of its definition.
    pub dialect: Dialect,
    /// How its executions are kept.
    pub mode: Mode,
    /// Of a hundred executions of the quick start, how many run this one.
    pub share: usize,
}

/// Those whose tasks are done by workers: thousands of executions.
pub const EXAMPLES: [Example; 2] = [
    Example {
        name: "order-pipeline",
        file: "scheduler-stub/examples/order-pipeline.asl.json",
        definition: include_str!("../../examples/order-pipeline.asl.json"),
        inputs: include_str!("../../examples/order-pipeline.inputs.json"),
        dialect: Dialect::Asl,
        mode: Mode::Standard,
        share: 75,
    },
    Example {
        name: "approval",
        file: "scheduler-stub/examples/approval.asl.json",
        definition: include_str!("../../examples/approval.asl.json"),
        inputs: include_str!("../../examples/approval.inputs.json"),
        dialect: Dialect::Asl,
        mode: Mode::Standard,
        share: 25,
    },
];

/// Those whose tasks the node does itself, over the network: each sample once.
pub const CALLING: [Example; 2] = [
    Example {
        name: "parcel",
        file: "scheduler-stub/examples/parcel.asl.json",
        definition: include_str!("../../examples/parcel.asl.json"),
        inputs: include_str!("../../examples/parcel.inputs.json"),
        dialect: Dialect::Asl,
        mode: Mode::Standard,
        share: 0,
    },
    Example {
        name: "video-caption",
        file: "scheduler-stub/examples/video-caption.tcsl.json",
        definition: include_str!("../../examples/video-caption.tcsl.json"),
        inputs: include_str!("../../examples/video-caption.inputs.json"),
        dialect: Dialect::Tcsl,
        mode: Mode::Standard,
        share: 0,
    },
];

impl Example {
    /// The sample inputs, each as JSON text.
    ///
    /// # Errors
    /// The file is no JSON array: a mistake in the repository, which its test finds.
    pub fn inputs(&self) -> Result<Vec<String>, serde_json::Error> {
        let inputs: Vec<serde_json::Value> = serde_json::from_str(self.inputs)?;
        Ok(inputs.iter().map(ToString::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use asl::Program;

    use super::*;

    #[test]
    fn every_example_compiles_without_a_warning_and_has_inputs() {
        for example in EXAMPLES.iter().chain(&CALLING) {
            let compiled = Program::compile(example.definition.as_bytes(), example.dialect);
            let compiled = compiled.unwrap_or_else(|problems| panic!("{}: {problems:?}", example.file));
            assert!(compiled.warnings.is_empty(), "{}: {:?}", example.file, compiled.warnings);
            assert!(!example.inputs().expect("a JSON array").is_empty(), "{}", example.file);
        }
        assert_eq!(EXAMPLES.iter().map(|example| example.share).sum::<usize>(), 100);
    }
}
