//! `scheduler.v1.Activities`.

use std::sync::Arc;

use proto::executor::v1::{GetActivityTaskRequest, GetActivityTaskResponse};
use proto::scheduler::v1::activities_server::Activities as Service;
use proto::scheduler::v1::{
    CreateActivityRequest, CreateActivityResponse, DeleteActivityRequest, DeleteActivityResponse,
    DescribeActivityRequest, DescribeActivityResponse, ListActivitiesRequest, ListActivitiesResponse,
};
use tonic::{Request, Response, Status};

use crate::activities::{Activities, Activity, Polls};
use crate::error::Error;
use crate::names::NAME_CHARS_MAX;

/// See the module.
#[derive(Clone)]
pub struct ActivitiesService {
    pub(crate) activities: Arc<Activities>,
    pub(crate) polls: Polls,
}

fn described(activity: Activity) -> DescribeActivityResponse {
    let Activity { arn: activity_arn, name, created_ms: creation_time_ms, .. } = activity;
    DescribeActivityResponse { activity_arn, name, creation_time_ms }
}

#[tonic::async_trait]
impl Service for ActivitiesService {
    async fn create_activity(
        &self,
        request: Request<CreateActivityRequest>,
    ) -> Result<Response<CreateActivityResponse>, Status> {
        let Activity { arn, created_ms, .. } = self.activities.create(&request.into_inner().name).await?;
        Ok(Response::new(CreateActivityResponse { activity_arn: arn, creation_time_ms: created_ms }))
    }

    async fn describe_activity(
        &self,
        request: Request<DescribeActivityRequest>,
    ) -> Result<Response<DescribeActivityResponse>, Status> {
        Ok(Response::new(described(self.activities.describe(&request.into_inner().activity_arn).await?)))
    }

    async fn list_activities(
        &self,
        request: Request<ListActivitiesRequest>,
    ) -> Result<Response<ListActivitiesResponse>, Status> {
        let ListActivitiesRequest { max_results, next_token } = request.into_inner();
        let (page, next_token) = self.activities.list(max_results, &next_token).await?;
        let activities = page.into_iter().map(described).collect();
        Ok(Response::new(ListActivitiesResponse { activities, next_token }))
    }

    async fn delete_activity(
        &self,
        request: Request<DeleteActivityRequest>,
    ) -> Result<Response<DeleteActivityResponse>, Status> {
        self.activities.delete(&request.into_inner().activity_arn).await?;
        Ok(Response::new(DeleteActivityResponse {}))
    }

    async fn get_activity_task(
        &self,
        request: Request<GetActivityTaskRequest>,
    ) -> Result<Response<GetActivityTaskResponse>, Status> {
        executor::grpc::check_activity_worker(&request)?;
        let GetActivityTaskRequest { activity_arn, worker_name } = request.into_inner();
        let characters = worker_name.chars().count();
        if characters > NAME_CHARS_MAX {
            let message =
                format!("worker_name has {characters} characters: at most {NAME_CHARS_MAX} are kept");
            return Err(Error::invalid("InvalidName", message).into());
        }
        self.activities.check(&activity_arn).await?;
        Ok(Response::new(self.polls.get(&activity_arn, worker_name).await?))
    }
}
