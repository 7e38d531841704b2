//! Measures the cost of floods: `cargo run --release -p tidegate-tests --bin flood -- --seconds 5`. See
//! `docs/SECURITY.md`.

// A command prints its results.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::{env, error::Error, time::Duration};

use tidegate_tests::hostile::{
    attack,
    measure::{Measure, name},
    sides,
};

const USAGE: &str = "usage: flood [--seconds N] [--size BYTES] [--only NAME,NAME] [--json]

Attacks a pusher and a puller, each with a well-behaved link, and prints the link's throughput under attack and in the
baseline. In the baseline a plain TCP server, which discards everything, gets the same flood. The baseline of an attack
that takes messages is a second well-behaved link that takes as many. Loopback only.
An attack that leaves the link less than half of the baseline is measured again. The exit code is 1 if it stays below.
TIDEGATE_SOAK_SECONDS is the time of all attacks together, unless --seconds gives that of each.";

/// The part of its throughput that a well-behaved link keeps at least.
const MIN_RATIO: f64 = 0.5;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Some(("side", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return sides::run(rest);
    }
    let (mut seconds, mut size, mut only, mut json) = (None, 1_024, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--seconds" => seconds = Some(value()?.parse::<f64>()?),
            "--size" => size = value()?.parse()?,
            "--only" => only = Some(value()?.split(',').map(str::to_owned).collect::<Vec<_>>()),
            "--json" => json = true,
            _ => return Err(USAGE.into()),
        }
    }
    if let Some(unknown) = only.iter().flatten().find(|name| attack::ALL.iter().all(|a| a.name != **name)) {
        let names: Vec<_> = attack::ALL.iter().map(|attack| attack.name).collect();
        return Err(format!("unknown attack {unknown}; the attacks are {}", names.join(", ")).into());
    }
    let chosen = |name: &str| only.as_ref().is_none_or(|only| only.iter().any(|one| one == name));
    let all: Vec<_> = attack::ALL
        .iter()
        .filter(|attack| chosen(attack.name))
        .flat_map(|attack| attack.on.iter().map(move |target| (attack, *target)))
        .collect();
    let seconds = match (seconds, env::var("TIDEGATE_SOAK_SECONDS")) {
        (Some(seconds), _) => seconds,
        // Each attack is measured twice, plus two seconds to start and stop.
        (None, Ok(total)) => (total.parse::<f64>()? / (2 * all.len()) as f64 - 2.0).max(1.0),
        (None, Err(_)) => 3.0,
    };
    let measure = Measure { program: env::current_exe()?, time: Duration::from_secs_f64(seconds), size };
    if !json {
        println!(
            "| attack | on | msgs/s, baseline | msgs/s, attacked | ratio | peak KiB, baseline | peak KiB, attacked |"
        );
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    }
    let mut costly = Vec::new();
    for (attack, target) in all {
        let run = || measure.run(attack, target).map_err(|error| format!("{}: {error}", attack.name));
        let mut found = run()?;
        if found.ratio() < MIN_RATIO {
            found = run()?; // the machine may have been busy with something else
        }
        if found.ratio() < MIN_RATIO {
            costly.push(format!("{} on a {} ({:.2})", attack.name, name(target), found.ratio()));
        }
        if json {
            println!("{}", found.to_json());
        } else {
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.2} | {} | {} |",
                attack.name,
                name(target),
                found.plain,
                found.attacked,
                found.ratio(),
                found.calm_kib,
                found.peak_kib
            );
        }
    }
    if costly.is_empty() {
        Ok(())
    } else {
        Err(format!("less than {MIN_RATIO} of the baseline is left under: {}", costly.join(", ")).into())
    }
}
