//! The folder or bucket: what is written, listed, read and deleted there.
//!
//! Invariants: credentials come from the environment (`AWS_…`, a web identity, the instance's metadata) and stand in no
//! message; a file is synced before it counts as written; what is there is not written again; each call is tried again for some seconds, and then fails.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use ids::PartitionId;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use crate::builder::Segment;
use crate::cache::Cache;
use crate::index::{Index, TAIL_BYTES, Tail};
use crate::name::{SegmentName, folder};
use crate::view::View;
use crate::{ArchiveError, index};

/// Bytes at the end of a segment that are read at once: most indexes are shorter.
const END_BYTES: u64 = 256 << 10;
/// How long one call may take.
const CALL: Duration = Duration::from_secs(60);
/// How long a failed call is tried again.
const RETRIES: RetryConfigTimes = RetryConfigTimes { times: 3, within: Duration::from_secs(20) };
/// Segments that are deleted at once.
const DELETED_AT_ONCE: usize = 8;

struct RetryConfigTimes {
    times: usize,
    within: Duration,
}

/// Where an archive is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// `file:///DIRECTORY` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// Of an S3-compatible store that is not Amazon's, for example `https://minio:9000`.
    pub endpoint: Option<String>,
    /// Of the bucket.
    pub region: Option<String>,
}

/// See the module.
pub struct Archive {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    cache: Cache,
    url: String,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Waiting for its thread is not possible where a future drops the archive; what is half written is not there.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn wrong(setting: &'static str, message: impl Into<String>) -> ArchiveError {
    ArchiveError::Setting { setting, message: message.into() }
}

fn failed(done: &'static str) -> impl Fn(object_store::Error) -> ArchiveError {
    move |source| ArchiveError::Objects { done, source }
}

fn directory(url: &str, path: &str) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    if !path.starts_with('/') {
        let message = format!("{url:?} names no directory from the root on, as file:///var/lib/myriad does");
        return Err(wrong("--archive", message));
    }
    let path = PathBuf::from(path);
    let made = std::fs::create_dir_all(&path).map_err(|error| error.to_string());
    let opened =
        made.and_then(|()| LocalFileSystem::new_with_prefix(&path).map_err(|error| error.to_string()));
    let objects =
        opened.map_err(|message| ArchiveError::Directory { path: path.display().to_string(), message })?;
    Ok(Arc::new(objects.with_fsync(true)))
}

fn bucket(options: &ArchiveOptions, bucket: &str) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
    // Another library may have set it; there is but one that we use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plain = options.endpoint.as_deref().is_none_or(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new()
        .with_timeout(CALL)
        .with_connect_timeout(Duration::from_secs(5))
        .with_allow_http(plain);
    let retry =
        RetryConfig { max_retries: RETRIES.times, retry_timeout: RETRIES.within, ..RetryConfig::default() };
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    // One by one: not every store that speaks S3 has the call for many.
    builder = builder.with_disable_bulk_delete(true);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let built = builder.build().map_err(|error| wrong("--archive", error.to_string()))?;
    Ok(Arc::new(built))
}

impl Archive {
    /// The archive at this place. A bucket is not asked for yet; a directory is made.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`], [`ArchiveError::Thread`].
    pub fn open(options: &ArchiveOptions) -> Result<Self, ArchiveError> {
        let url = options.url.trim_end_matches('/');
        let (objects, prefix) = match url.split_once("://") {
            Some(("file", path)) => (directory(url, path)?, Path::default()),
            Some(("s3", place)) if !place.trim_start_matches('/').is_empty() => {
                let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
                let prefix = Path::parse(prefix).map_err(|error| wrong("--archive", error.to_string()))?;
                (bucket(options, name)?, prefix)
            }
            _ => {
                let message =
                    format!("{:?} is neither file:///DIRECTORY nor s3://BUCKET/PREFIX", options.url);
                return Err(wrong("--archive", message));
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("archive")
            .enable_all()
            .build()
            .map_err(|error| ArchiveError::Thread(error.to_string()))?;
        Ok(Self { objects, prefix, cache: Cache::default(), url: url.to_owned(), runtime: Some(runtime) })
    }

    /// Where it is, for people and to tell archives apart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Does something on the archive's thread.
    ///
    /// # Errors
    /// [`ArchiveError::Thread`] when it did not come to an end.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let runtime = self.runtime.as_ref().ok_or_else(|| ArchiveError::Thread("it has ended".to_owned()))?;
        runtime.spawn(work).await.map_err(|error| ArchiveError::Thread(error.to_string()))
    }

    /// What is there at this time, as a log is read; for one question.
    #[must_use]
    pub fn view(self: &Arc<Self>, now_ms: u64) -> View {
        View::new(Arc::clone(self), now_ms)
    }

    fn place(&self, name: &SegmentName) -> Path {
        let text = name.to_string();
        text.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Writes a segment; returns when it is durable. Writing it again changes nothing: what is there may have more in it than
    /// what can be read of the log today.
    ///
    /// # Errors
    /// [`ArchiveError::Objects`].
    pub async fn put(&self, segment: &Segment) -> Result<(), ArchiveError> {
        let place = self.place(&segment.name);
        let payload = PutPayload::from_bytes(segment.bytes.clone());
        let create = PutOptions::from(PutMode::Create);
        if self.objects.put_opts(&place, payload.clone(), create).await.is_ok() {
            return Ok(());
        }
        // It is there, or the answer was lost, or the store cannot tell: not every one knows this condition.
        match self.objects.head(&place).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed("written")(error)),
        }
        self.objects.put(&place, payload).await.map_err(failed("written"))?;
        Ok(())
    }

