//! `scheduler.v1.Templates`.

use std::sync::Arc;

use asl::Dialect;
use ids::{Logging, Mode};
use proto::executor::v1;
use proto::scheduler::v1::templates_server::Templates as Service;
use proto::scheduler::v1::{
    CreateStateMachineRequest, CreateStateMachineResponse, DeleteStateMachineRequest,
    DeleteStateMachineResponse, DescribeStateMachineRequest, DescribeStateMachineResponse,
    ListStateMachinesRequest, ListStateMachinesResponse, StateMachineSummary, UpdateStateMachineRequest,
    UpdateStateMachineResponse,
};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::templates::{Change, NewTemplate, Stored, Summary, Templates};

/// See the module.
#[derive(Clone)]
pub struct TemplatesService(pub(crate) Arc<Templates>);

fn mode(number: i32) -> Result<Mode, Error> {
    match v1::Mode::try_from(number) {
        Ok(v1::Mode::Unspecified | v1::Mode::Standard) => Ok(Mode::Standard),
        Ok(v1::Mode::Express) => Ok(Mode::Express),
        Ok(v1::Mode::SyncExpress) | Err(_) => Err(Error::invalid(
            "ValidationException",
            format!("mode {number} is none: 1 STANDARD, 2 EXPRESS"),
        )),
    }
}

fn dialect(number: i32) -> Result<Dialect, Error> {
    match v1::Dialect::try_from(number) {
        Ok(v1::Dialect::Unspecified | v1::Dialect::Asl) => Ok(Dialect::Asl),
        Ok(v1::Dialect::Tcsl) => Ok(Dialect::Tcsl),
        Err(_) => {
            Err(Error::invalid("ValidationException", format!("dialect {number} is none: 1 ASL, 2 TCSL")))
        }
    }
}

/// What a request says of the export of histories, if anything.
pub(super) fn logging(said: Option<v1::LoggingConfiguration>) -> Result<Option<Logging>, Error> {
    let logging = said.map(Logging::try_from).transpose();
    logging.map_err(|error| Error::invalid("InvalidLoggingConfiguration", format!("`logging`: {error}")))
}

fn wire_dialect(dialect: Dialect) -> v1::Dialect {
    match dialect {
        Dialect::Asl => v1::Dialect::Asl,
        Dialect::Tcsl => v1::Dialect::Tcsl,
    }
}

#[tonic::async_trait]
impl Service for TemplatesService {
    async fn create_state_machine(
        &self,
        request: Request<CreateStateMachineRequest>,
    ) -> Result<Response<CreateStateMachineResponse>, Status> {
        let request = request.into_inner();
        let new = NewTemplate {
            mode: mode(request.mode)?,
            dialect: dialect(request.dialect)?,
            role_arn: request.role_arn,
            comment: request.comment,
            retention_s: request.retention_seconds,
            logging: logging(request.logging)?.unwrap_or_default(),
            ..NewTemplate::new(request.name, request.definition)
        };
        let Stored { template, warnings, .. } = self.0.create(new).await?;
        Ok(Response::new(CreateStateMachineResponse {
            arn: template.arn.clone(),
            creation_time_ms: template.created_ms,
            warnings,
        }))
    }

    async fn update_state_machine(
        &self,
        request: Request<UpdateStateMachineRequest>,
    ) -> Result<Response<UpdateStateMachineResponse>, Status> {
        let UpdateStateMachineRequest {
            arn,
            definition,
            comment,
            retention_seconds,
            role_arn,
            logging: said,
        } = request.into_inner();
        let logging = logging(said)?;
        let retention_s = retention_seconds;
        let change = Change { definition, comment, retention_s, role_arn, logging, ..Change::default() };
        let Stored { template, warnings, .. } = self.0.update(&arn, change).await?;
        Ok(Response::new(UpdateStateMachineResponse {
            version: template.version,
            update_time_ms: template.updated_ms,
            warnings,
        }))
    }

    async fn describe_state_machine(
        &self,
        request: Request<DescribeStateMachineRequest>,
    ) -> Result<Response<DescribeStateMachineResponse>, Status> {
        let DescribeStateMachineRequest { arn, version } = request.into_inner();
        let template = match version {
            // Whatever a task names that starts an execution of it.
            0 => self.0.describe_as(&arn).await?.template,
            version => self.0.describe(&arn, version).await?,
        };
        Ok(Response::new(DescribeStateMachineResponse {
            arn: template.arn.clone(),
            name: template.name.clone(),
            definition: template.definition.clone(),
            definition_hash: template.hash.to_vec().into(),
            mode: v1::Mode::from(template.mode).into(),
            dialect: wire_dialect(template.dialect).into(),
            version: template.version,
            creation_time_ms: template.created_ms,
            update_time_ms: template.updated_ms,
            role_arn: template.role_arn.clone(),
            comment: template.comment.clone(),
            retention_seconds: template.retention_s,
            logging: Some(template.logging.into()),
        }))
    }

    async fn list_state_machines(
        &self,
        request: Request<ListStateMachinesRequest>,
    ) -> Result<Response<ListStateMachinesResponse>, Status> {
        let ListStateMachinesRequest { max_results, next_token } = request.into_inner();
        let (page, next_token) = self.0.list(max_results, &next_token).await?;
        let line = |summary: Summary| StateMachineSummary {
            arn: summary.arn,
            name: summary.name,
            mode: v1::Mode::from(summary.mode).into(),
            version: summary.version,
            creation_time_ms: summary.created_ms,
            role_arn: summary.role_arn,
        };
        let state_machines = page.into_iter().map(line).collect();
        Ok(Response::new(ListStateMachinesResponse { state_machines, next_token }))
    }

    async fn delete_state_machine(
        &self,
        request: Request<DeleteStateMachineRequest>,
    ) -> Result<Response<DeleteStateMachineResponse>, Status> {
        self.0.delete(&request.into_inner().arn).await?;
        Ok(Response::new(DeleteStateMachineResponse {}))
    }
}
