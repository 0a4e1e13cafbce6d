//! Compiles the .proto files with protox: no protoc to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["auth/v1/auth.proto", "executor/v1/executor.proto", "scheduler/v1/scheduler.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    // `Bytes` fields are slices of the received frame: an untouched payload is never copied.
    // Keys are shown by no debug output, so `redacted.rs` writes it.
    let config = tonic_prost_build::configure().bytes(".").skip_debug(["auth.v1.Credentials"]);
    config.compile_fds(descriptors)?;
    Ok(())
}
