//! The run that speed is measured with: 1,500 ticks of a virtual millisecond and about 200 publishes, always the same
//! clients and queues, with and without faults.

use crate::net::plan::Wires;
use crate::plan::{Kind, MS, Plan};

/// Its name, and how a seed's run is drawn.
pub type Profile = (&'static str, fn(u64) -> Plan);

/// Each is measured by itself.
pub const PROFILES: [Profile; 2] = [("without faults", calm), ("with faults", stormy)];

fn calm(seed: u64) -> Plan {
    Plan {
        length: 1500 * MS,
        queues: vec![Kind::Plain, Kind::Expiring { ttl_ms: 100 }, Kind::Dead],
        graves: vec![None, Some(2), None],
        publishers: 2,
        committers: 0,
        consumers: 2,
        meddlers: 1,
        visitors: 0,
        churners: 0,
        channels: 1,
        crowd: 0,
        pace: 9 * MS,
        body_max: 200,
        window: 1,
        expiring: 0,
        unroutable: 20,
        mute: 0,
        deaths: 0,
        forgetful: 0,
        crash_every: None,
        crash_again: 0,
        damage: 0,
        error_every: None,
        stalls: 0,
        wires: Wires::default(),
        ..Plan::draw(seed)
    }
}

fn stormy(seed: u64) -> Plan {
    Plan {
        pace: 4 * MS,
        deaths: 10,
        forgetful: 50,
        crash_every: Some(600 * MS),
        survival: 128,
        crash_again: 64,
        damage: 64,
        error_every: Some(1500 * MS),
        stalls: 5,
        ..calm(seed)
    }
}
