//! A plan as a file: its seed, and what is not as the seed draws it. So a shrunk failure can be kept, sent and run again.
//!
//! ```json
//! { "seed": 4711, "symptom": "G1 broken at ...", "plan": { "consumers": 1, "crash_every": null } }
//! ```

use crate::plan::Plan;
use serde_json::{Map, Value, json};

/// The file's text. The symptom is for people, and the planted bug, if one was on, for those who run it again.
///
/// # Panics
/// Never: plans can be written.
#[must_use]
pub fn text(plan: &Plan, symptom: &str, plant: Option<&str>) -> String {
    let (this, drawn) = (fields(plan), fields(&Plan::draw(plan.seed)));
    let changed: Map<String, Value> = this
        .into_iter()
        .filter(|(name, value)| drawn.get(name) != Some(value))
        .collect();
    let mut file = json!({"seed": plan.seed, "symptom": symptom, "plan": changed});
    if let Some(plant) = plant {
        file["plant"] = plant.into();
    }
    format!("{file:#}\n")
}

/// The plan in a file's text, and the planted bug that is to be on.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn parse(text: &str) -> Result<(Plan, Option<String>), String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let seed = file["seed"].as_u64().ok_or("it names no `seed`")?;
    let mut all = fields(&Plan::draw(seed));
    let changed = match &file["plan"] {
        Value::Null => Map::new(),
        Value::Object(changed) => changed.clone(),
        _ => return Err("`plan` is not an object".into()),
    };
    all.extend(changed);
    let plan: Plan =
        serde_json::from_value(Value::Object(all)).map_err(|error| format!("its plan is wrong: {error}"))?;
    check(&plan)?;
    Ok((plan, file["plant"].as_str().map(str::to_owned)))
}

/// What the rest of the simulator takes for granted of a plan.
fn check(plan: &Plan) -> Result<(), String> {
    let queues = plan.queues.len();
    let graves = plan.graves.iter().flatten().all(|grave| *grave < queues);
    if queues == 0 || plan.graves.len() != queues || !graves {
        return Err("its plan's `graves` do not name queues of `queues`, one for each".into());
    }
    let positive = [plan.channels, plan.window, plan.body_max]
        .iter()
        .all(|number| *number > 0);
    let times = [plan.pace, plan.sync_latency].iter().all(|time| *time > 0);
    if !positive || !times || plan.crash_every == Some(0) || plan.error_every == Some(0) {
        return Err("its plan has a 0 where none can be".into());
    }
    Ok(())
}

fn fields(plan: &Plan) -> Map<String, Value> {
    match serde_json::to_value(plan) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("a plan is an object: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::{Fault, Kept};

    #[test]
    fn a_plan_comes_back_and_only_differences_are_written() {
        let mut plan = Plan::draw(7);
        assert!(!text(&plan, "", None).contains("length"));
        plan.length /= 2;
        plan.crash_every = None;
        plan.kept = Some(Kept {
            turns: [(2, [3, 5].into())].into(),
            faults: [(Fault::DiskError, [0].into())].into(),
            without: [(2, 3, 0)].into(),
        });
        let text = text(&plan, "G1 broken", Some("ConfirmEarly"));
        assert_eq!(parse(&text), Ok((plan, Some("ConfirmEarly".into()))));
        assert!(!text.contains("segment_bytes"), "{text}");
    }

    #[test]
    fn wrong_files_are_refused() {
        for wrong in [
            "seed: 7",
            "{}",
            r#"{"seed": 7, "plan": 3}"#,
            r#"{"seed": 7, "plan": {"wings": 2}}"#,
            r#"{"seed": 7, "plan": {"pace": 0}}"#,
            r#"{"seed": 7, "plan": {"graves": [9]}}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
