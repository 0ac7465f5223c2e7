//! Random histories that the node and its model must tell alike.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The node, its model, and what happened so far.
struct Both {
    broker: Option<Broker>,
    model: Model,
}

const CHANNELS: [Chan; 2] = [A, B];

impl Both {
    fn new() -> Self {
        let mut broker = Broker::with(&CHANNELS);
        CHANNELS.iter().for_each(|at| drop(broker.ask(*at, CONFIRM)));
        Self {
            broker: Some(broker),
            model: Model::default(),
        }
    }

    fn broker(&mut self) -> &mut Broker {
        self.broker.as_mut().expect("only a crash takes it, and brings another")
    }

    /// Asks the node; what it says must be what the model says. A failure is told by its first word.
    fn compare(&mut self, channel: usize, request: R, expected: &[String]) {
        let at = CHANNELS[channel];
        let said = self.broker().ask(at, request);
        let said: Vec<String> = said
            .into_iter()
            .map(|said| {
                if said.starts_with("failed") {
                    "failed".into()
                } else {
                    said
                }
            })
            .collect();
        assert_eq!(said, expected, "the node, and the model");
        if expected == ["failed"] {
            self.reopen(channel);
        }
    }

    fn reopen(&mut self, channel: usize) {
        let at = CHANNELS[channel];
        self.model.release(channel);
        self.broker().request(at.0, Request::CloseChannel { channel: at.1 });
        assert_eq!(self.broker().said(at), ["closed"]);
        self.broker().open(at);
        self.broker().ask(at, CONFIRM);
    }

    fn apply(&mut self, op: &Op) {
        let side = |on_b: bool| usize::from(on_b);
        match *op {
            Op::Declare { queue, shape, durable } => self.declare(queue, SHAPES[shape], durable),
            Op::Delete { queue, if_empty } => self.delete(queue, if_empty),
            Op::Purge { queue } => {
                let ready = self
                    .model
                    .queues
                    .get_mut(&queue)
                    .map(|queue| std::mem::take(&mut queue.ready).len());
                let expected = ready.map_or_else(|| "failed".to_owned(), |count| format!("purged {count}"));
                self.compare(0, purge(&name_of(queue)), &[expected]);
            }
            Op::Count { queue } => {
                let name = name_of(queue);
                let ready = self.model.queues.get(&queue).map(|queue| queue.ready.len());
                let expected = ready.map_or_else(|| "failed".to_owned(), |count| format!("declared {name} {count} 0"));
                self.compare(0, passive(&name), &[expected]);
            }
            Op::Exchange { .. } | Op::DeleteExchange { .. } | Op::Bind { .. } => self.topology(op),
            Op::Publish {
                exchange,
                key,
                ttl_ms,
                header,
                on_b,
            } => {
                self.publish(exchange, KEYS[key], ttl_ms, header, side(on_b));
            }
            Op::Get { queue, no_ack, on_b } => self.get(queue, no_ack, side(on_b)),
            Op::Settle {
                nth,
                multiple,
                outcome,
                on_b,
            } => {
                let held = &self.model.channels[side(on_b)].held;
                let tag = if nth < held.len() {
                    held[nth].0
                } else {
                    nth as u64 - held.len() as u64
                };
                let expected = self.model.settle(tag, multiple, outcome, side(on_b));
                let request = R::Settle { tag, multiple, outcome };
                self.compare(side(on_b), request, &expected);
            }
            Op::Recover { on_b } => {
                let channel = &mut self.model.channels[side(on_b)];
                let before = ModelChannel {
                    held: Vec::new(),
                    ..channel.clone()
                };
                self.model.release(side(on_b));
                self.model.channels[side(on_b)] = before;
                self.compare(side(on_b), R::Recover { reply: true }, &["recovered".into()]);
            }
            Op::Close { on_b } => self.reopen(side(on_b)),
            Op::Pass { ms } => {
                self.broker().pass_ms(ms);
                self.model.now += ms;
                self.model.rest();
            }
            Op::Crash => self.crash(),
        }
    }

