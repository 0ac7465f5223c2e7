//! The configuration file: TOML, in which every key must be known.

use super::{Builder, Origin, keys};
use crate::users::{Secret, User, check_hash};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads the file into `builder`, mistakes included.
pub(super) fn read(builder: &mut Builder, path: &Path) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let origin = Origin::file(path, "", 0);
            return builder.fail(origin, format!("cannot read the configuration file: {error}"));
        }
    };
    let mut reader = Reader {
        builder,
        path,
        text: &text,
    };
    match DeTable::parse(&text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            reader.fail(offset, format!("not valid TOML: {}", error.message().trim()));
        }
    }
}

struct Reader<'a> {
    builder: &'a mut Builder,
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn fail(&mut self, offset: usize, message: String) {
        let origin = Origin::file(self.path, self.text, offset);
        self.builder.fail(origin, message);
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let offset = key.span().start;
            if name == "users" {
                self.users(value);
            } else if let Some(key) = keys::find(&name) {
                match scalar(value.get_ref()) {
                    Some(text) => {
                        let origin = Origin::file(self.path, self.text, offset);
                        self.builder.set(key, &text, origin);
                    }
                    None => {
                        let kind = value.get_ref().type_str();
                        let message = format!("{name} is a TOML {kind}: it must be {}", key.allowed);
                        self.fail(offset, message);
                    }
                }
            } else if let Some(inner) = value.get_ref().as_table()
                && keys::KEYS.iter().any(|key| key.name.starts_with(&format!("{name}.")))
            {
                self.table(&format!("{name}."), inner);
            } else {
                let guess = keys::nearest(&name).name;
                let message =
                    format!("unknown key {name:?}; did you mean {guess:?}? `waystation config print` shows all");
                self.fail(offset, message);
            }
        }
    }

    fn users(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(array) = value.get_ref().as_array() else {
            return self.fail(
                value.span().start,
                "users must be tables: begin each with [[users]]".to_owned(),
            );
        };
        for entry in array {
            match entry.get_ref().as_table() {
                Some(table) => self.user(entry.span().start, table),
                None => self.fail(
                    entry.span().start,
                    "users must be tables: begin each with [[users]]".to_owned(),
                ),
            }
        }
    }

    fn user(&mut self, offset: usize, table: &DeTable<'_>) {
        let (mut name, mut secret) = (None, None);
        for (key, value) in table {
            let offset = key.span().start;
            let Some(text) = value.get_ref().as_str() else {
                self.fail(offset, format!("users: {} must be a string", key.get_ref()));
                continue;
            };
            let text = text.to_owned();
            match key.get_ref().as_ref() {
                "name" => name = Some(text),
                "password" | "password_hash" if secret.is_some() => {
                    self.fail(offset, "users: give either password or password_hash".to_owned());
                }
                "password" => secret = Some(Secret::Password(text)),
                "password_hash" => match check_hash(&text) {
                    Ok(()) => secret = Some(Secret::Hash(text)),
                    Err(error) => return self.fail(offset, format!("users: password_hash is {error}")),
                },
                other => {
                    self.fail(
                        offset,
                        format!("unknown key users.{other}: name, password and password_hash exist"),
                    );
                }
            }
        }
        let known = |name: &String| self.builder.loaded.config.users.iter().any(|user| user.name == *name);
        match (name, secret) {
            (Some(name), _) if name.is_empty() || known(&name) => {
                self.fail(offset, format!("users: name {name:?} is empty or given twice"));
            }
            (Some(name), Some(secret)) => self.builder.loaded.config.users.push(User { name, secret }),
            (None, _) => self.fail(offset, "users: name is missing".to_owned()),
            (Some(name), None) => self.fail(offset, format!("users: {name} has neither password nor password_hash")),
        }
    }
}

/// A value as text; `None` for what no setting is.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(|value| value.get_ref().as_str()).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}
