//! ensure, remove.

use super::testbed::{generation, ip, listing, namespace, pod, worker};

#[test]
fn smoke() {
    let mut socket = namespace();
    ip("link add egrpod1 type veth peer name p1");
    socket.ensure(&worker()).unwrap();
    let empty = listing();
    socket.ensure(&pod(1, "dA")).unwrap();
    eprintln!("{}", listing());
    let before = generation(&mut socket);
    socket.ensure(&worker()).unwrap();
    socket.ensure(&pod(1, "dA")).unwrap();
    assert_eq!(generation(&mut socket), before);
    assert_eq!(socket.differences(&worker()).unwrap(), Vec::<String>::new());
    assert_eq!(socket.differences(&pod(1, "dA")).unwrap(), Vec::<String>::new());
    let mut best = [u128::MAX; 4];
    for _ in 0..200 {
        let t = std::time::Instant::now();
        socket.remove(&pod(1, "dA")).unwrap();
        best[0] = best[0].min(t.elapsed().as_micros());
        let t = std::time::Instant::now();
        socket.ensure(&pod(1, "dA")).unwrap();
        best[1] = best[1].min(t.elapsed().as_micros());
        let t = std::time::Instant::now();
        socket.ensure(&pod(1, "dA")).unwrap();
        best[2] = best[2].min(t.elapsed().as_micros());
        let t = std::time::Instant::now();
        socket.ensure(&worker()).unwrap();
        best[3] = best[3].min(t.elapsed().as_micros());
    }
    eprintln!("remove, add, add again, worker again: {best:?}");
    socket.remove(&pod(1, "dA")).unwrap();
    assert_eq!(listing(), empty);
    socket.remove(&worker()).unwrap();
    eprintln!("{}", listing());
}
