//! A private network of namespaces: a hub in the middle, and spokes that reach only the hub.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
    process::Command,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The prefix of all namespaces of these tests. The id of the process that created them follows, so that [`sweep`]
/// finds the namespaces that a killed process left behind.
const PREFIX: &str = "tidegate-chaos-";

static MADE: AtomicUsize = AtomicUsize::new(0);
static NO_NETEM: Once = Once::new();

/// Whether this process may create namespaces and these programs are installed. If not, the test prints that it is
/// skipped and passes; in CI it fails.
#[must_use]
pub fn have(programs: &[&str]) -> bool {
    let missing = |program: &&&str| {
        !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).exists())
    };
    let why = if std::fs::metadata("/proc/self").map(|data| std::os::unix::fs::MetadataExt::uid(&data)).ok()
        != Some(0)
    {
        Some("this process is not root".to_owned())
    } else {
        programs.iter().find(missing).map(|program| format!("`{program}` is missing"))
    };
    let Some(why) = why else { return true };
    assert!(std::env::var_os("CI").is_none(), "in CI this test must not be skipped, but {why}");
    say(format_args!("SKIPPED: this test needs namespaces, and {why}"));
    false
}

/// Prints to standard error, also in a test that passes.
pub fn say(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// A direction of the path between the hub and a spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the hub to the spoke.
    ToSpoke,
    /// From the spoke to the hub.
    FromSpoke,
    /// Both.
    Both,
}

/// A hub and its spokes, as network namespaces. Dropping this value removes them.
pub struct Network {
    hub: String,
    spokes: Vec<String>,
    netem: bool,
}

impl Network {
    /// Creates a network; `None` where that is not possible (see [`have`]).
    #[must_use]
    pub fn star(spokes: usize) -> Option<Self> {
        if !have(&["ip", "tc"]) {
            return None;
        }
        sweep();
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |end: &dyn fmt::Display| format!("{PREFIX}{}-{nth}-{end}", std::process::id());
        let mut network = Self { hub: name(&"hub"), spokes: Vec::new(), netem: false };
        run("ip", &["netns", "add", &network.hub]);
        run("ip", &["-n", &network.hub, "link", "set", "dev", "lo", "up"]);
        for index in 0..spokes {
            let spoke = name(&index);
            run("ip", &["netns", "add", &spoke]);
            network.spokes.push(spoke.clone());
            let (hub, device) = (&network.hub, format!("spoke{index}"));
            run(
                "ip",
                &["-n", hub, "link", "add", &device, "type", "veth", "peer", "name", "hub", "netns", &spoke],
            );
            for (namespace, device, end) in [(hub, device.as_str(), 1), (&spoke, "hub", 2)] {
                let address = format!("10.77.{index}.{end}/30");
                run("ip", &["-n", namespace, "address", "add", &address, "dev", device]);
                run("ip", &["-n", namespace, "link", "set", "dev", device, "up"]);
            }
        }
        network.netem = network.can_netem();
        Some(network)
    }

    /// The command prefix that starts a program in the hub.
    #[must_use]
    pub fn in_hub(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.hub]
    }

    /// The command prefix that starts a program in a spoke.
    #[must_use]
    pub fn in_spoke(&self, index: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.spokes[index]]
    }

    /// The endpoint of the hub as a spoke sees it.
    #[must_use]
    pub fn hub_from(&self, index: usize) -> String {
        format!("tcp://10.77.{index}.1:8433")
    }

    /// Silently drops all packets in this direction.
    pub fn cut(&self, index: usize, way: Way) {
        self.each(index, way, |tc| tc.run("qdisc replace dev {} root pfifo limit 0"));
    }

    /// Drops one packet in sixteen; with netem, also delays each by 20 ms.
    pub fn make_lossy(&self, index: usize, way: Way) {
        self.each(index, way, |tc| {
            if self.netem {
                return tc.run("qdisc replace dev {} root netem delay 20ms loss 6%");
            }
            // Without netem: every sixteenth packet of a connection, selected by the identification in its IP header,
            // goes to a queue of length 0. An identification that ends with 0 is not selected, because a SYN-ACK always
            // has it.
            tc.run("qdisc replace dev {} root handle 1: htb default 1");
            tc.run("class add dev {} parent 1: classid 1:1 htb rate 1gbit quantum 60000");
            tc.run("class add dev {} parent 1: classid 1:2 htb rate 1gbit quantum 60000");
            tc.run("qdisc add dev {} parent 1:2 pfifo limit 0");
            tc.run("filter add dev {} parent 1: protocol ip u32 match u16 7 0x000f at 4 flowid 1:2");
        });
    }

    /// Limits the rate to `kbit` kbit/s, with a queue in which a packet waits up to a second.
    pub fn make_slow(&self, index: usize, way: Way, kbit: usize) {
        let shape = format!("qdisc replace dev {{}} root tbf rate {kbit}kbit burst 16kb latency 1s");
        self.each(index, way, |tc| tc.run(&shape));
    }

    /// Removes [`Network::cut`] and every other fault from this direction.
    pub fn heal(&self, index: usize, way: Way) {
        self.each(index, way, |tc| tc.run("qdisc del dev {} root"));
    }

    /// The number of packets that the current fault has dropped in this direction.
    #[must_use]
    pub fn lost(&self, index: usize, way: Way) -> u64 {
        let mut lost = 0;
        self.each(index, way, |tc| {
            let text = tc.read("-s qdisc show dev {} root");
            let number = text.split("dropped ").nth(1).and_then(|rest| rest.split(',').next());
            lost += number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        });
        lost
    }

    /// Whether delays and losses come from netem.
    #[must_use]
    pub const fn has_netem(&self) -> bool {
        self.netem
    }

    fn each(&self, index: usize, way: Way, mut f: impl FnMut(Device<'_>)) {
        if way != Way::FromSpoke {
            f(Device { namespace: &self.hub, name: &format!("spoke{index}") });
        }
        if way != Way::ToSpoke {
            f(Device { namespace: &self.spokes[index], name: "hub" });
        }
    }

    fn can_netem(&self) -> bool {
        let mut tc = Command::new("tc");
        tc.args(["-n", &self.hub, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]);
        let able = tc.output().is_ok_and(|output| output.status.success());
        if able {
            run("tc", &["-n", &self.hub, "qdisc", "del", "dev", "lo", "root"]);
        } else {
            NO_NETEM.call_once(|| {
                say(format_args!(
                    "this kernel has no netem: a queue of length 0 drops packets, and none is delayed"
                ));
            });
        }
        able
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.spokes.iter().chain([&self.hub]) {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// The network device at one end of a path.
struct Device<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Device<'_> {
    fn run(&self, words: &str) {
        let _ = self.read(words);
    }

    fn read(&self, words: &str) -> String {
        let words = words.replace("{}", self.name);
        let args: Vec<_> = ["-n", self.namespace].into_iter().chain(words.split(' ')).collect();
        run("tc", &args)
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {errors}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Removes the namespaces of processes that no longer exist.
fn sweep() {
    let listed = run("ip", &["netns", "list"]);
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
