//! What a user wants to do, and what the other side must do then.

use crate::protocol::Role;
use crate::protocol::handshake::PublicKey;

/// What one side runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Errand {
    /// It sends files.
    Send,
    /// It receives files.
    Receive,
    /// It chats.
    Chat,
}

impl From<Role> for Errand {
    fn from(role: Role) -> Self {
        match role {
            Role::Sender => Errand::Send,
            Role::Receiver => Errand::Receive,
        }
    }
}

impl Errand {
    /// The number of the errand in an address and in a datagram.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Errand::Send => 0,
            Errand::Receive => 1,
            Errand::Chat => 2,
        }
    }

    /// The errand with this number.
    pub(crate) const fn from_code(code: u8) -> Option<Errand> {
        match code {
            0 => Some(Errand::Send),
            1 => Some(Errand::Receive),
            2 => Some(Errand::Chat),
            _ => None,
        }
    }

    /// The errand that the other side must have.
    pub(crate) const fn peer(self) -> Errand {
        match self {
            Errand::Send => Errand::Receive,
            Errand::Receive => Errand::Send,
            Errand::Chat => Errand::Chat,
        }
    }

    /// Which end of the connection this side is. Two sides that chat have the same errand, so their keys
    /// decide.
    pub(crate) fn role(self, own: &PublicKey, peer: &PublicKey) -> Role {
        match self {
            Errand::Send => Role::Sender,
            Errand::Receive => Role::Receiver,
            Errand::Chat if own < peer => Role::Sender,
            Errand::Chat => Role::Receiver,
        }
    }
}
