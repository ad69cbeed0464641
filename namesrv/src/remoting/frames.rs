//! Remoting frames from a connection's reader.

use crate::reader::{ReadError, Reader};
use bytes::Bytes;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{FramePrefix, Header, HeaderError, Serialization};
use tokio::io::AsyncRead;
use tokio::sync::OwnedSemaphorePermit;

/// A whole frame.
#[derive(Debug)]
pub(crate) struct RemotingFrame {
    prefix: FramePrefix,
    bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl RemotingFrame {
    pub(super) fn serialization(&self) -> Serialization {
        self.prefix.serialization()
    }
    pub(super) fn header(&self) -> Result<Header<'_>, HeaderError> {
        Header::parse(
            self.prefix.serialization(),
            &self.bytes[self.prefix.header_range()],
        )
    }
    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[self.prefix.body_range()]
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next frame; none at the end of the stream. Cancel safe: nothing read is lost.
    pub(super) async fn next_remoting(&mut self) -> Result<Option<RemotingFrame>, ReadError> {
        loop {
            let prefix = FramePrefix::parse(self.buffered())?;
            let needed = prefix.map_or(FRAME_PREFIX_BYTES, |prefix| prefix.frame_bytes());
            if let Some(prefix) = prefix
                && self.buffered().len() >= needed
            {
                let (bytes, share) = self.split(needed);
                return Ok(Some(RemotingFrame {
                    prefix,
                    bytes,
                    _share: share,
                }));
            }
            self.claim(needed).await;
            if self.fill(needed - self.buffered().len()).await? == 0 {
                return Ok(None);
            }
        }
    }
}