    /// The segments of a partition, the newest first.
    ///
    /// # Errors
    /// [`ArchiveError::Objects`].
    pub async fn segments(&self, partition: PartitionId) -> Result<Vec<SegmentName>, ArchiveError> {
        let folder = folder(partition);
        let prefix = self.prefix.clone().join(folder.as_str());
        let mut found = Vec::new();
        let mut listed = self.objects.list(Some(&prefix));
        while let Some(object) = listed.try_next().await.map_err(failed("listed"))? {
            let name = object.location.filename().and_then(|name| SegmentName::parse(&folder, name));
            found.extend(name);
        }
        found.sort_by_key(|name| std::cmp::Reverse((name.last, name.first)));
        Ok(found)
    }

    /// Deletes segments of a partition whose time has passed, at most `limit` of them; says how many.
    ///
    /// # Errors
    /// [`ArchiveError::Objects`].
    pub async fn expire(
        &self,
        partition: PartitionId,
        now_ms: u64,
        limit: usize,
    ) -> Result<usize, ArchiveError> {
        let segments = self.segments(partition).await?;
        let expired = segments.iter().filter(|name| name.until_ms < now_ms).take(limit);
        let places: Vec<Path> = expired.map(|name| self.place(name)).collect();
        let deletes = futures_util::stream::iter(places)
            .map(|place| async move {
                match self.objects.delete(&place).await {
                    // Somebody else was quicker.
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(failed("cleared")(error)),
                }
            })
            .buffer_unordered(DELETED_AT_ONCE);
        deletes.try_fold(0, |count, ()| std::future::ready(Ok(count + 1))).await
    }

    /// A segment's index; `None` when the segment is there no more.
    pub(crate) async fn index(&self, name: &SegmentName) -> Result<Option<Arc<Index>>, ArchiveError> {
        let key = name.to_string();
        if let Some(index) = self.cache.get(&key) {
            return Ok(Some(index));
        }
        let place = self.place(name);
        let Some((size, end)) = self.end(&place).await? else { return Ok(None) };
        let cut = || ArchiveError::Corrupt(format!("{key} is cut"));
        let (rest, tail) = end.split_at_checked(end.len().saturating_sub(TAIL_BYTES)).ok_or_else(cut)?;
        let tail = Tail::parse(tail, name.partition)?;
        let stored = match rest.len().checked_sub(tail.index_length as usize) {
            Some(from) => Bytes::copy_from_slice(&rest[from..]),
            None if tail.index_length < size.min(index::RAW_BYTES_MAX) => {
                let to = size - TAIL_BYTES as u64;
                let from = to.checked_sub(tail.index_length).ok_or_else(cut)?;
                self.objects.get_range(&place, from..to).await.map_err(failed("read"))?
            }
            None => return Err(cut()),
        };
        let index = Arc::new(Index::parse(&stored, tail)?);
        self.cache.put(key, &index);
        Ok(Some(index))
    }

    /// How long an object is, and its end.
    async fn end(&self, place: &Path) -> Result<Option<(u64, Bytes)>, ArchiveError> {
        let options =
            object_store::GetOptions { range: Some(GetRange::Suffix(END_BYTES)), ..Default::default() };
        match self.objects.get_opts(place, options).await {
            Ok(found) => {
                let size = found.meta.size;
                Ok(Some((size, found.bytes().await.map_err(failed("read"))?)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read")(error)),
        }
    }

    /// A part of a segment; `None` when the segment is there no more.
    pub(crate) async fn part(
        &self,
        name: &SegmentName,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, ArchiveError> {
        match self.objects.get_range(&self.place(name), range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("read")(error)),
        }
    }
}
