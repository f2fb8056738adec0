//! Many writers at once, each with elements of its own and decisions that they share.

use super::testbed::{generation, listing, namespace, pod, worker};
use crate::nft::Socket;

const WRITERS: u8 = 16;
const ROUNDS: u8 = 12;

#[test]
fn parallel_pods_come_and_go_and_nothing_is_left() {
    let mut socket = namespace();
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    std::thread::scope(|scope| {
        for number in 1..=WRITERS {
            scope.spawn(move || {
                let mut socket = Socket::open().unwrap();
                for round in 0..ROUNDS {
                    let decision = ["dA", "dB", "dC"][usize::from((number + round) % 3)];
                    let own = pod(number, decision);
                    socket.ensure(&own).unwrap();
                    assert_eq!(socket.differences(&own).unwrap(), Vec::<String>::new());
                    // Every other round changes the decision instead of going first.
                    if round % 2 == 0 || round + 1 == ROUNDS {
                        socket.remove(&own).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(listing(), empty);
}

#[test]
fn parallel_first_users_make_one_table() {
    let mut socket = namespace();
    std::thread::scope(|scope| {
        for number in 1..=WRITERS {
            scope.spawn(move || {
                let mut socket = Socket::open().unwrap();
                socket.ensure(&worker()).unwrap();
                socket.ensure(&pod(number, "dA")).unwrap();
            });
        }
    });
    assert_eq!(socket.differences(&worker()).unwrap(), Vec::<String>::new());
    // The table once, each pod once: nobody repeated what another had done.
    assert_eq!(generation(&mut socket), 2 + u32::from(WRITERS));
}
