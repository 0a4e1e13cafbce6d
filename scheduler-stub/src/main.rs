//! The scheduler as a program, see `scheduler-stub --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    scheduler_stub::cli::main(std::env::args_os())
}
