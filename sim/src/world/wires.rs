//! The world's part in connections that speak bytes: it carries what goes in and what comes out.

use super::{Happening, World};
use crate::net::Effect;
use waystation_core::api::{ConnId, Reply, Request};

impl World {
    /// Gives requests to the connection if it speaks bytes; otherwise they come back.
    pub(super) fn over_a_wire(&mut self, conn: ConnId, requests: Vec<Request>) -> Option<Vec<Request>> {
        let leaves = matches!(requests.last(), Some(Request::Disconnect));
        let back = self.net.ask(self.clock(), conn, requests);
        if back.is_none() && leaves {
            // From now on the network knows when it is gone.
            self.clients.hear(conn, vec![Reply::Disconnected]);
        }
        back
    }

    /// How long replies of the node take.
    pub(super) fn way_back(&mut self, conn: ConnId) -> u64 {
        if self.net.carries(conn) {
            let delay = self.net.way_back(conn);
            self.in_order(conn, false, delay)
        } else {
            self.latency(conn, false)
        }
    }

    /// Replies of the node arrive: at a session, or at the client itself.
    pub(super) fn reply_to(&mut self, conn: ConnId, replies: Vec<Reply>) {
        if self.net.carries(conn) {
            self.net.reply(self.clock(), conn, replies);
        } else {
            let acts = self.clients.hear(conn, replies);
            self.perform(acts);
        }
    }

    /// Carries on what the network did.
    pub(super) fn carry(&mut self) {
        while let Some(effect) = self.net.poll() {
            let life = self.life;
            match effect {
                Effect::Ask { conn, requests, delay } => {
                    let delay = self.in_order(conn, true, delay);
                    self.tell_request(conn, &requests);
                    self.at(delay, Happening::ToNode { conn, requests, life });
                }
                Effect::Hear { conn, replies } => {
                    let acts = self.clients.hear(conn, replies);
                    self.perform(acts);
                }
                Effect::Lost { conn } => {
                    self.tell_lost(conn);
                    self.clients.lost(conn);
                }
                Effect::Wake { conn, at } => {
                    let delay = at.saturating_sub(self.now).max(1);
                    self.at(delay, Happening::Net { conn, life });
                }
                Effect::Broken { conn, broken } => {
                    let (guarantee, what) = broken;
                    self.ledger.fail(guarantee, format!("connection {}: {what}", conn.0));
                }
            }
        }
        self.clients.others_linger = !self.net.is_over(self.clients.drainer_conn());
    }
}
