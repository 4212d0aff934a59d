//! The limit of a process on the size of files (RLIMIT_FSIZE).

/// Lets a write beyond the limit fail with EFBIG, as on a full disk; by default SIGXFSZ ends the process then, and what it
/// had measured is lost.
pub fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code of ours, and no other place of the program handles this one.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
