//! The port, implemented: which namespaces an object needs, who does it, and what an error means.

use std::net::IpAddr;
use std::path::PathBuf;

use egret_egress::kernel::{Failure, Kernel, Link, MainRoute};
use egret_egress::object::{Address, Announce, Object, Place};
use egret_types::{IfIndex, LinkName};

use crate::cause::{Cause, explain, failure, refusal};
use crate::error::Error;
use crate::namespace::Namespace;
use crate::netlink::{address, fdb, link, macvlan, neighbour, route, rule, veth, vxlan};
use crate::netns::Netns;
use crate::{nft, ownership, sysctl};

/// Where the namespaces are. [`Place::Root`] is that of the calling thread.
#[derive(Debug, Clone)]
pub struct Places {
    /// The egret namespace, `/run/netns/egret` as a rule.
    pub egret: PathBuf,
    /// The pod's (`CNI_NETNS`); absent where a command has no pod.
    pub pod: Option<PathBuf>,
}

/// The kernel of this machine.
///
/// It keeps the namespaces that it has used, and its sockets in them, until it is dropped.
pub struct LinuxKernel {
    places: Places,
    root: Option<Namespace>,
    egret: Option<Namespace>,
    pod: Option<Namespace>,
}

impl LinuxKernel {
    /// Opens nothing yet.
    pub fn new(places: Places) -> Self {
        Self { places, root: None, egret: None, pod: None }
    }

    /// With the pod's namespace as it was opened: what is at its path later does not matter.
    ///
    /// # Errors
    /// It cannot be entered.
    pub fn with_pod(egret: PathBuf, pod: Netns) -> Result<Self, Failure> {
        let opened = Namespace::open(pod).map_err(|e| {
            let operation = format!("opening {}", Place::Pod);
            failure(Place::Pod, operation, e.into())
        })?;
        Ok(Self { pod: Some(opened), ..Self::new(Places { egret, pod: None }) })
    }

    fn slot(&mut self, place: Place) -> &mut Option<Namespace> {
        match place {
            Place::Root => &mut self.root,
            Place::Egret => &mut self.egret,
            Place::Pod => &mut self.pod,
        }
    }

    /// The namespace of a place, opened if it was not.
    fn open(&mut self, place: Place) -> Result<&mut Namespace, Failure> {
        if self.slot(place).is_none() {
            let netns = match (place, &self.places.pod) {
                (Place::Root, _) => Netns::current(),
                (Place::Egret, _) => Netns::open(&self.places.egret),
                (Place::Pod, Some(path)) => Netns::open(path),
                (Place::Pod, None) => return Err(Failure::NoNamespace { place }),
            };
            let opened = netns.and_then(Namespace::open);
            let opened =
                opened.map_err(|e| failure(place, format!("opening {place}"), e.into()))?;
            *self.slot(place) = Some(opened);
        }
        self.slot(place).as_mut().ok_or(Failure::NoNamespace { place })
    }

    /// What [`LinuxKernel::open`] has opened.
    fn opened(&self, place: Place) -> Result<&Namespace, Cause> {
        let slot = match place {
            Place::Root => &self.root,
            Place::Egret => &self.egret,
            Place::Pod => &self.pod,
        };
        Ok(slot.as_ref().ok_or(Error::Malformed { what: "open namespace" })?)
    }

    /// Asks one question in a namespace.
    pub(crate) fn ask<T>(
        &mut self,
        place: Place,
        operation: &str,
        question: impl FnOnce(&mut Namespace) -> Result<T, Cause>,
    ) -> Result<T, Failure> {
        let answer = question(self.open(place)?);
        answer.map_err(|cause| failure(place, format!("{operation} in {place}"), cause))
    }

