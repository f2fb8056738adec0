//! Rules of routing policy. The kernel lets equal rules pile up, so they are listed first.

use egret_egress::object::{Mark, Rule};
use egret_types::ours;
use netlink_packet_core::{NLM_F_CREATE, Parseable};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use nix::errno::Errno;
use nix::libc;

use super::{address_family, family_of, socket::Socket};
use crate::error::{Error, refused_with};

const PROTOCOL: RouteProtocol = RouteProtocol::Other(ours::ROUTE_PROTOCOL);
/// Tables above this are named by an attribute alone.
const LAST_SHORT_TABLE: u32 = 255;
/// # Guarantees
/// Exactly one rule equal to this one.
///
/// Without `NLM_F_EXCL`: to the kernel a rule with more selectors "exists already".
pub(crate) fn ensure(socket: &Socket, rule: &Rule) -> Result<(), Error> {
    match count(socket, rule)? {
        0 => socket.change(libc::RTM_NEWRULE, NLM_F_CREATE, &message(rule)),
        present => delete(socket, rule, present - 1),
    }
}

/// All rules equal to this one.
pub(crate) fn remove(socket: &Socket, rule: &Rule) -> Result<(), Error> {
    let present = count(socket, rule)?;
    delete(socket, rule, present)
}

pub(crate) fn differences(socket: &Socket, rule: &Rule) -> Result<Vec<String>, Error> {
    Ok(match count(socket, rule)? {
        0 => vec![format!("{rule}: missing")],
        1 => vec![],
        present => vec![format!("{rule}: there {present} times")],
    })
}

fn count(socket: &Socket, rule: &Rule) -> Result<usize, Error> {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    let equal = |payload: &[u8]| parse(payload).filter(|found| found == rule).map(|_| ());
    let result = socket.list(libc::RTM_GETRULE, &message, equal);
    // No rules of a family that is off.
    if refused_with(&result, &[Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP]) {
        return Ok(0);
    }
    Ok(result?.len())
}

/// The kernel takes the first rule that has at least these selectors; those with our protocol are
/// all ours.
fn delete(socket: &Socket, rule: &Rule, times: usize) -> Result<(), Error> {
    for _ in 0..times {
        let result = socket.change(libc::RTM_DELRULE, 0, &message(rule));
        if refused_with(&result, &[Errno::ENOENT]) {
            return Ok(());
        }
        result?;
    }
    Ok(())
}

/// `None` for a rule that no rule of ours can equal: every attribute that ours do not have, known
/// or not, selects packets in a way of its own.
fn parse(payload: &[u8]) -> Option<Rule> {
    let RuleMessage { header, attributes, .. } = RuleMessage::parse(payload).ok()?;
    let particular = header.dst_len != 0
        || header.src_len != 0
        || header.tos != 0
        || header.flags.contains(RuleFlags::Invert);
    if particular || header.action != RuleAction::ToTable {
        return None;
    }
    let family = family_of(header.family)?;
    let mut rule = Rule { family, priority: 0, mark: None, table: u32::from(header.table) };
    let (mut value, mut mask, mut protocol) = (0, 0, RouteProtocol::Unspec);
    for attribute in attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::FwMark(found) => value = found,
            RuleAttribute::FwMask(found) => mask = found,
            RuleAttribute::Protocol(found) => protocol = found,
            // The kernel always names this one; -1 is "none".
            RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    rule.mark = Some(Mark { value, mask }).filter(|mark| mark.mask != 0);
    (protocol == PROTOCOL).then_some(rule)
}

/// `pref PRIORITY fwmark VALUE/MASK lookup TABLE proto PROTOCOL`
fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.action = RuleAction::ToTable;
    if rule.table <= LAST_SHORT_TABLE {
        message.header.table = u8::try_from(rule.table).unwrap_or_default();
    }
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    if let Some(Mark { value, mask }) = rule.mark {
        message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    }
    message
}
