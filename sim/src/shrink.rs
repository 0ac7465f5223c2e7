//! The smallest plan that still fails in the same way: first whole features and clients go, then single turns of clients
//! and single faults, then single requests, by delta debugging (Zeller and Hildebrandt's `ddmin`).

mod coarse;

use crate::campaign::{Failure, try_run};
use crate::kept::{Fault, Kept};
use crate::plan::Plan;
use crate::timeline::Recorder;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What is left of a plan, and how it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// It fails in the same way as the plan that it was made from.
    pub plan: Plan,
    /// How.
    pub failure: Failure,
    /// Runs that this took.
    pub runs: u64,
    /// Before and after: turns in which a client did something, and faults.
    pub turns: (usize, usize),
    /// See above.
    pub faults: (usize, usize),
}

/// Something that can be left out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Fault(Fault, u64),
    Turn(usize, u64),
    Request(usize, u64, usize),
}

struct Shrinker<'a> {
    best: Plan,
    failure: Failure,
    runs: u64,
    until: Instant,
    tell: &'a mut dyn FnMut(&str),
}

/// Makes a plan small, for at most so long. `None` if it does not fail to begin with.
#[must_use]
pub fn shrink(plan: &Plan, time: Duration, mut tell: impl FnMut(&str)) -> Option<Shrunk> {
    let recorder = Recorder::on();
    let failure = try_run(plan, &recorder).err()?;
    let before = recorder.timeline();
    let mut shrinker = Shrinker {
        best: plan.clone(),
        failure,
        runs: 1,
        until: Instant::now() + time,
        tell: &mut tell,
    };
    shrinker.coarse();
    shrinker.fine();
    let left = Recorder::on();
    let failure = try_run(&shrinker.best, &left).err()?;
    let after = left.timeline();
    Some(Shrunk {
        plan: shrinker.best,
        failure,
        runs: shrinker.runs,
        turns: (before.turns.len(), after.turns.len()),
        faults: (before.faults.len(), after.faults.len()),
    })
}

impl Shrinker<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Takes a plan if it fails in the same way.
    fn take(&mut self, candidate: Plan) -> bool {
        if candidate == self.best || self.is_late() {
            return false;
        }
        self.runs += 1;
        match try_run(&candidate, &Recorder::default()) {
            Err(failure) if failure.kind == self.failure.kind => {
                (self.best, self.failure) = (candidate, failure);
                true
            }
            // Another failure is another bug.
            Err(_) | Ok(_) => false,
        }
    }

    /// Leaves out whole features, as long as one can go.
    fn coarse(&mut self) {
        loop {
            let mut smaller = false;
            for number in 0.. {
                // Candidates are made of what is the best by now.
                let Some((what, candidate)) = coarse::candidates(&self.best).into_iter().nth(number) else {
                    break;
                };
                if self.take(candidate) {
                    (self.tell)(&format!("{what}: still fails"));
                    smaller = true;
                }
            }
            if !smaller || self.is_late() {
                return;
            }
        }
    }

    /// Leaves out single faults, turns and requests, as long as one can go.
    fn fine(&mut self) {
        loop {
            let Some(mut kept) = self.everything() else { return };
            if let Some(before) = &self.best.kept {
                kept.without.clone_from(&before.without);
            }
            // Turns without a request are left out at once: they do nothing, or nearly.
            let all = Plan {
                kept: Some(kept),
                ..self.best.clone()
            };
            let began = self.size();
            if !self.take(all) && self.best.kept.is_none() {
                return;
            }
            self.minimise(Self::faults);
            self.clients();
            self.minimise(Self::turns);
            self.minimise(Self::requests);
            self.coarse();
            let size = self.size();
            (self.tell)(&format!(
                "{} faults, {} turns, {} requests left out",
                size.0, size.1, size.2
            ));
            if size == began || self.is_late() {
                return;
            }
        }
    }

    /// Faults and turns that are kept, and requests that are not.
    fn size(&self) -> (usize, usize, usize) {
        let Some(kept) = &self.best.kept else {
            return (usize::MAX, usize::MAX, 0);
        };
        let faults = kept.faults.values().map(BTreeSet::len).sum();
        (faults, kept.turns.values().map(BTreeSet::len).sum(), kept.without.len())
    }

    /// All that the best plan did.
    fn everything(&mut self) -> Option<Kept> {
        let recorder = Recorder::on();
        self.runs += 1;
        try_run(&self.best, &recorder).err()?;
        let timeline = recorder.timeline();
        let mut kept = Kept::default();
        for (client, turn, _) in timeline.turns {
            kept.turns.entry(client).or_default().insert(turn);
        }
        for (fault, number) in timeline.faults {
            kept.faults.entry(fault).or_default().insert(number);
        }
        Some(kept)
    }

    fn kept(&self) -> Kept {
        self.best.kept.clone().unwrap_or_default()
    }

    fn faults(&mut self) -> Vec<Item> {
        let kept = self.kept();
        let each = |(fault, numbers): (&Fault, &BTreeSet<u64>)| {
            let fault = *fault;
            numbers
                .iter()
                .map(move |number| Item::Fault(fault, *number))
                .collect::<Vec<_>>()
        };
        kept.faults.iter().flat_map(each).collect()
    }

    /// In the order of their numbers, those of all clients mixed: neighbours are close in time.
    fn turns(&mut self) -> Vec<Item> {
        let kept = self.kept();
        let mut turns: Vec<(u64, usize)> = Vec::new();
        for (client, numbers) in &kept.turns {
            turns.extend(numbers.iter().map(|turn| (*turn, *client)));
        }
        turns.sort_unstable();
        turns
            .into_iter()
            .map(|(turn, client)| Item::Turn(client, turn))
            .collect()
    }

    fn requests(&mut self) -> Vec<Item> {
        let recorder = Recorder::on();
        self.runs += 1;
        drop(try_run(&self.best, &recorder));
        let mut items = Vec::new();
        for (client, turn, requests) in recorder.timeline().turns {
            items.extend((0..requests).map(|place| Item::Request(client, turn, place)));
        }
        let gone = self.kept().without;
        items.retain(
            |item| !matches!(item, Item::Request(client, turn, place) if gone.contains(&(*client, *turn, *place))),
        );
        items
    }

    /// All turns of a client at once.
    fn clients(&mut self) {
        for client in self.kept().turns.into_keys() {
            let mut kept = self.kept();
            kept.turns.remove(&client);
            self.take_kept(kept);
        }
    }

    /// Leaves out ever smaller runs of neighbours, until none can go alone.
    fn minimise(&mut self, items: fn(&mut Self) -> Vec<Item>) {
        let mut items = items(self);
        let mut run = items.len();
        while run > 0 && !self.is_late() {
            let mut start = 0;
            while start < items.len() {
                let end = (start + run).min(items.len());
                let mut kept = self.kept();
                items[start..end].iter().for_each(|item| leave_out(&mut kept, *item));
                if self.take_kept(kept) {
                    items.drain(start..end);
                } else {
                    start = end;
                }
            }
            run /= 2;
        }
    }

    fn take_kept(&mut self, kept: Kept) -> bool {
        self.take(Plan {
            kept: Some(kept),
            ..self.best.clone()
        })
    }
}

fn leave_out(kept: &mut Kept, item: Item) {
    match item {
        Item::Fault(fault, number) => {
            kept.faults.entry(fault).or_default().remove(&number);
        }
        Item::Turn(client, turn) => {
            kept.turns.entry(client).or_default().remove(&turn);
        }
        Item::Request(client, turn, place) => {
            kept.without.insert((client, turn, place));
        }
    }
}