    fn open_for(&mut self, place: Place, object: &Object) -> Result<(), Failure> {
        self.open(place)?;
        match object {
            Object::Veth(_) => self.open(Place::Egret).map(|_| ()),
            Object::Vxlan(_) | Object::Macvlan(_) => self.open(Place::Root).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, place: Place, object: &Object) -> Result<(), Cause> {
        if let Object::Nft(ruleset) = object {
            return Ok(self.nft(place)?.ensure(ruleset)?);
        }
        let at = self.opened(place)?;
        let done = match object {
            Object::Veth(object) => veth::ensure(at, self.opened(Place::Egret)?, object),
            Object::Vxlan(object) => vxlan::ensure(self.opened(Place::Root)?, at, object),
            Object::Macvlan(object) => macvlan::ensure(self.opened(Place::Root)?, at, object),
            Object::Address(object) => return self.apply_address(place, object),
            Object::Route(object) => route::ensure(&at.route, object),
            Object::Rule(object) => rule::ensure(&at.route, object),
            Object::Neighbour(object) => neighbour::ensure(&at.route, object),
            Object::Fdb(object) => fdb::ensure(&at.route, object),
            Object::Sysctl(object) => sysctl::ensure(&at.resident, object),
            Object::Namespace | Object::Nft(_) => Ok(()),
        };
        done.map_err(|error| explain(at, object, error).into())
    }

    /// Announced each time, also when it was there: an earlier run may have been killed between
    /// the two. Neighbours that miss it learn by asking, so a failure is no failure.
    fn apply_address(&mut self, place: Place, address: &Address) -> Result<(), Cause> {
        let at = self.slot(place).as_mut().ok_or(Error::Malformed { what: "open namespace" })?;
        let link = link::need(&at.route, &address.link)?;
        if let Err(error) = address::ensure(&at.route, link.index, address) {
            return Err(explain(at, &Object::Address(address.clone()), error).into());
        }
        if let (Announce::Yes, Some(mac)) = (address.announce, link.mac) {
            address::settle(&at.route, &link, address.address)?;
            let speaker = at.speaker(&address.link, IfIndex(link.index), mac);
            if let Err(error) = speaker.and_then(|speaker| speaker.announce(address.address)) {
                log::warn!("{} is there, but not announced: {error}", address.address);
            }
        }
        Ok(())
    }

    fn undo(&mut self, place: Place, object: &Object) -> Result<(), Cause> {
        if let Object::Nft(ruleset) = object {
            return Ok(self.nft(place)?.remove(ruleset)?);
        }
        let at = self.opened(place)?;
        match object {
            Object::Veth(object) => veth::remove(at, object),
            Object::Vxlan(object) => vxlan::remove(at, object),
            Object::Macvlan(object) => macvlan::remove(at, object),
            Object::Address(object) => address::remove(&at.route, object),
            Object::Route(object) => route::remove(&at.route, object),
            Object::Rule(object) => rule::remove(&at.route, object),
            Object::Neighbour(object) => neighbour::remove(&at.route, object),
            Object::Fdb(object) => fdb::remove(&at.route, object),
            Object::Sysctl(object) => sysctl::remove(&at.resident, object),
            Object::Namespace | Object::Nft(_) => Ok(()),
        }?;
        Ok(())
    }

    fn compare(&mut self, place: Place, object: &Object) -> Result<Vec<String>, Cause> {
        if let Object::Nft(ruleset) = object {
            return Ok(self.nft(place)?.differences(ruleset)?);
        }
        let at = self.opened(place)?;
        let differences = match object {
            Object::Veth(object) => veth::differences(at, self.opened(Place::Egret)?, object),
            Object::Vxlan(object) => vxlan::differences(self.opened(Place::Root)?, at, object),
            Object::Macvlan(object) => macvlan::differences(self.opened(Place::Root)?, at, object),
            Object::Address(object) => address::differences(&at.route, object),
            Object::Route(object) => route::differences(&at.route, object),
            Object::Rule(object) => rule::differences(&at.route, object),
            Object::Neighbour(object) => neighbour::differences(&at.route, object),
            Object::Fdb(object) => fdb::differences(&at.route, object),
            Object::Sysctl(object) => sysctl::differences(&at.resident, object),
            Object::Namespace | Object::Nft(_) => Ok(vec![]),
        };
        Ok(differences?)
    }

    fn create(&mut self, place: Place) -> Result<(), Cause> {
        if place != Place::Egret {
            return Err(Error::OthersNamespace.into());
        }
        Netns::create(&self.places.egret)?;
        // What was open may be a namespace of the same name that has been removed since.
        let now = Netns::open(&self.places.egret)?;
        let open = match self.egret.take().filter(|open| open.netns.inode() == now.inode()) {
            Some(open) => open,
            None => Namespace::open(now)?,
        };
        Ok(ownership::check(self.egret.insert(open))?)
    }

    /// Our own sockets would keep it alive, and its links with it.
    fn destroy(&mut self, place: Place) -> Result<(), Cause> {
        if place != Place::Egret {
            return Err(Error::OthersNamespace.into());
        }
        match Netns::open(&self.places.egret) {
            Err(error) if error.is_no_namespace() => {}
            opened => ownership::check(&Namespace::open(opened?)?)?,
        }
        self.egret = None;
        Ok(Netns::remove(&self.places.egret)?)
    }

    fn nft(&mut self, place: Place) -> Result<&mut nft::Socket, Cause> {
        let at = self.slot(place).as_mut().ok_or(Error::Malformed { what: "open namespace" })?;
        Ok(at.nft()??)
    }
}

impl Kernel for LinuxKernel {
    fn ensure(&mut self, place: Place, object: &Object) -> Result<(), Failure> {
        let done = if *object == Object::Namespace {
            self.create(place)
        } else {
            self.open_for(place, object)?;
            self.apply(place, object)
        };
        done.map_err(|cause| refusal(place, object, format!("setting {object} in {place}"), cause))
    }

