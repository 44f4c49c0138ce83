//! Messages with descriptors and credentials (`SCM_RIGHTS` and `SCM_CREDENTIALS`, unix(7)).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use super::Credentials;

/// The maximum number of descriptors in one message (`SCM_MAX_FD`, unix(7)).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Sends bytes, with at most [`MAX_DESCRIPTORS`] descriptors attached to the first byte. Returns
/// how many bytes were sent.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control { bytes: [0; CONTROL] };
    // sendmsg(2) does not write to it.
    let mut slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut slice, &mut control, 0);
    if !descriptors.is_empty() {
        let length = size_of_val(descriptors) as u32;
        // SAFETY: this is arithmetic: a `BorrowedFd` has the size of a `RawFd`, so it is no more
        // than `CONTROL`.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as _;
        // SAFETY: `control` is aligned for a header, and has room for it and for
        // `MAX_DESCRIPTORS` numbers behind it.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, descriptor) in descriptors.iter().enumerate() {
                data.add(index).write_unaligned(descriptor.as_raw_fd());
            }
        }
    }
    // SAFETY: the buffers that `message` leads to are as long as it says, and outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    // Negative is an error.
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The result of [`receive`].
pub(crate) struct Received {
    /// Bytes read; 0 is the end of the stream.
    pub(crate) bytes: usize,
    /// Descriptors that came with them, closed on `exec`.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The kernel could not install all descriptors that were sent (`MSG_CTRUNC`, recvmsg(2)).
    pub(crate) cut_off: bool,
    /// A datagram that was longer than the buffer (`MSG_TRUNC`, recvmsg(2)).
    pub(crate) too_long: bool,
    /// The sender, if the socket option `SO_PASSCRED` is set (unix(7)).
    pub(crate) sender: Option<Credentials>,
}

/// Bytes of control messages: as many descriptors as there may be, and the sender.
// SAFETY: arithmetic, without a precondition.
#[allow(clippy::cast_possible_truncation)]
const CONTROL: usize = unsafe {
    libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<RawFd>()) as u32)
        + libc::CMSG_SPACE(size_of::<libc::ucred>() as u32)
} as usize;

/// Room for control messages, aligned as their headers are.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL],
    _aligned: libc::cmsghdr,
}

/// A message of one buffer, with so many bytes of room for control messages.
fn message(slice: &mut libc::iovec, control: &mut Control, room: usize) -> libc::msghdr {
    // SAFETY: for this plain C struct, zero is a value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slice;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut *control).cast();
    message.msg_controllen = room.min(CONTROL) as _;
    message
}

/// Receives bytes, and the descriptors that came with them.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(CONTROL, socket, buffer)
}

/// With so many bytes of room for control messages, [`CONTROL`] at most.
fn receive_with(room: usize, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = Control { bytes: [0; CONTROL] };
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = message(&mut slice, &mut control, room);
    // SAFETY: the buffers that `message` leads to are as long as it says, and outlive the call.
    let bytes = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    // Negative is an error.
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;

    let (mut descriptors, mut sender) = (Vec::new(), None);
    // SAFETY: the kernel has filled in `message` and as many bytes of `control` as it now says. The
    // headers are walked as cmsg(3) shows. The descriptors among them were made by the kernel for
    // this call, so nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(current) = header.as_ref() {
            // Of another type with another C library.
            #[allow(clippy::unnecessary_cast)]
            let length = current.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            match (current.cmsg_level, current.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let data = libc::CMSG_DATA(header).cast::<RawFd>();
                    for index in 0..length / size_of::<RawFd>() {
                        descriptors.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                    sender = Some(libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned().into());
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let flagged = |flag| message.msg_flags & flag != 0;
    Ok(Received {
        bytes,
        descriptors,
        cut_off: flagged(libc::MSG_CTRUNC),
        too_long: flagged(libc::MSG_TRUNC),
        sender,
    })
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixStream};

    use super::*;

    #[test]
    fn descriptors_that_do_not_fit_are_told_and_those_that_do_are_owned() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let sent = [reader.as_fd(), writer.as_fd(), ours.as_fd()];
        assert_eq!(send(ours.as_fd(), b"x", &sent).unwrap(), 1);
        // SAFETY: arithmetic, without a precondition.
        let one = unsafe { libc::CMSG_LEN(size_of::<RawFd>() as u32) } as usize;
        let received = receive_with(one, theirs.as_fd(), &mut [0; 8]).unwrap();
        assert!(received.cut_off);
        assert_eq!((received.bytes, received.descriptors.len()), (1, 1));
        // It is the reader, and the only other descriptor that leads to the pipe: nothing was leaked.
        drop((reader, received));
        let broken = std::io::Write::write(&mut &writer, b"x").unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
    }
}
