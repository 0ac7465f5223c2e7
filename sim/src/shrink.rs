//! The smallest plan that still fails: shorter, with fewer clients, queues' features and faults.

use crate::campaign::attempt;
use crate::plan::{MS, Plan};

/// Runs at most.
const RUNS_MAX: u32 = 400;

/// What is left of a plan, and how it fails. `None` if it does not fail to begin with.
#[must_use]
pub fn shrink(plan: &Plan, mut tell: impl FnMut(&str)) -> Option<(Plan, String)> {
    let mut what = attempt(plan).err()?;
    let mut best = plan.clone();
    let mut runs = 0;
    loop {
        let mut smaller = false;
        for (change, candidate) in candidates(&best) {
            if candidate == best || runs == RUNS_MAX {
                continue;
            }
            runs += 1;
            if let Err(failure) = attempt(&candidate) {
                // A change of symptom is no matter: the smaller plan fails.
                tell(&format!("{change}: still fails"));
                (best, what, smaller) = (candidate, failure, true);
            }
        }
        if !smaller {
            return Some((best, what));
        }
    }
}

type Change = Box<dyn Fn(&mut Plan)>;

fn candidates(plan: &Plan) -> Vec<(String, Plan)> {
    let mut changes: Vec<(String, Change)> = vec![
        (
            "half the length".into(),
            Box::new(|plan| plan.length = (plan.length / 2).max(10 * MS)),
        ),
        (
            "nine tenths of the length".into(),
            Box::new(|plan| plan.length = (plan.length / 10 * 9).max(10 * MS)),
        ),
        ("no crashes".into(), Box::new(|plan| plan.crash_every = None)),
        ("no second crashes".into(), Box::new(|plan| plan.crash_again = 0)),
        ("no damage".into(), Box::new(|plan| plan.damage = 0)),
        ("no disk errors".into(), Box::new(|plan| plan.error_every = None)),
        ("no stalls".into(), Box::new(|plan| plan.stalls = 0)),
        ("no deaths".into(), Box::new(|plan| plan.deaths = 0)),
        ("nobody forgets".into(), Box::new(|plan| plan.forgetful = 0)),
        ("nobody is mute".into(), Box::new(|plan| plan.mute = 0)),
        ("no expirations".into(), Box::new(|plan| plan.expiring = 0)),
        ("nothing unroutable".into(), Box::new(|plan| plan.unroutable = 0)),
        ("no crowd".into(), Box::new(|plan| plan.crowd = 0)),
        (
            "small bodies".into(),
            Box::new(|plan| plan.body_max = plan.body_max.min(16)),
        ),
        ("a window of one".into(), Box::new(|plan| plan.window = 1)),
        ("unsynced sectors are lost".into(), Box::new(|plan| plan.survival = 0)),
        ("large segments".into(), Box::new(|plan| plan.segment_bytes = 1 << 20)),
        ("a large cache".into(), Box::new(|plan| plan.cache_bytes = 1 << 26)),
        (
            "rare checkpoints".into(),
            Box::new(|plan| plan.checkpoint_bytes = 1 << 20),
        ),
    ];
    for client in (0..plan.clients() - 1).filter(|client| !plan.absent.contains(client)) {
        changes.push((
            format!("without client {client}"),
            Box::new(move |plan| plan.absent.push(client)),
        ));
    }
    let changed = |(what, change): (String, Change)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        (what, candidate)
    };
    changes.into_iter().map(changed).collect()
}
