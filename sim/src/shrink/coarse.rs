//! What can be taken from a plan as a whole: lengths, clients, kinds of faults, limits.

use crate::plan::{Kind, MS, Plan};

type Change = Box<dyn Fn(&mut Plan)>;

/// Plans that lack one thing each, with what it is.
pub(super) fn candidates(plan: &Plan) -> Vec<(String, Plan)> {
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
            "everybody makes core requests".into(),
            Box::new(|plan| plan.wires.share = 0),
        ),
        ("no foes".into(), Box::new(|plan| plan.wires.foes = 0)),
        ("nobody is refused".into(), Box::new(|plan| plan.wires.refused = 0)),
        ("no resets".into(), Box::new(|plan| plan.wires.resets = 0)),
        ("no silences".into(), Box::new(|plan| plan.wires.silences = 0)),
        (
            "no stalls of the network".into(),
            Box::new(|plan| plan.wires.stalls = 0),
        ),
        ("no slow connections".into(), Box::new(|plan| plan.wires.slow = 0)),
        ("no slow readers".into(), Box::new(|plan| plan.wires.sluggish = 0)),
        ("nobody is hasty".into(), Box::new(|plan| plan.wires.hasty = 0)),
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
    for (queue, kind) in plan.queues.iter().enumerate() {
        if !kind.is_grave() && *kind != Kind::Plain {
            changes.push((
                format!("queue {queue} without limits"),
                Box::new(move |plan| {
                    plan.queues[queue] = Kind::Plain;
                    plan.graves[queue] = None;
                }),
            ));
        }
    }
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
