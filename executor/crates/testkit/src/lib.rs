//! For tests only: processes, a real Redis on a free port.
