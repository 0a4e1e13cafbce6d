//! Writes the dashboards from their source: `cargo run -p dashboards`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
    for (file, dashboard) in dashboards::all() {
        let path = folder.join(file);
        if let Err(error) = std::fs::write(&path, dashboards::grafana::text(&dashboard)) {
            eprintln!("cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