    fn remove(&mut self, place: Place, object: &Object) -> Result<(), Failure> {
        // A pair of veth links is removed from its peer's side: the pod's may be gone.
        let place = if matches!(object, Object::Veth(_)) { Place::Egret } else { place };
        let removed = if *object == Object::Namespace {
            self.destroy(place)
        } else {
            match self.open(place) {
                Err(Failure::NoNamespace { .. }) => return Ok(()),
                opened => opened.map(|_| ())?,
            }
            self.undo(place, object)
        };
        let operation = format!("removing {object} from {place}");
        removed.map_err(|cause| refusal(place, object, operation, cause))
    }

    fn differences(&mut self, place: Place, object: &Object) -> Result<Vec<String>, Failure> {
        if *object == Object::Namespace {
            return Ok(match self.open(place) {
                Err(Failure::NoNamespace { .. }) => vec![format!("{place}: missing")],
                opened => match ownership::check(opened?) {
                    Err(Error::Taken { found }) => vec![format!("{place}: not ours: {found}")],
                    checked => checked.map(|()| vec![]).map_err(|e| {
                        failure(place, format!("listing links in {place}"), e.into())
                    })?,
                },
            });
        }
        self.open_for(place, object)?;
        let compared = self.compare(place, object);
        compared.map_err(|cause| failure(place, format!("reading {object} in {place}"), cause))
    }

    fn list_links(&mut self, place: Place) -> Result<Vec<Link>, Failure> {
        self.ask(place, "listing links", |at| Ok(link::list(&at.route)?))
    }

    fn list_main_routes(&mut self, place: Place) -> Result<Vec<MainRoute>, Failure> {
        self.ask(place, "listing routes", |at| Ok(route::list_main(&at.route)?))
    }

    fn link_toward(&mut self, place: Place, address: IpAddr) -> Result<IfIndex, Failure> {
        let operation = format!("looking for the route to {address}");
        self.ask(place, &operation, |at| Ok(route::link_toward(&at.route, address)?))
    }

    fn host_end(&mut self, link: &LinkName) -> Result<Option<IfIndex>, Failure> {
        self.open(Place::Root)?;
        self.open(Place::Pod)?;
        let (pod, root) = (self.opened(Place::Pod), self.opened(Place::Root));
        let end = pod.and_then(|pod| Ok(veth::end_in(pod, root?, link)?));
        let operation = || format!("looking for the node's end of {link}");
        Ok(end.map_err(|cause| failure(Place::Pod, operation(), cause))?.map(IfIndex))
    }

    fn get_sysctl(&mut self, place: Place, path: &str) -> Result<Option<String>, Failure> {
        self.ask(place, "reading a kernel parameter", |at| Ok(sysctl::get(&at.resident, path)?))
    }
}
