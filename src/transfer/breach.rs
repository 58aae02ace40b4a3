//! The ways in which a peer can break the rules of the conversation. Each rule has its own variant, so that a
//! test can tell one from another.

/// A rule that the peer broke with well-formed messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Breach {
    /// A message that does not belong to this stage of the conversation.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),

    /// More bytes of the list than were announced.
    #[error("its list is longer than it announced")]
    ListTooLong,
    /// The hash of the list differs from the announced one.
    #[error("its list is not the one it announced")]
    ListHash,
    /// The number of entries differs from the announced one.
    #[error("its list has another number of entries than it announced")]
    ListEntries,
    /// A list of files where a pipe was announced, or the opposite.
    #[error("its list is of another kind than it announced")]
    ListKind,
    /// The sizes in the list do not add up to the announced size.
    #[error("its list has another size than it announced")]
    ListBytes,
    /// More hidden names at the top level than anybody would read
    /// ([`crate::transfer::manifest::offer::MAX_HIDDEN`]).
    #[error("it offers too many hidden names at the top to show them all")]
    TooManyHidden,

    /// Content beyond the end, or content before an offer was accepted.
    #[error("content beyond the end")]
    ContentBeyondEnd,
    /// Content beyond the window of a receiver that needs its bytes in order.
    #[error("content ahead of the window")]
    AheadOfWindow,
    /// A second hash for the same block, or a hash for a block that does not exist or lies too far ahead.
    #[error("the hash of a block that has one, or that does not exist")]
    Hashes,
    /// A stream ended twice, or before bytes that had already arrived.
    #[error("a stream that ended twice, or before its content")]
    StreamEnd,
    /// Missing entries that do not exist, were reported before, cannot be missing, or are the whole list.
    #[error("missing entries that do not exist, or are all there is")]
    Missing,
    /// Chunks that nobody asked for, that leave a gap, or that have a length no chunk can have.
    #[error("chunks that were not asked for, or do not fit")]
    Chunks,
    /// The sender said that it is done before every block was verified.
    #[error("the end before all content")]
    DoneTooEarly,
    /// The root differs from the root of the verified blocks.
    #[error("a hash of the whole that is not that of its blocks")]
    Root,

    /// The receiver claims blocks that do not exist, or claims blocks twice.
    #[error("a claim to hold blocks that do not exist")]
    HoldsNoSuchBlock,
    /// A claim that names no block, although more claims are to follow.
    #[error("an empty claim to hold blocks")]
    HoldsNothing,
    /// Progress that goes backwards, or beyond what was sent.
    #[error("progress over what was sent, or backwards")]
    Progress,
    /// A request for blocks that do not exist, that were verified, or that were not read yet.
    #[error("a request for blocks that cannot be needed")]
    NeedsNoSuchBlock,
    /// A request for chunks of blocks that were not claimed or announced, or a second request for the same
    /// ones.
    #[error("a request for chunks that cannot be needed")]
    DescribesNoSuchBlock,
    /// A request for parts of a block that was not described, for too many parts, for parts beyond its end,
    /// or a second request for it.
    #[error("a request for parts of a block that cannot be needed")]
    NeedsNoSuchPart,
    /// The peer asks for the same blocks again and again.
    #[error("the same blocks asked for again and again")]
    NeedsAgain,
    /// The peer's root at the end differs from ours.
    #[error("another hash of the whole")]
    OtherRoot,
}
