//! A network of namespaces, which nothing else sees: a hub in the middle, and spokes that reach only the hub.

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

/// How the namespaces of all these tests are named: with the number of the process that made them, so that what a killed one left
/// behind is known.
const PREFIX: &str = "tidegate-chaos-";

static MADE: AtomicUsize = AtomicUsize::new(0);
static NO_NETEM: Once = Once::new();

/// Whether this process may make namespaces, and these programs are there. A developer's machine may do without, and the test says
/// so and passes; in CI that is a failure.
#[must_use]
pub fn have(programs: &[&str]) -> bool {
    let missing = |program: &&&str| {
        !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).exists())
    };
    let why = if std::fs::metadata("/proc/self").map(|data| std::os::unix::fs::MetadataExt::uid(&data)).ok()
        != Some(0)
    {
        Some("it is not root".to_owned())
    } else {
        programs.iter().find(missing).map(|program| format!("`{program}` is missing"))
    };
    let Some(why) = why else { return true };
    assert!(std::env::var_os("CI").is_none(), "in CI this test must run, but {why}");
    say(format_args!("SKIPPED: this test needs namespaces, and {why}"));
    false
}

/// Says something on standard error, also in a test that passes.
pub fn say(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// A direction on the way between the hub and a spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the hub sends.
    ToSpoke,
    /// What the spoke sends.
    FromSpoke,
    /// Both.
    Both,
}

/// A hub and its spokes, as network namespaces; gone with this value.
pub struct Network {
    hub: String,
    spokes: Vec<String>,
    netem: bool,
}

impl Network {
    /// A new one; `None` where that is not possible (see [`have`]).
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

    /// Starts a program in the hub.
    #[must_use]
    pub fn in_hub(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.hub]
    }

    /// Starts a program in a spoke.
    #[must_use]
    pub fn in_spoke(&self, index: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.spokes[index]]
    }

    /// The endpoint of the hub as a spoke sees it.
    #[must_use]
    pub fn hub_from(&self, index: usize) -> String {
        format!("tcp://10.77.{index}.1:8433")
    }

    /// Loses everything on this way, without a word to either end.
    pub fn cut(&self, index: usize, way: Way) {
        self.each(index, way, |tc| tc.run("qdisc replace dev {} root pfifo limit 0"));
    }

    /// Loses one packet in sixteen, and with netem delays each by 20 ms.
    pub fn make_lossy(&self, index: usize, way: Way) {
        self.each(index, way, |tc| {
            if self.netem {
                return tc.run("qdisc replace dev {} root netem delay 20ms loss 6%");
            }
            // Without netem: every sixteenth packet of a connection goes into a queue for none, by the
            // number in its IP header. (Not where it ends with 0: the answer to a SYN has always that.)
            tc.run("qdisc replace dev {} root handle 1: htb default 1");
            tc.run("class add dev {} parent 1: classid 1:1 htb rate 1gbit quantum 60000");
            tc.run("class add dev {} parent 1: classid 1:2 htb rate 1gbit quantum 60000");
            tc.run("qdisc add dev {} parent 1:2 pfifo limit 0");
            tc.run("filter add dev {} parent 1: protocol ip u32 match u16 7 0x000f at 4 flowid 1:2");
        });
    }

    /// Lets only so many kbit/s pass, with a queue in which a packet may wait for a second.
    pub fn make_slow(&self, index: usize, way: Way, kbit: usize) {
        let shape = format!("qdisc replace dev {{}} root tbf rate {kbit}kbit burst 16kb latency 1s");
        self.each(index, way, |tc| tc.run(&shape));
    }

    /// Ends [`Network::cut`] and everything else that was done to this way.
    pub fn heal(&self, index: usize, way: Way) {
        self.each(index, way, |tc| tc.run("qdisc del dev {} root"));
    }

    /// How many packets were lost on this way by what was done to it last.
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
                    "this kernel has no netem: packets are lost by a queue for none, none is delayed"
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

/// One end of a way.
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

/// Removes namespaces whose process is gone.
fn sweep() {
    let listed = run("ip", &["netns", "list"]);
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
