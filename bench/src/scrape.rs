//! A process's metrics, in the text format.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::Error;

/// All of them.
///
/// # Errors
/// Nobody listens there.
pub(crate) async fn get(address: &str) -> Result<String, Error> {
    let failed =
        |error: std::io::Error| Error::Connect { address: address.to_owned(), reason: error.to_string() };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(failed)?;
    Ok(text)
}

/// The values of one.
pub(crate) fn values(metrics: &str, name: &str) -> impl Iterator<Item = f64> {
    let lines = metrics
        .lines()
        .filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_whole_and_no_other_that_begins_so() {
        let text = "# HELP a b\na{shard=\"0\"} 2\na{shard=\"1\"} 3.5\nab 7\na 1\n";
        assert_eq!(values(text, "a").collect::<Vec<_>>(), [2.0, 3.5, 1.0]);
    }
}
