//! What goes wrong with certificates, in words that say what to do.
//!
//! Nothing here fails; what is not known is told as rustls tells it.

use std::error::Error as StdError;
use std::io;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error};

/// What is wrong with a certificate that was checked here. `whose` begins the sentence, `ca` says where our authorities are.
pub(crate) fn certificate(whose: &str, error: &Error, ca: &str) -> String {
    let Error::InvalidCertificate(wrong) = error else { return format!("{whose}: {error}") };
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{whose} has expired: issue a new one, or set the clock right ({wrong})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{whose} is not valid yet: wait, or set the clock right ({wrong})")
        }
        // The latter, where two authorities have the same name: one that was made anew, most often.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "{whose} was not issued by an authority of {ca}: give both sides the same authority (--tls-ca), and what lies \
             between it and the certificate in the certificate's file"
        ),
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::UnsupportedCertVersion) => format!(
                "{whose} is of version 1 and has no names: issue one with a subjectAltName, which makes it version 3"
            ),
            Some(webpki::Error::CaUsedAsEndEntity) => {
                format!("{whose} is that of an authority: issue one of its own for each process")
            }
            _ => format!("{whose}: {}", other.0),
        },
        _ => format!("{whose}: {error}"),
    }
}

/// What went wrong with a handshake. `peer` is who is on the other side.
pub(crate) fn handshake(error: &io::Error, peer: &str, ca: &str) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return format!(
            "{peer}: the TLS handshake broke: {error}; see whether it speaks TLS, and what its log says"
        );
    };
    match tls {
        Error::InvalidCertificate(_) => certificate(&format!("the certificate of {peer}"), tls, ca),
        Error::NoCertificatesPresented => {
            format!("{peer} shows no certificate: give it --tls-cert and --tls-key")
        }
        Error::AlertReceived(alert) => format!("{peer} does not accept us: {}", refusal(*alert)),
        Error::InvalidMessage(_) => {
            format!(
                "{peer} does not speak TLS: give it --tls-cert, --tls-key, --tls-ca and --tls-allow ({tls})"
            )
        }
        other => format!("{peer}: {other}"),
    }
}

/// Why the other side ended a handshake, as far as it says so.
fn refusal(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => "it says that our certificate has expired: issue a new one".to_owned(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "our certificate was not issued by an authority that it knows: give both sides the same (--tls-ca)".to_owned()
        }
        AlertDescription::CertificateRequired => "it wants a certificate: give us --tls-cert and --tls-key".to_owned(),
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate | AlertDescription::AccessDenied => {
            format!("it refuses our certificate ({alert:?}): its log says why; most often no name of it is on its --tls-allow")
        }
        other => format!("it ended the handshake ({other:?}): its log says why"),
    }
}

/// A file that cannot be read.
pub(crate) fn file(error: &io::Error) -> String {
    let todo = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: correct the path, or write it",
        io::ErrorKind::PermissionDenied => "give the user of this process the right to read it",
        _ => "see to the file",
    };
    format!("cannot be read ({error}): {todo}")
}

/// The names of a certificate, for a message.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> String {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return "it cannot be read".to_owned();
    };
    let names: Vec<&str> = parsed.valid_dns_names().chain(parsed.valid_uri_names()).take(8).collect();
    if names.is_empty() {
        "it has no DNS or URI subject alternative name, and its common name is not looked at: issue one with such a name"
            .to_owned()
    } else {
        format!("its names are {}", names.join(", "))
    }
}

/// No name of a server's certificate says that it is a server of ours.
#[derive(Debug)]
pub(crate) struct NoServer(pub String);

impl std::fmt::Display for NoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "nothing on the allow-list (--tls-allow, --tls-allow-file) says that it is a node or a scheduler; {}: add node=NAME or scheduler=NAME, or issue it \
             another name",
            self.0
        )
    }
}

impl StdError for NoServer {}
