//! What a user wants to do, and what the other side must do then.

use crate::protocol::Role;
use crate::protocol::handshake::PublicKey;

/// What one side runs. The numbers are those in an identity and in a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Errand {
    /// It sends files.
    Send = 0,
    /// It receives files.
    Receive = 1,
    /// It chats.
    Chat = 2,
}

impl Errand {
    /// The errand with this number.
    pub(crate) fn from_code(code: u8) -> Option<Errand> {
        let all = [Errand::Send, Errand::Receive, Errand::Chat];
        all.get(usize::from(code)).copied()
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
