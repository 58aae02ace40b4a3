//! Access control lists: who may read and change a file.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};
use windows_sys::Win32::Security::Authorization::{GetSecurityInfo, SE_FILE_OBJECT};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, ACL_REVISION, AddAccessAllowedAce, DACL_SECURITY_INFORMATION,
    EqualSid, GetAce, GetTokenInformation, INHERIT_ONLY_ACE, InitializeAcl, InitializeSecurityDescriptor,
    IsWellKnownSid, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SE_DACL_PROTECTED,
    SECURITY_DESCRIPTOR, SetKernelObjectSecurity, SetSecurityDescriptorControl, SetSecurityDescriptorDacl,
    TOKEN_QUERY, TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid, WinCreatorOwnerRightsSid,
    WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::FILE_ALL_ACCESS;
use windows_sys::Win32::System::SystemServices::{
    ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE, SECURITY_DESCRIPTOR_REVISION,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// Gives only this user access to an open file, whatever its directory lets it inherit. The handle needs
/// WRITE_DAC.
///
/// # Errors
/// If the file system has no access control lists, or the handle lacks the right.
pub(crate) fn make_private(file: &File) -> io::Result<()> {
    let user = User::of_this_process()?;
    leave_to(file, &[user.id()])
}

/// Whether an open file belongs to this user and only this user, the system and the administrators have
/// rights to it. Administrators can give themselves any right, so they do not count. False if the file system
/// has no access control lists.
///
/// # Errors
/// If the system does not return the list.
pub(crate) fn is_private(file: &File) -> io::Result<bool> {
    let user = User::of_this_process()?;
    let found = Descriptor::of(file)?;
    // SAFETY: the identifiers and the list live as long as `user` and `found`. Each entry's type, which comes first in
    // it, says that an identifier stands at its end.
    unsafe {
        if found.list.is_null() || !is_trusted(found.owner, &user) {
            return Ok(false);
        }
        for i in 0..u32::from((*found.list).AceCount) {
            let mut entry = null_mut();
            if GetAce(found.list, i, &raw mut entry) == 0 {
                return Err(io::Error::last_os_error());
            }
            let header = *entry.cast::<ACE_HEADER>();
            let allowed = entry.cast::<ACCESS_ALLOWED_ACE>();
            let is_harmless = match u32::from(header.AceType) {
                ACCESS_DENIED_ACE_TYPE => true,
                ACCESS_ALLOWED_ACE_TYPE => {
                    (*allowed).Mask == 0 || is_trusted((&raw mut (*allowed).SidStart).cast(), &user)
                }
                _ => false,
            };
            if !is_harmless && u32::from(header.AceFlags) & INHERIT_ONLY_ACE == 0 {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether `id` is this user, or an identity that can read every file of this machine anyway.
///
/// # Safety
/// `id` must point to a security identifier.
unsafe fn is_trusted(id: PSID, user: &User) -> bool {
    let known = [
        WinLocalSystemSid,
        WinBuiltinAdministratorsSid,
        // Stands for the owner of the file, which is checked separately.
        WinCreatorOwnerRightsSid,
    ];
    // SAFETY: both are identifiers.
    unsafe { EqualSid(id, user.id()) != 0 || known.iter().any(|&kind| IsWellKnownSid(id, kind) != 0) }
}

/// Gives the identities in `ids` all rights to an open file, and everybody else none.
fn leave_to(file: &File, ids: &[PSID]) -> io::Result<()> {
    // Each entry has an identifier of at most 68 bytes, and 12 bytes more.
    let mut list = [0_u32; 64];
    let list = list.as_mut_ptr().cast::<ACL>();
    let mut descriptor = SECURITY_DESCRIPTOR::default();
    let whole = (&raw mut descriptor).cast();
    // SetSecurityInfo does not serve here: Wine's adds the directory's entries whatever the flags say.
    // SAFETY: the list is aligned, and the first call gets its true length; the other calls check that it is long
    // enough. It lives as long as the descriptor that points to it. The file is open while it is borrowed, and the
    // callers' identifiers live until the end.
    unsafe {
        check(InitializeAcl(list, 64 * 4, ACL_REVISION))?;
        for id in ids {
            check(AddAccessAllowedAce(list, ACL_REVISION, FILE_ALL_ACCESS, *id))?;
        }
        check(InitializeSecurityDescriptor(whole, SECURITY_DESCRIPTOR_REVISION))?;
        check(SetSecurityDescriptorDacl(whole, 1, list, 0))?;
        check(SetSecurityDescriptorControl(
            whole,
            SE_DACL_PROTECTED,
            SE_DACL_PROTECTED,
        ))?;
        check(SetKernelObjectSecurity(
            file.as_raw_handle(),
            DACL_SECURITY_INFORMATION,
            whole,
        ))
    }
}

fn check(outcome: i32) -> io::Result<()> {
    if outcome == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn told(error: u32) -> io::Result<()> {
    if error == ERROR_SUCCESS {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error.cast_signed()))
    }
}

/// The user that runs this process: TOKEN_USER, followed by the identifier that it points to.
struct User(Box<[u64; 16]>);

impl User {
    fn of_this_process() -> io::Result<User> {
        let mut token = null_mut();
        let mut user = User(Box::default());
        let mut len = 0;
        // SAFETY: the token is closed once, by its owner; the call gets the buffer's true length.
        unsafe {
            check(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token))?;
            let token = OwnedHandle::from_raw_handle(token);
            check(GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                user.0.as_mut_ptr().cast(),
                size_of_val(&*user.0) as u32,
                &raw mut len,
            ))?;
        }
        Ok(user)
    }

    fn id(&self) -> PSID {
        // SAFETY: the buffer is aligned, was filled when it was made, and stays where it is.
        unsafe { (*self.0.as_ptr().cast::<TOKEN_USER>()).User.Sid }
    }
}

/// Owner and access control list of a file.
struct Descriptor {
    whole: PSECURITY_DESCRIPTOR,
    owner: PSID,
    list: *mut ACL,
}

impl Descriptor {
    fn of(file: &File) -> io::Result<Descriptor> {
        let mut found = Descriptor {
            whole: null_mut(),
            owner: null_mut(),
            list: null_mut(),
        };
        // SAFETY: the handle is open while `file` is borrowed; what the call points to lives until it is freed below.
        unsafe {
            told(GetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &raw mut found.owner,
                null_mut(),
                &raw mut found.list,
                null_mut(),
                &raw mut found.whole,
            ))?;
        }
        Ok(found)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the call that made it requires this function to free it; null is ignored.
        unsafe { LocalFree(self.whole) };
    }
}

/// Gives everybody rights to a file, as a directory shared with everybody would.
#[cfg(test)]
pub(crate) fn share_with_everybody(file: &File) {
    use windows_sys::Win32::Security::{CreateWellKnownSid, WinWorldSid};
    let mut everybody = [0_u64; 9];
    let mut len = size_of_val(&everybody) as u32;
    let user = User::of_this_process().expect("it runs as somebody");
    // SAFETY: the call gets the buffer's true length.
    let made = unsafe {
        CreateWellKnownSid(
            WinWorldSid,
            null_mut(),
            everybody.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(made)
        .and_then(|()| leave_to(file, &[user.id(), everybody.as_mut_ptr().cast()]))
        .expect("its own file");
}

#[cfg(test)]
mod tests {
    use std::os::windows::fs::OpenOptionsExt;

    use windows_sys::Win32::Storage::FileSystem::{FILE_GENERIC_READ, WRITE_DAC};

    use super::*;

    #[test]
    fn a_file_of_this_user_alone_is_told_from_one_of_everybody() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        File::create(&path).unwrap();
        let file = File::options()
            .access_mode(FILE_GENERIC_READ | WRITE_DAC)
            .open(&path)
            .unwrap();
        for _ in 0..2 {
            share_with_everybody(&file);
            assert!(!is_private(&file).unwrap());
            make_private(&file).unwrap();
            assert!(is_private(&file).unwrap());
        }
        assert!(
            std::fs::read(&path).unwrap().is_empty(),
            "its own user can read it"
        );
    }
}
