//! What differs between systems and the standard library does not hide: staying awake, requests to end, the
//! clipboard, wildcards, marks on received files, files in memory, locks and free space on Windows.
//!
//! Each function either does the same on every system or does nothing. Only `windows` makes Windows' own
//! calls. Socket options are in `net`.

mod attributes;
mod awake;
mod busy;
mod clipboard;
mod files;
mod mark;
mod memory;
mod paths;
mod stop;
mod wildcards;
#[cfg(windows)]
mod windows;

pub(crate) use attributes::{HAS_ATTRIBUTES, attribute, attribute_names, attribute_names_at, set_attribute};
pub(crate) use awake::Awake;
#[cfg(not(unix))]
pub(crate) use busy::open_patiently;
pub(crate) use busy::{is_held, is_unread, patiently};
pub(crate) use clipboard::{copy, is_over_ssh};
pub(crate) use files::{
    has_no_times, is_mounted, is_shortage, lift_file_limit, numbers_nodes_anew, set_modified, standard_input,
    standard_output, write_all_at,
};
pub(crate) use mark::mark_received;
pub(crate) use memory::{is_in_memory, let_go};
pub(crate) use paths::{impossible, names_stream, without_ignored_end};
pub(crate) use stop::{insisted, outlive_file_limit, stopped};
pub(crate) use wildcards::expand;
#[cfg(all(windows, test))]
pub(crate) use windows::share_with_everybody;
#[cfg(windows)]
pub(crate) use windows::{
    check_writable, follow_escapes, forget_typed, free_space, is_private, is_typed, make_private, punch,
    try_lock,
};
