//! ARNs (Step Functions) and QRNs (ASW): two spellings of the same names.

use std::fmt;

use crate::{ExecutionId, IdError, Mode, PartitionId};

/// Names a state machine. `text` is the ARN or QRN as given; the parts are slices of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MachineName {
    text: String,
    name_at: usize,
}

const MACHINE: &str = "a state machine ARN (arn:aws:states:REGION:ACCOUNT:stateMachine:NAME) \
     or QRN (qrn:qcs:asw:REGION:APPID:http:json:flowmachine:NAME:ID)";
const EXECUTION: &str = "an execution id, ARN (arn:aws:states:REGION:ACCOUNT:execution:MACHINE:NAME) \
     or QRN (qrn:qcs:asw:REGION:APPID:execution:ID:NAME)";

const ROLE: &str =
    "the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME) or its QRN (qcs::cam::uin/UIN:roleName/NAME)";

/// Whether a text names a role, in Amazon's or Tencent's spelling.
///
/// # Errors
/// [`IdError::Name`] when it does not.
pub fn check_role(text: &str) -> Result<(), IdError> {
    let parts: Vec<&str> = text.split(':').collect();
    let names = |text: &str, kind: &str| text.strip_prefix(kind).is_some_and(|name| !name.is_empty());
    let is_role = match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            !partition.is_empty() && !account.is_empty() && names(role, "role/")
        }
        ["qcs", "", "cam", "", owner, role] => {
            names(owner, "uin/") && (names(role, "roleName/") || names(role, "role/"))
        }
        _ => false,
    };
    if is_role && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(IdError::Name { text: text.chars().take(256).collect(), expected: ROLE })
}

impl MachineName {
    /// The ARN of a machine.
    #[must_use]
    pub fn arn(region: &str, account: &str, name: &str) -> Self {
        let text = format!("arn:aws:states:{region}:{account}:stateMachine:{name}");
        let name_at = text.len() - name.len();
        Self { text, name_at }
    }

    /// # Errors
    /// [`IdError::Name`] when the text is neither spelling.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let parts: Vec<&str> = text.split(':').collect();
        let name = match parts.as_slice() {
            ["arn", _, "states", _, _, "stateMachine", name] if !name.is_empty() => *name,
            ["qrn", "qcs", "asw", _, _, "http", "json", "flowmachine", name, id]
                if !name.is_empty() && !id.is_empty() =>
            {
                *name
            }
            _ => return Err(IdError::Name { text: text.chars().take(256).collect(), expected: MACHINE }),
        };
        let name_at = name.as_ptr() as usize - text.as_ptr() as usize;
        Ok(Self { text: text.to_owned(), name_at })
    }

    /// The whole ARN or QRN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The machine's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text[self.name_at..].split(':').next().unwrap_or_default()
    }

    /// How this machine is called inside its executions' names: its name (ARN) or its id (QRN).
    #[must_use]
    pub fn execution_segment(&self) -> &str {
        self.text.rsplit(':').next().unwrap_or_default()
    }

    /// How a STANDARD execution of this machine is called that has a caller's name.
    #[must_use]
    pub fn named_execution(&self, name: &str) -> String {
        let parts: Vec<&str> = self.text.split(':').collect();
        match parts.as_slice() {
            ["qrn", _, _, region, appid, .., machine_id] => {
                format!("qrn:qcs:asw:{region}:{appid}:execution:{machine_id}:{name}")
            }
            ["arn", partition, _, region, account, _, machine] => {
                format!("arn:{partition}:states:{region}:{account}:execution:{machine}:{name}")
            }
            // `parse` and `arn` make no other.
            _ => name.to_owned(),
        }
    }

    /// How an execution of this machine is called: `name` is the caller's, or the text of its id. EXPRESS executions share names,
    /// so that theirs end with the id.
    #[must_use]
    pub fn execution(&self, mode: Mode, name: &str, id: ExecutionId) -> String {
        let parts: Vec<&str> = self.text.split(':').collect();
        match (parts.as_slice(), mode) {
            (_, Mode::Standard) => self.named_execution(name),
            (["arn", partition, _, region, account, _, machine], _) => {
                format!("arn:{partition}:states:{region}:{account}:express:{machine}:{name}:{id}")
            }
            // A QRN has one place for both.
            _ => self.named_execution(&id.to_string()),
        }
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a user may write to name an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionName {
    /// An id, bare or as the last segment of an ARN or QRN.
    Id(ExecutionId),
    /// A name that a caller chose.
    Named {
        /// The machine's name (ARN) or id (QRN).
        machine: String,
        /// The execution's name.
        name: String,
    },
}

/// Where a STANDARD execution with a caller's name lives: the owner of this partition alone decides whether the name is
/// free. `machine` is [`MachineName::execution_segment`], `partitions` the number of partitions of the cluster.
///
/// # Errors
/// [`IdError::Partition`] when `partitions` is 0 or above [`crate::PARTITIONS_MAX`].
pub fn partition_of_name(machine: &str, name: &str, partitions: u16) -> Result<PartitionId, IdError> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(machine.as_bytes());
    hasher.update(b":");
    hasher.update(name.as_bytes());
    match hasher.finalize().checked_rem(u32::from(partitions)) {
        Some(number) => PartitionId::new(number),
        None => Err(IdError::Partition(0)),
    }
}

