//! The flags of the front door.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::doors::{Callers, HttpConfig, HttpTls};

/// The options of the front door, whoever has one.
#[derive(Debug, Args)]
#[command(next_help_heading = "Front door")]
pub(super) struct HttpFlags {
    /// Where Step Functions' API and ASW's are served by HTTP. Port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_HTTP_LISTEN")]
    http_listen: Option<SocketAddr>,
    /// Threads that serve them
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    http_threads: u16,
    /// Let everybody on this machine in, without signatures; on loopback alone
    #[arg(long, requires = "http_listen", conflicts_with = "access_keys")]
    no_auth: bool,
    /// File of access keys and their rights (docs/front-doors.md). Read again when it changes
    #[arg(long, value_name = "FILE", env = "MYRIAD_ACCESS_KEYS", requires = "http_listen")]
    access_keys: Option<PathBuf>,
    /// Authorization service, which is asked for rights of keys with `ask = true`
    #[arg(long, value_name = "URL", env = "MYRIAD_AUTH", requires = "http_listen")]
    auth: Option<String>,
    /// Certificate of the front door (PEM), and those between it and the authority. Read again when it changes
    #[arg(long, value_name = "FILE", env = "MYRIAD_HTTP_TLS_CERT", requires_all = ["http_listen", "http_tls_key"])]
    http_tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "MYRIAD_HTTP_TLS_KEY", requires = "http_tls_cert")]
    http_tls_key: Option<PathBuf>,
}

impl HttpFlags {
    /// As configuration; `None`: there is to be no door.
    ///
    /// # Errors
    /// In words: what is missing.
    pub fn config(&self) -> Result<Option<HttpConfig>, String> {
        let Some(listen) = self.http_listen else { return Ok(None) };
        let tls = self
            .http_tls_cert
            .clone()
            .zip(self.http_tls_key.clone())
            .map(|(cert, key)| HttpTls { cert, key });
        let off_loopback = !listen.ip().is_loopback();
        let callers = match &self.access_keys {
            Some(file) => Callers::Keys { file: file.clone(), auth: self.auth.clone() },
            None if off_loopback => {
                return Err(format!(
                    "--http-listen {listen}: other machines could reach it: name a file of access keys with --access-keys, or listen \
                     on 127.0.0.1"
                ));
            }
            None if self.auth.is_some() => {
                return Err(
                    "--auth is asked for rights of keys: name their file with --access-keys".to_owned()
                );
            }
            None if self.no_auth => Callers::Anybody,
            None => {
                return Err(format!(
                    "--http-listen {listen}: say who is let in: --access-keys FILE, or --no-auth for everybody on this machine"
                ));
            }
        };
        if off_loopback && tls.is_none() {
            return Err(format!(
                "--http-listen {listen}: other machines could reach it, and what they say would not be encrypted: give it a \
                 certificate with --http-tls-cert and --http-tls-key, or listen on 127.0.0.1 behind a proxy that has one"
            ));
        }
        Ok(Some(HttpConfig { listen, threads: usize::from(self.http_threads), callers, tls }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        http: HttpFlags,
    }

    fn config(arguments: &[&str]) -> Result<Option<HttpConfig>, String> {
        let flags =
            Flags::try_parse_from([&["serve"], arguments].concat()).map_err(|error| error.to_string())?;
        flags.http.config()
    }

    #[test]
    fn there_is_no_door_unless_it_is_asked_for() {
        assert!(config(&[]).expect("nothing is wrong").is_none());
    }

    #[test]
    fn a_door_says_who_is_let_in_and_off_loopback_needs_keys_and_a_certificate() {
        let here = ["--http-listen", "127.0.0.1:0"];
        let there = ["--http-listen", "0.0.0.0:443"];
        let keys = ["--access-keys", "keys"];
        let tls = ["--http-tls-cert", "c", "--http-tls-key", "k"];
        for (arguments, told) in [
            (here.to_vec(), "--no-auth"),
            (there.to_vec(), "--access-keys"),
            ([&there[..], &["--no-auth"]].concat(), "--access-keys"),
            ([&there[..], &keys].concat(), "--http-tls-cert"),
            ([&here[..], &keys, &["--no-auth"]].concat(), "cannot be used with"),
            (keys.to_vec(), "--http-listen"),
            ([&here[..], &["--no-auth", "--http-tls-cert", "c"]].concat(), "--http-tls-key"),
            ([&here[..], &["--no-auth", "--auth", "http://127.0.0.1:1"]].concat(), "--access-keys"),
        ] {
            let error = config(&arguments).expect_err(told);
            assert!(error.contains(told), "{arguments:?}: {error}");
        }
        let open = config(&[&here[..], &["--no-auth"]].concat()).expect("it is right").expect("a door");
        assert!(matches!(open.callers, Callers::Anybody) && open.tls.is_none());
        let public = config(&[&there[..], &keys, &tls].concat()).expect("it is right").expect("a door");
        assert!(matches!(public.callers, Callers::Keys { auth: None, .. }) && public.tls.is_some());
    }
}
