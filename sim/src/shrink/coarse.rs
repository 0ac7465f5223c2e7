//! What can be taken from a plan as a whole: lengths, clients, kinds of faults, limits.

use crate::plan::{Kind, MS, Plan};

type Change = fn(&mut Plan);

/// Less of the run, and fewer faults.
const LESS: [(&str, Change); 11] = [
    ("half the length", |plan| plan.length = (plan.length / 2).max(10 * MS)),
    ("nine tenths of the length", |plan| {
        plan.length = (plan.length / 10 * 9).max(10 * MS);
    }),
    ("no crashes", |plan| plan.crash_every = None),
    ("no second crashes", |plan| plan.crash_again = 0),
    ("no damage", |plan| plan.damage = 0),
    ("no disk errors", |plan| plan.error_every = None),
    ("no stalls", |plan| plan.stalls = 0),
    ("no deaths", |plan| plan.deaths = 0),
    ("nobody forgets", |plan| plan.forgetful = 0),
    ("nobody is mute", |plan| plan.mute = 0),
    ("unsynced sectors are lost", |plan| plan.survival = 0),
];

/// A simpler network.
const NETWORK: [(&str, Change); 9] = [
    ("everybody makes core requests", |plan| plan.wires.share = 0),
    ("no foes", |plan| plan.wires.foes = 0),
    ("nobody is refused", |plan| plan.wires.refused = 0),
    ("no resets", |plan| plan.wires.resets = 0),
    ("no silences", |plan| plan.wires.silences = 0),
    ("no stalls of the network", |plan| plan.wires.stalls = 0),
    ("no slow connections", |plan| plan.wires.slow = 0),
    ("no slow readers", |plan| plan.wires.sluggish = 0),
    ("nobody is hasty", |plan| plan.wires.hasty = 0),
];

/// Plainer messages, and limits that are seldom reached.
const PLAINER: [(&str, Change); 8] = [
    ("no expirations", |plan| plan.expiring = 0),
    ("nothing unroutable", |plan| plan.unroutable = 0),
    ("no crowd", |plan| plan.crowd = 0),
    ("small bodies", |plan| plan.body_max = plan.body_max.min(16)),
    ("a window of one", |plan| plan.window = 1),
    ("large segments", |plan| plan.segment_bytes = 1 << 20),
    ("a large cache", |plan| plan.cache_bytes = 1 << 26),
    ("rare checkpoints", |plan| plan.checkpoint_bytes = 1 << 20),
];

/// Plans that lack one thing each, with what it is.
pub(super) fn candidates(plan: &Plan) -> Vec<(String, Plan)> {
    let mut candidates = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        candidates.push((what, candidate));
    };
    for (what, change) in LESS.iter().chain(&NETWORK).chain(&PLAINER) {
        add((*what).to_owned(), change);
    }
    for (queue, kind) in plan.queues.iter().enumerate() {
        if !kind.is_grave() && *kind != Kind::Plain {
            add(format!("queue {queue} without limits"), &|plan| {
                plan.queues[queue] = Kind::Plain;
                plan.graves[queue] = None;
            });
        }
    }
    for client in (0..plan.clients() - 1).filter(|client| !plan.absent.contains(client)) {
        add(format!("without client {client}"), &|plan| plan.absent.push(client));
    }
    candidates
}