impl ExecutionName {
    /// The partition whose owner knows this execution.
    ///
    /// # Errors
    /// [`IdError::Partition`] when `partitions` is 0 or above [`crate::PARTITIONS_MAX`].
    pub fn partition(&self, partitions: u16) -> Result<PartitionId, IdError> {
        match self {
            Self::Id(id) => Ok(id.batch.partition),
            Self::Named { machine, name } => partition_of_name(machine, name, partitions),
        }
    }

    /// # Errors
    /// [`IdError::Name`] when the text is neither an id, an ARN nor a QRN.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (machine, name, id) = match parts.as_slice() {
            ["arn", _, "states", _, _, "execution", machine, name] => (*machine, *name, *name),
            ["arn", _, "states", _, _, "express", machine, name, id] => (*machine, *name, *id),
            ["qrn", "qcs", "asw", _, _, "execution", machine, name] => (*machine, *name, *name),
            _ => return Err(IdError::Name { text: text.chars().take(256).collect(), expected: EXECUTION }),
        };
        Ok(match id.parse() {
            Ok(id) => Self::Id(id),
            Err(_) => Self::Named { machine: machine.to_owned(), name: name.to_owned() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchId, PartitionId};

    fn id() -> ExecutionId {
        BatchId::new(PartitionId::new(7).expect("in range"), 3, 99).expect("in range").execution(5)
    }

    #[test]
    fn every_spelling_of_an_execution_leads_back_to_its_id() {
        let generated = id().to_string();
        let machines = [
            "arn:aws:states:us-east-1:123456789012:stateMachine:orders",
            "qrn:qcs:asw:ap-guangzhou:1300000000:http:json:flowmachine:orders:abcd1234",
        ];
        for machine in machines {
            let machine = MachineName::parse(machine).expect("a machine");
            assert_eq!(machine.name(), "orders");
            for mode in [Mode::Standard, Mode::Express] {
                let text = machine.execution(mode, &generated, id());
                assert_eq!(ExecutionName::parse(&text), Ok(ExecutionName::Id(id())), "{text}");
            }
        }
    }

    #[test]
    fn an_express_execution_is_found_by_its_id_for_others_may_have_its_name() {
        for machine in [
            "arn:aws:states:us-east-1:123456789012:stateMachine:orders",
            "qrn:qcs:asw:ap-guangzhou:1300000000:http:json:flowmachine:orders:abcd1234",
        ] {
            let machine = MachineName::parse(machine).expect("a machine");
            for mode in [Mode::Express, Mode::SyncExpress] {
                let text = machine.execution(mode, "monday", id());
                assert_eq!(ExecutionName::parse(&text), Ok(ExecutionName::Id(id())), "{text}");
            }
        }
    }

    #[test]
    fn a_callers_name_stays_a_name() {
        let parsed = ExecutionName::parse("arn:aws:states:us-east-1:123456789012:execution:orders:monday");
        assert_eq!(parsed, Ok(ExecutionName::Named { machine: "orders".into(), name: "monday".into() }));
    }

    #[test]
    fn a_named_start_and_its_look_up_meet_in_the_same_partition() {
        for machine in [
            "arn:aws:states:us-east-1:123456789012:stateMachine:orders",
            "qrn:qcs:asw:ap-guangzhou:1300000000:http:json:flowmachine:orders:abcd1234",
        ] {
            let machine = MachineName::parse(machine).expect("a machine");
            let text = machine.execution(Mode::Standard, "monday", id());
            let looked_up = ExecutionName::parse(&text).expect("an execution").partition(64);
            assert_eq!(looked_up, partition_of_name(machine.execution_segment(), "monday", 64));
            assert!(looked_up.is_ok());
        }
        assert!(partition_of_name("orders", "monday", 0).is_err());
    }

    #[test]
    fn roles_are_told_from_other_texts() {
        for role in [
            "arn:aws:iam::123456789012:role/orders",
            "arn:aws-cn:iam::123456789012:role/service-role/orders",
            "qcs::cam::uin/100000000001:roleName/orders",
            "qcs::cam::uin/100000000001:role/4611686018427397919",
            "qcs::cam::uin/100000000001:role/tencentcloudServiceRoleName/ASW_QCSRole",
        ] {
            assert_eq!(check_role(role), Ok(()), "{role}");
        }
        for other in [
            "orders",
            "arn:aws:iam::123456789012:user/orders",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/orders\n",
            "arn:aws:states:r:123456789012:stateMachine:orders",
            "qcs::cam::uin/:roleName/orders",
            "qcs::cos::uin/1:roleName/orders",
        ] {
            let error = check_role(other).expect_err(other).to_string();
            assert!(error.contains("arn:aws:iam::ACCOUNT:role/NAME"), "{error}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_was_expected() {
        let error = MachineName::parse("orders").expect_err("no ARN").to_string();
        assert!(error.contains("stateMachine:NAME"), "{error}");
        assert!(ExecutionName::parse("arn:aws:s3:::bucket").is_err());
    }
}
