//! glommio and kernel errors to the few kinds that the engine tells apart.

use std::io;

use crate::disk::{DiskError, DiskErrorKind, DiskOperation};
use rustix::io::Errno;

/// Maps an error of the kernel. EFBIG is a file-size limit; EIO is also what a full device below a file
/// system looks like, and cannot be told from a broken one.
pub(super) fn io_error(
    operation: DiskOperation,
    file: &str,
    offset: Option<u64>,
    source: io::Error,
) -> DiskError {
    DiskError {
        kind: kind_of(&source),
        operation,
        file: file.to_owned(),
        offset,
        source,
    }
}

fn kind_of(source: &io::Error) -> DiskErrorKind {
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => DiskErrorKind::NoSpace,
        Some(Errno::MFILE | Errno::NFILE) => DiskErrorKind::NoDescriptor,
        Some(Errno::NOENT) => DiskErrorKind::NotFound,
        Some(Errno::EXIST) => DiskErrorKind::AlreadyExists,
        _ => DiskErrorKind::Failed,
    }
}

/// Maps an error of glommio.
pub(super) fn glommio_error(
    operation: DiskOperation,
    file: &str,
    offset: Option<u64>,
    source: glommio::GlommioError<()>,
) -> DiskError {
    // glommio: converting its error to an `io::Error` loses the errno, so it is taken out first.
    let source = match source.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(source.to_string()),
    };
    io_error(operation, file, offset, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_become_kinds() {
        let cases = [
            (Errno::NOSPC, DiskErrorKind::NoSpace),
            (Errno::DQUOT, DiskErrorKind::NoSpace),
            (Errno::FBIG, DiskErrorKind::NoSpace),
            (Errno::MFILE, DiskErrorKind::NoDescriptor),
            (Errno::NFILE, DiskErrorKind::NoDescriptor),
            (Errno::NOENT, DiskErrorKind::NotFound),
            (Errno::EXIST, DiskErrorKind::AlreadyExists),
            (Errno::IO, DiskErrorKind::Failed),
            (Errno::INVAL, DiskErrorKind::Failed),
        ];
        for (errno, kind) in cases {
            let error = io_error(DiskOperation::Write, "f", Some(0), errno.into());
            assert_eq!(error.kind, kind, "{errno:?}");
        }
    }
}
