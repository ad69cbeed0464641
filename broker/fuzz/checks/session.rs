//! A shard that hostile peers talk to: connections that open, send requests right and wrong, whole and in pieces,
//! and go away at any moment. Whatever they do, nothing panics, what they were given is given back, and a decent peer is
//! served afterwards.
//!
//! The input is a script; see [`Act`]. It drives the reader, the session, the handlers and the store that serve
//! sockets in production, on the simulated disk.

#[path = "peer.rs"]
mod peer;
#[path = "requests.rs"]
mod requests;

use arbitrary::{Arbitrary, Result, Unstructured};
use peer::{Machine, Peer};
use std::time::Duration;

const PEERS: usize = 3;
const ACTS_MAX: usize = 40;

/// What a peer does next.
#[derive(Arbitrary, Debug)]
enum Act {
    /// Opens a connection; an odd number says Hello properly.
    Open(u8),
    /// A request of this kind, right but for its arguments.
    Request(u8),
    /// A right request with one byte changed.
    Broken { kind: u8, at: u16, bits: u8 },
    /// The first bytes of a right request.
    Cut { kind: u8, keep: u16 },
    /// Anything.
    Bytes(Vec<u8>),
    /// Reads what was answered.
    Read,
    /// Goes away.
    Close,
    /// Time passes.
    Wait(u16),
}

pub fn check(bytes: &[u8]) {
    let _ = play(bytes);
}

fn play(bytes: &[u8]) -> Result<()> {
    let mut script = Unstructured::new(bytes);
    let machine = Machine::start(script.arbitrary()?);
    let mut peers: [Option<Peer>; PEERS] = Default::default();
    for _ in 0..ACTS_MAX {
        if script.is_empty() {
            break;
        }
        let peer = &mut peers[usize::from(script.arbitrary::<u8>()?) % PEERS];
        act(&machine, peer, &mut script)?;
    }
    for peer in peers.into_iter().flatten() {
        peer.close();
    }
    machine.ends_well();
    Ok(())
}

fn act(machine: &Machine, peer: &mut Option<Peer>, script: &mut Unstructured<'_>) -> Result<()> {
    let act: Act = script.arbitrary()?;
    let Some(open) = peer else {
        if let Act::Open(greeting) = act {
            let open = Peer::open(machine);
            if greeting % 2 == 1 {
                open.send(&requests::greeting());
            }
            *peer = Some(open);
        }
        return Ok(());
    };
    match act {
        Act::Open(_) | Act::Read => open.read(),
        Act::Request(kind) => open.send(&requests::request(kind, script)?),
        Act::Broken { kind, at, bits } => {
            let mut frame = requests::request(kind, script)?;
            let at = usize::from(at) % frame.len();
            frame[at] ^= bits;
            open.send(&frame);
        }
        Act::Cut { kind, keep } => {
            let frame = requests::request(kind, script)?;
            open.send(&frame[..usize::from(keep) % (frame.len() + 1)]);
        }
        Act::Bytes(bytes) => open.send(&bytes),
        Act::Close => {
            if let Some(open) = peer.take() {
                open.close();
            }
        }
        Act::Wait(ms) => machine.wait(Duration::from_millis(u64::from(ms % 3000))),
    }
    machine.wait(Duration::from_micros(300));
    Ok(())
}