    fn declare(&mut self, queue: usize, shape: Shape, durable: bool) {
        // A queue in memory drops at once, a durable one when its entry is durable: whose dead letter is first is not said.
        let durable = durable || shape.dead_exchange.is_some();
        let name = name_of(queue);
        let expected = match self.model.queues.get(&queue) {
            Some(there) if there.shape != shape || there.durable != durable => "failed".into(),
            Some(there) => format!("declared {name} {} 0", there.ready.len()),
            None => {
                self.model.ids += 1;
                let (id, next, ready) = (self.model.ids, 0, Vec::new());
                self.model.queues.insert(
                    queue,
                    ModelQueue {
                        id,
                        durable,
                        shape,
                        next,
                        ready,
                    },
                );
                format!("declared {name} 0 0")
            }
        };
        let request = changed(queue_with(&name, &shape.arguments()), |_, is_durable, _, _, _| {
            *is_durable = durable
        });
        self.compare(0, request, &[expected]);
    }

    fn delete(&mut self, queue: usize, if_empty: bool) {
        let ready = self.model.queues.get(&queue).map_or(0, |queue| queue.ready.len());
        let expected = if if_empty && ready > 0 {
            "failed".into()
        } else {
            self.model.queues.remove(&queue);
            self.model.unbind_all(To::Queue(queue));
            format!("deleted {ready}")
        };
        let (if_unused, reply) = (false, true);
        let name = name_of(queue).as_str().into();
        self.compare(
            0,
            R::DeleteQueue {
                name,
                if_unused,
                if_empty,
                reply,
            },
            &[expected],
        );
    }

    fn topology(&mut self, op: &Op) {
        match *op {
            Op::Exchange { exchange: at } => {
                if !self.model.exchanges.contains(&at) {
                    self.model.exchanges.push(at);
                }
                let (name, kind) = EXCHANGES[at];
                self.compare(0, exchange(name, kind), &["exchangedeclared".into()]);
            }
            Op::DeleteExchange {
                exchange: at,
                if_unused,
            } => {
                let used = self.model.bindings.iter().any(|(from, ..)| *from == at);
                let expected = if if_unused && used {
                    "failed"
                } else {
                    self.model.exchanges.retain(|one| *one != at);
                    self.model.unbind_all(To::Exchange(at));
                    "exchangedeleted"
                };
                let name = EXCHANGES[at].0.into();
                let request = R::DeleteExchange {
                    name,
                    if_unused,
                    reply: true,
                };
                self.compare(0, request, &[expected.into()]);
            }
            Op::Bind {
                exchange: at,
                to,
                pattern,
                bind,
            } => self.bind(at, to, PATTERNS[pattern], bind),
            _ => unreachable!("not about exchanges"),
        }
    }

