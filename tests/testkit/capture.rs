//! Watching a link with tcpdump, which knows nothing of this project.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{Ns, Packet, Running, eventually};

/// A capture that runs until it is dropped.
///
/// That something is *not* seen means nothing while the capture may lag: send something afterwards
/// that must be seen, wait for it with [`Capture::wait_for`], and only then look at
/// [`Capture::packets`].
pub struct Capture {
    program: Running,
    seen: Arc<Mutex<Vec<(Duration, Packet)>>>,
    unreadable: Arc<Mutex<Vec<Vec<u8>>>>,
    said: Arc<Mutex<Vec<String>>>,
    shown: String,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Capture {
    /// Returns when the kernel hands packets over, so none that is sent afterwards is missed.
    pub(crate) fn start(namespace: &Ns, link: &str, filter: &str) -> Self {
        let shown = format!("capture of {filter:?} on {link} in {}", namespace.name());
        // In KiB: 512 packets, since each has the room of the longest, which segmentation offload
        // makes 64 KiB long.
        let room = ["-B", "32768"];
        let fixed = ["-i", link, "-n", "-U", "--immediate-mode", "-s", "0", "-w", "-", filter];
        let mut program = namespace.program("tcpdump").args(room).args(fixed).start();
        let (output, errors) = (program.output(), program.errors());
        let mut complaints = BufReader::new(errors).lines();
        let mut said = String::new();
        while !said.contains("listening on") {
            let next = complaints.next().and_then(Result::ok);
            said += &next.unwrap_or_else(|| panic!("{shown}: tcpdump ended: {said}"));
        }
        assert!(said.contains("(Ethernet)"), "{shown}: not an Ethernet link: {said}");
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in complaints.map_while(Result::ok) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let unreadable = Arc::new(Mutex::new(Vec::new()));
        let store = (Arc::clone(&seen), Arc::clone(&unreadable));
        let reader = std::thread::spawn(move || {
            // The end of tcpdump is the end of its output, in the middle of a record or not.
            read_records(BufReader::new(output), &store.0, &store.1).ok();
        });
        Self { program, seen, unreadable, said, shown, reader: Some(reader) }
    }

    /// What has been seen so far.
    pub fn packets(&self) -> Vec<Packet> {
        self.timed().into_iter().map(|(_, packet)| packet).collect()
    }

    /// What has been seen so far, each with the kernel's time (since 1970).
    fn timed(&self) -> Vec<(Duration, Packet)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Frames that were seen but are not what they claim to be: too short for their own lengths.
    pub fn unreadable(&self) -> Vec<Vec<u8>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many packets the kernel could not hand over so far, since nobody came for those before.
    /// Only where that is 0, what was not seen was not there.
    #[track_caller]
    pub fn missed(&self) -> u64 {
        let lines = || self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = lines().len();
        self.program.signal(Signal::SIGUSR1);
        let sentence = format!("{}: tcpdump counts", self.shown);
        eventually(&sentence, Duration::from_secs(5), || {
            lines()[before..].iter().find_map(|line| dropped(line))
        })
    }

    /// The running tcpdump, to be held up.
    pub fn program(&self) -> &Running {
        &self.program
    }

    /// Waits up to ten seconds for a packet; panics with all that was seen instead.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_it: impl Fn(&Packet) -> bool) -> Packet {
        let sentence = format!("{}: {what}", self.shown);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&sentence, Duration::from_secs(10), || {
                self.packets().into_iter().find(|packet| is_it(packet))
            })
        }));
        found.unwrap_or_else(|_| panic!("{sentence}: seen instead: {:#?}", self.packets()))
    }

    /// Ends the capture after a moment of grace and gives all that was seen.
    pub fn stop(self) -> Vec<Packet> {
        self.stop_timed().into_iter().map(|(_, packet)| packet).collect()
    }

    /// The same with the kernel's times.
    pub fn stop_timed(mut self) -> Vec<(Duration, Packet)> {
        std::thread::sleep(Duration::from_millis(150));
        self.program.terminate();
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
        self.timed()
    }
}

/// Out of "3 packets captured, 4 packets received by filter, 0 packets dropped by kernel".
fn dropped(line: &str) -> Option<u64> {
    let count = line.split(", ").find(|part| part.ends_with("dropped by kernel"))?;
    count.split(' ').next()?.parse().ok()
}

/// Reads a pcap stream: 24 bytes of header, then records of 16 bytes (seconds, microseconds, length
/// here, length on the wire) and a frame.
fn read_records(
    mut output: impl Read,
    store: &Mutex<Vec<(Duration, Packet)>>,
    unreadable: &Mutex<Vec<Vec<u8>>>,
) -> io::Result<()> {
    output.read_exact(&mut [0; 24])?;
    loop {
        let mut header = [0; 16];
        output.read_exact(&mut header)?;
        let word = |at| u32::from_ne_bytes([0, 1, 2, 3].map(|i: usize| header[at + i]));
        let time = Duration::from_secs(word(0).into()) + Duration::from_micros(word(4).into());
        let length = word(8);
        let mut frame = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        output.read_exact(&mut frame)?;
        match Packet::parse(&frame) {
            Some(packet) => {
                store.lock().unwrap_or_else(PoisonError::into_inner).push((time, packet));
            }
            None => unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(frame),
        }
    }
}
