//! A namespace in use: its open file, the thread in it, and the sockets that belong to it. A socket belongs to the
//! namespace of the thread that opened it for ever, so it is opened there and used from here.

use egret_types::{IfIndex, LinkName, MacAddr};

use crate::announce::Speaker;
use crate::error::Error;
use crate::netlink::socket::Socket;
use crate::netns::Netns;
use crate::nft;
use crate::resident::Resident;

/// See the file comment.
pub(crate) struct Namespace {
    pub(crate) netns: Netns,
    pub(crate) resident: Resident,
    pub(crate) route: Socket,
    /// Opened with its first use: closing one can wait for others' removals of nft objects.
    nft: Option<nft::Socket>,
    /// Opened with its first use: only status asks.
    conntrack: Option<Socket>,
    speaker: Option<Speaker>,
}

impl Namespace {
    pub(crate) fn open(netns: Netns) -> Result<Self, Error> {
        let resident = Resident::enter(&netns)?;
        let route = resident.run(Socket::route)??;
        Ok(Self { netns, resident, route, nft: None, conntrack: None, speaker: None })
    }

    pub(crate) fn nft(&mut self) -> Result<Result<&mut nft::Socket, nft::Error>, Error> {
        let opened = match self.nft.take() {
            Some(socket) => socket,
            None => match self.resident.run(nft::Socket::open)? {
                Ok(socket) => socket,
                Err(error) => return Ok(Err(error)),
            },
        };
        Ok(Ok(self.nft.insert(opened)))
    }

    /// The socket for connection tracking.
    pub(crate) fn conntrack(&mut self) -> Result<&Socket, Error> {
        let opened = match self.conntrack.take() {
            Some(socket) => socket,
            None => self.resident.run(Socket::netfilter)??,
        };
        Ok(self.conntrack.insert(opened))
    }

    /// Who announces addresses on a link. Kept from one address to the next: there may be thousands.
    pub(crate) fn speaker(
        &mut self,
        link: &LinkName,
        index: IfIndex,
        mac: MacAddr,
    ) -> Result<&Speaker, Error> {
        let known = self.speaker.take().filter(|speaker| speaker.is_for(index, mac));
        let speaker = if let Some(speaker) = known {
            speaker
        } else {
            let link = link.clone();
            self.resident.run(move || Speaker::open(&link, mac))??
        };
        Ok(self.speaker.insert(speaker))
    }
}