    fn bind(&mut self, at: usize, to: To, pattern: &str, bind: bool) {
        let there = match to {
            To::Queue(queue) => self.model.queues.contains_key(&queue),
            To::Exchange(exchange) => self.model.exchanges.contains(&exchange),
        };
        let there = there && self.model.exchanges.contains(&at);
        let binding = (at, to, pattern.to_owned());
        self.model.bindings.retain(|one| *one != binding);
        if bind && there {
            self.model.bindings.push(binding);
        }
        let ending = if matches!(to, To::Exchange(_)) { " exchange" } else { "" };
        let expected = match (bind, there) {
            (true, false) => "failed".into(),
            (true, true) => format!("bound{ending}"),
            (false, _) => format!("unbound{ending}"),
        };
        let destination = match to {
            To::Queue(queue) => Destination::Queue(name_of(queue).as_str().into()),
            To::Exchange(exchange) => Destination::Exchange(EXCHANGES[exchange].0.into()),
        };
        let (any, value) = wanted(pattern);
        let arguments = match EXCHANGES[at].1 {
            "headers" if any => table(&[
                ("x-match", Value::from("any")),
                ("h", Value::I64(value)),
                ("k", Value::from("v")),
            ]),
            "headers" => table(&[("x-match", Value::from("all")), ("h", Value::I64(value))]),
            _ => Table::default(),
        };
        let (source, routing_key, reply) = (EXCHANGES[at].0.into(), pattern.into(), true);
        let request = if bind {
            R::Bind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            }
        } else {
            R::Unbind {
                destination,
                source,
                routing_key,
                arguments,
                reply,
            }
        };
        self.compare(0, request, &[expected]);
    }

    fn publish(&mut self, exchange: usize, key: &str, ttl_ms: Option<u64>, header: i64, channel: usize) {
        let exchange = EXCHANGES.get(exchange).map_or("", |(name, _)| name);
        let expected = self.model.publish(exchange, key, ttl_ms, header, channel);
        let headers = table(&[("h", Value::I64(header)), ("k", Value::from("v"))]);
        let properties = OwnedProperties {
            expiration: ttl_ms.map(|ttl| ttl.to_string().into()),
            headers: Some(headers),
            ..OwnedProperties::default()
        };
        let body = format!("m{}", self.model.bodies);
        let message = Message::new(exchange, key.as_bytes(), &properties.to_vec(), body.as_bytes());
        self.compare(
            channel,
            R::Publish {
                message,
                mandatory: true,
            },
            &expected,
        );
    }

    /// What is got must have the address, the expiration and the deaths that the model says.
    fn get(&mut self, queue: usize, no_ack: bool, channel: usize) {
        let head = self
            .model
            .queues
            .get(&queue)
            .and_then(|queue| queue.ready.first().cloned());
        let expected = self.model.get(queue, no_ack, channel);
        self.broker().messages(CHANNELS[channel]);
        let name = name_of(queue);
        self.compare(
            channel,
            R::Get {
                queue: name.as_str().into(),
                no_ack,
            },
            &expected,
        );
        let Some(head) = head else { return };
        let got = self.broker().messages(CHANNELS[channel]).pop().expect("it was got");
        let properties = OwnedProperties::parse(got.properties()).expect("as published");
        let ttl = head.ttl_ms.map(|ttl| Bytes::from(ttl.to_string()));
        let found = (got.exchange(), got.routing_key(), properties.expiration);
        assert_eq!(found, (&*head.exchange, head.key.as_bytes(), ttl));
        assert_eq!(deaths_of(&got), head.deaths);
    }

    fn crash(&mut self) {
        let broker = self.broker.take().expect("it runs");
        let mut broker = broker.crash();
        for at in CHANNELS {
            broker.open(at);
            broker.ask(at, CONFIRM);
        }
        self.broker = Some(broker);
        self.model.crash();
    }
}

/// Queue, reason and count of each death.
fn deaths_of(message: &Message) -> Vec<(String, &'static str, i64)> {
    let headers = message.headers();
    let Some(Value::Array(deaths)) = headers.value("x-death") else {
        return Vec::new();
    };
    let parse = |death: &Value| {
        let Value::Table(death) = death else {
            panic!("{death:?}")
        };
        let text = |name: &str| death.value(name).and_then(Value::as_str).expect("a text").to_owned();
        let reason = ["rejected", "expired", "maxlen"]
            .into_iter()
            .find(|reason| *reason == text("reason"));
        let count = death.value("count").and_then(Value::as_i64).expect("a count");
        (text("queue"), reason.expect("one of three"), count)
    };
    deaths.iter().map(parse).collect()
}

