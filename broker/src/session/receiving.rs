//! The receiving side of a connection, by protocol: native until its first bytes say otherwise.

use super::native::Session;
use super::pace::Timeout;
use super::remoting;
use std::cell::RefCell;
use std::rc::Rc;

/// See the module.
pub enum Receiving {
    Native(Rc<RefCell<Session>>),
    Remoting(Rc<RefCell<remoting::Session>>),
}

impl Receiving {
    /// The deadline that the peer let pass, if any; `owed`: it waits for an answer of ours.
    pub fn check(&self, now_ms: u64, owed: bool) -> Option<Timeout> {
        match self {
            Self::Native(session) => {
                let mut session = session.borrow_mut();
                session.release_idle(now_ms);
                session.check(now_ms, owed)
            }
            Self::Remoting(session) => {
                let mut session = session.borrow_mut();
                session.release_idle(now_ms);
                session.check(now_ms, owed)
            }
        }
    }

    /// The session of a connection that was just accepted.
    ///
    /// # Panics
    /// If the connection has turned out to be a RocketMQ client's.
    pub fn native(&self) -> Rc<RefCell<Session>> {
        match self {
            Self::Native(session) => Rc::clone(session),
            Self::Remoting(_) => unreachable!("a connection is native at first"),
        }
    }
}
