//! One listener for each thread, all on the same address.
//!
//! Invariant: no other process listens there, although `SO_REUSEPORT` would let one of the same user. What may fail: binding,
//! when the address is taken or may not be bound.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait in the kernel's queue of one listener.
const BACKLOG: i32 = 1_024;

/// Binds as many listeners; one at least.
pub(super) fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // A second door on the same port would get half of the first one's connections, and nobody would know why.
        drop(listen(address, false)?);
    }
    // The kernel gives port 0 a port that nobody has.
    let first = listen(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listen(address, true)?);
    }
    Ok(listeners)
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_a_door_share_a_port_and_nobody_else_gets_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let ours = bind(any, 3).expect("a free port");
        let address = ours[0].local_addr().expect("bound");
        assert!(ours.iter().all(|listener| listener.local_addr().expect("bound") == address));
        let error = bind(address, 2).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(ours);
        bind(address, 2).expect("it is free again");
    }
}