fn op() -> impl Strategy<Value = Op> {
    let queue = || 0..QUEUES;
    let exchange = || 0..EXCHANGES.len();
    let to = prop_oneof![3 => queue().prop_map(To::Queue), 1 => exchange().prop_map(To::Exchange)];
    let outcome = prop_oneof![Just(Outcome::Ack), Just(Outcome::Reject), Just(Outcome::Requeue)];
    prop_oneof![
        1 => (queue(), 0..SHAPES.len(), prop::bool::weighted(0.8))
            .prop_map(|(queue, shape, durable)| Op::Declare { queue, shape, durable }),
        1 => (queue(), any::<bool>()).prop_map(|(queue, if_empty)| Op::Delete { queue, if_empty }),
        1 => queue().prop_map(|queue| Op::Purge { queue }),
        2 => queue().prop_map(|queue| Op::Count { queue }),
        1 => exchange().prop_map(|exchange| Op::Exchange { exchange }),
        1 => (exchange(), any::<bool>()).prop_map(|(exchange, if_unused)| Op::DeleteExchange { exchange, if_unused }),
        3 => (exchange(), to, 0..PATTERNS.len(), prop::bool::weighted(0.8))
            .prop_map(|(exchange, to, pattern, bind)| Op::Bind { exchange, to, pattern, bind }),
        // The number behind the last exchange is the default one.
        24 => (0..=EXCHANGES.len(), 0..KEYS.len(), prop::option::weighted(0.2, prop_oneof![Just(20_u64), 1..60_u64]), 0..3_i64, any::<bool>())
            .prop_map(|(exchange, key, ttl_ms, header, on_b)| Op::Publish { exchange, key, ttl_ms, header, on_b }),
        18 => (queue(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(queue, no_ack, on_b)| Op::Get { queue, no_ack, on_b }),
        10 => (0..4_usize, any::<bool>(), outcome, any::<bool>())
            .prop_map(|(nth, multiple, outcome, on_b)| Op::Settle { nth, multiple, outcome, on_b }),
        1 => any::<bool>().prop_map(|on_b| Op::Recover { on_b }),
        1 => any::<bool>().prop_map(|on_b| Op::Close { on_b }),
        3 => prop_oneof![Just(20_u64), 1..60_u64].prop_map(|ms| Op::Pass { ms }),
        2 => Just(Op::Crash),
    ]
}

/// Where a history begins: each queue's shape, and bindings.
fn beginning() -> impl Strategy<Value = Vec<Op>> {
    let queues = prop::collection::vec((0..SHAPES.len(), prop::bool::weighted(0.8)), QUEUES);
    let to = prop_oneof![4 => (0..QUEUES).prop_map(To::Queue), 1 => (0..EXCHANGES.len()).prop_map(To::Exchange)];
    let bindings = prop::collection::vec((0..EXCHANGES.len(), to, 0..PATTERNS.len()), 4..12);
    (queues, bindings).prop_map(|(queues, bindings)| {
        let exchanges = (0..EXCHANGES.len()).map(|exchange| Op::Exchange { exchange });
        let queues = queues.into_iter().enumerate();
        let queues = queues.map(|(queue, (shape, durable))| Op::Declare { queue, shape, durable });
        let bind = true;
        let bindings = bindings.into_iter();
        let bindings = bindings.map(|(exchange, to, pattern)| Op::Bind {
            exchange,
            to,
            pattern,
            bind,
        });
        exchanges.chain(queues).chain(bindings).collect()
    })
}

fn rng_seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        asked => asked,
    }
}

proptest! {
    // The same histories every time: PROPTEST_RNG_SEED and PROPTEST_CASES ask for others, and for more.
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4000, rng_seed: rng_seed(), ..ProptestConfig::default() })]

    #[test]
    fn the_node_does_what_the_model_does(begun in beginning(), ops in prop::collection::vec(op(), 1..100)) {
        let mut both = Both::new();
        begun.iter().chain(&ops).for_each(|op| both.apply(op));
        // Nothing is left behind that the model does not know of.
        (0..QUEUES).for_each(|queue| both.apply(&Op::Count { queue }));
    }
}
