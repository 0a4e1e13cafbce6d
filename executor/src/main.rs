//! The node as a program, see `executor --help`.

use std::process::ExitCode;

/// Shards allocate on threads of their own and free what other threads allocated: mimalloc does both without a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    executor::cli::main(std::env::args_os())
}
