//! Turns of clients and strikes of faults: what the plan keeps of them happens.

use super::{Happening, World};
use crate::clients::Act;
use crate::kept::Fault;
use rand::RngExt;
use waystation_core::api::Request;

impl World {
    /// A client's turn, with draws of its own.
    pub(super) fn turn(&mut self, client: usize, generation: u64) {
        if self.clients.generation(client) != generation {
            return;
        }
        self.turns.resize(self.clients.len(), 0);
        let turn = self.turns[client];
        self.turns[client] += 1;
        let mut rng = self.seeds.turn(client, turn);
        let drainer = client + 1 == self.clients.len();
        let optional = !drainer && !self.healing;
        if optional && !self.plan.keeps_turn(client, turn) {
            // As if it had done nothing: its next turn comes when it would have come.
            let delay = rng.random_range(1..2 * self.plan.pace);
            self.at(delay, Happening::Client { client, generation });
            return;
        }
        let mut acts = self.clients.act(client, generation, &mut rng, &mut self.ledger);
        if optional {
            self.leave_out(client, turn, &mut acts);
        }
        self.perform(acts);
    }

    /// Drops the requests that the plan leaves out of a turn.
    fn leave_out(&mut self, client: usize, turn: u64, acts: &mut [Act]) {
        let clients = &self.clients;
        let numbered = |request: &Request| clients.is_optional(client, request);
        let sent = || {
            acts.iter().filter_map(|act| match act {
                Act::Send { requests, .. } => Some(requests),
                Act::Later { .. } => None,
            })
        };
        if let Some(mut timeline) = self.recorder.open()
            && sent().next().is_some()
        {
            timeline.turn(
                client,
                turn,
                sent().flatten().filter(|request| numbered(request)).count(),
            );
        }
        let Some(kept) = self.plan.kept.as_ref().filter(|kept| !kept.without.is_empty()) else {
            return;
        };
        let mut place = 0;
        for act in acts {
            let Act::Send { requests, .. } = act else { continue };
            requests.retain(|request| {
                let numbered = numbered(request);
                place += usize::from(numbered);
                !numbered || !kept.without.contains(&(client, turn, place - 1))
            });
        }
    }

    /// Numbers a fault that is due, and says whether it strikes.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let due = self.due.entry(fault).or_default();
        let number = *due;
        *due += 1;
        let strikes = self.plan.keeps_fault(fault, number);
        if strikes {
            self.tell_fault(fault, number);
        }
        strikes
    }
}
