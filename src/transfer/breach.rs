//! How a peer can break the rules of the conversation: one variant a rule, so that one can be told from another.

/// A rule that the peer broke with well-formed messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Breach {
    /// A message that this stage of the conversation does not have.
    #[error("{0} out of turn")]
    OutOfTurn(&'static str),

    /// More of the list than was announced.
    #[error("its list is longer than it announced")]
    ListTooLong,
    /// A list whose hash is not the announced one.
    #[error("its list is not the one it announced")]
    ListHash,
    /// A list of another number of entries than announced.
    #[error("its list has another number of entries than it announced")]
    ListEntries,
    /// A list of files where a pipe was announced, or the other way round.
    #[error("its list is of another kind than it announced")]
    ListKind,
    /// A list whose sizes do not add up to what was announced.
    #[error("its list has another size than it announced")]
    ListBytes,
    /// More hidden names at the top than anybody would read ([`crate::transfer::manifest::offer::MAX_HIDDEN`]).
    #[error("it offers too many hidden names at the top to show them all")]
    TooManyHidden,

    /// Content beyond the end, or before anything was accepted.
    #[error("content beyond the end")]
    ContentBeyondEnd,
    /// Content outside the window of a receiver that takes it in order.
    #[error("content ahead of the window")]
    AheadOfWindow,
    /// A second hash of one block, or the hash of one that does not exist or lies too far ahead.
    #[error("the hash of a block that has one, or that does not exist")]
    Hashes,
    /// A stream that ends twice or before content that came.
    #[error("a stream that ended twice, or before its content")]
    StreamEnd,
    /// Entries said to be missing that do not exist, were said to before, cannot be, or are all there is.
    #[error("missing entries that do not exist, or are all there is")]
    Missing,
    /// Chunks that were not asked for, do not follow each other, or are of a length that none has.
    #[error("chunks that were not asked for, or do not fit")]
    Chunks,
    /// Done before all of it was verified.
    #[error("the end before all content")]
    DoneTooEarly,
    /// A root that is not that of the verified blocks.
    #[error("a hash of the whole that is not that of its blocks")]
    Root,

    /// A claim to hold blocks that do not exist, or twice.
    #[error("a claim to hold blocks that do not exist")]
    HoldsNoSuchBlock,
    /// A claim that claims nothing, where more are to follow.
    #[error("an empty claim to hold blocks")]
    HoldsNothing,
    /// Progress that goes back, or over what was sent.
    #[error("progress over what was sent, or backwards")]
    Progress,
    /// A request for blocks that do not exist, that were verified, or that were not read yet.
    #[error("a request for blocks that cannot be needed")]
    NeedsNoSuchBlock,
    /// Chunks asked for of blocks that were not claimed or announced, or twice.
    #[error("a request for chunks that cannot be needed")]
    DescribesNoSuchBlock,
    /// Parts asked for of a block that was not described, twice, too many, or beyond its end.
    #[error("a request for parts of a block that cannot be needed")]
    NeedsNoSuchPart,
    /// The same blocks asked for over and over.
    #[error("the same blocks asked for again and again")]
    NeedsAgain,
    /// Another root than ours at the end.
    #[error("another hash of the whole")]
    OtherRoot,
}
